//! What the user may choose.

use condensec_ir::eval::Array;
use condensec_ir::{Graph, NodeId};
use thiserror::Error;

/// How blocks of weights are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// Sum of squares.
    Magnitude,
    /// Order of elimination of the optimal brain surgeon (Hassibi and Stork, 1993; exact, as in Frantar
    /// and Alistarh, 2022), from second moments of the layer's inputs.
    Obs,
}

/// Shape of the blocks that are kept or dropped as a whole, over the axes of a weight, output channels
/// first. Axes that it does not name have size 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockShape(pub Vec<usize>);

impl BlockShape {
    /// Rows (output channels) of a block.
    pub fn rows(&self) -> usize {
        self.size(0)
    }

    /// Size along `axis`.
    pub fn size(&self, axis: usize) -> usize {
        self.0.get(axis).copied().unwrap_or(1)
    }
}

/// The whole recipe.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Share of kept weights of every pruned layer, L0 first, growing, in (0, 1].
    pub densities: Vec<f64>,
    /// What is kept or dropped as a whole.
    pub block: BlockShape,
    /// Order of the blocks.
    pub ranking: Ranking,
    /// Whether output channels of a convolution that want the same columns are put into one block, wherever
    /// they are.
    pub groups_rows: bool,
    /// Whether the shared weights are fitted to all levels, and with them those of dense layers whose inputs differ
    /// between levels. The top level changes a little by this.
    pub repairs: bool,
    /// Whether every level gets a scale and a bias per channel.
    pub matches_statistics: bool,
    /// Positions of a feature map that are looked at per calibration sample.
    pub positions: usize,
    /// Damping of the ranking's second moments, as a share of their mean diagonal.
    pub damping: f64,
    /// Pull of the repair towards the trained weights, as a share of the mean diagonal.
    pub ridge: f64,
    /// Rows up to this long have moments, which take its square in memory at every level; layers with longer
    /// ones are ranked by magnitude and not repaired.
    pub max_columns: usize,
    /// Layers of which no weight is dropped, besides the first, the last and depthwise ones.
    pub dense_layers: Vec<NodeId>,
    /// Layers that are left as they are: neither weights nor parameters may change.
    pub fixed_layers: Vec<NodeId>,
}

impl Recipe {
    /// The recommended recipe for these densities and blocks.
    pub fn new(densities: Vec<f64>, block: BlockShape) -> Self {
        Self {
            densities,
            block,
            ranking: Ranking::Obs,
            groups_rows: true,
            repairs: true,
            matches_statistics: true,
            positions: 64,
            damping: 0.01,
            ridge: 1e-3,
            max_columns: 8192,
            dense_layers: Vec::new(),
            fixed_layers: Vec::new(),
        }
    }

    pub(crate) fn n_levels(&self) -> usize {
        self.densities.len()
    }

    /// Whether anything needs calibration inputs.
    pub fn needs_calibration(&self) -> bool {
        self.ranking == Ranking::Obs || self.repairs || self.matches_statistics
    }
}

/// Inputs to calibrate with: `inputs[i][s]` is input `i` of the graph in sample `s`.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    /// Per graph input, one array per sample, of the graph input's shape.
    pub inputs: Vec<Vec<Array>>,
}

impl Calibration {
    /// Number of samples.
    pub fn n_samples(&self) -> usize {
        self.inputs.first().map_or(0, Vec::len)
    }

    /// Checks that the samples fit `graph`.
    pub(crate) fn check(&self, graph: &Graph) -> Result<(), NestError> {
        if self.n_samples() == 0 || self.inputs.len() != graph.inputs().len() {
            return Err(NestError::NoCalibration);
        }
        for (&node, samples) in graph.inputs().iter().zip(&self.inputs) {
            let node = graph.node(node);
            for sample in samples {
                if sample.shape != node.shape {
                    return Err(NestError::InputShape {
                        name: node.name.clone(),
                        expected: node.shape.clone(),
                        found: sample.shape.clone(),
                    });
                }
                if sample.data.iter().any(|value| !value.is_finite()) {
                    return Err(NestError::NotFinite {
                        layer: node.name.clone(),
                        what: "calibration values",
                    });
                }
            }
        }
        Ok(())
    }
}

/// Why no supernet can be made.
#[derive(Debug, Error, PartialEq)]
pub enum NestError {
    /// The graph has levels already.
    #[error("the model has {0} levels already")]
    HasLevels(u32),
    /// Densities that do not grow, or lie outside (0, 1].
    #[error("densities {0:?} do not grow within (0, 1]")]
    Densities(Vec<f64>),
    /// More or fewer levels than masks can tell apart.
    #[error("{0} levels, expected 1 to 64")]
    LevelCount(usize),
    /// Nothing to prune.
    #[error("no layer can be pruned: first, last and depthwise layers stay dense")]
    NoLayers,
    /// The recipe needs inputs.
    #[error("the recipe needs calibration inputs, none are given")]
    NoCalibration,
    /// Samples do not fit the graph.
    #[error("calibration input {name} has shape {found:?}, expected {expected:?}")]
    InputShape {
        /// Name of the input.
        name: String,
        /// Shape in the graph.
        expected: Vec<usize>,
        /// Shape of the sample.
        found: Vec<usize>,
    },
    /// A value is NaN or infinite.
    #[error("{what} of `{layer}` are not finite")]
    NotFinite {
        /// Node of the layer.
        layer: String,
        /// Weights or inputs.
        what: &'static str,
    },
}
