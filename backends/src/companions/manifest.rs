//! `<name>.json`: what a program may want to know of a library without linking it.
//!
//! The keys are a contract with users' scripts: add freely, never rename.

use crate::archive;
use crate::descriptor;
use crate::image::Image;
use crate::library::Sizes;
use crate::targets::Target;
use condensec_ir::kernel::{Data, LayerSummary, Port, Program, Section};
use condensec_runtime::abi::{ABI_VERSION, STATE_ALIGN};
use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the model.
    pub name: String,
    /// Version of the descriptor's layout.
    pub abi: u32,
    /// Version of the compiler.
    pub condensec: String,
    /// Target as `--target` takes it.
    pub target: String,
    /// LLVM triple of the target.
    pub triple: String,
    /// CPU.
    pub cpu: String,
    /// Features that the code uses.
    pub features: Vec<String>,
    /// Back end.
    pub backend: String,
    /// File name of the static library.
    pub library: String,
    /// Size of an instance's state.
    pub state_bytes: u64,
    /// Alignment of an instance's state.
    pub state_align: u64,
    /// Inputs in the order of `run`.
    pub inputs: Vec<PortEntry>,
    /// Outputs in the order of `run`.
    pub outputs: Vec<PortEntry>,
    /// Sizes in the library.
    pub bytes: SizeEntry,
    /// What `bytes.tables` consists of; earlier compilers did not say.
    #[serde(default)]
    pub table_parts: Option<TableParts>,
    /// Steps of a run.
    pub steps: u64,
    /// Levels, L0 first.
    pub levels: Vec<LevelEntry>,
    /// Layers with weights, in the order of execution.
    pub layers: Vec<LayerEntry>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortEntry {
    /// Name in the user's model.
    pub name: String,
    /// Element type, `f32`.
    pub dtype: String,
    /// Sizes, row-major.
    pub shape: Vec<u64>,
}

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeEntry {
    /// Weight values.
    pub weights: u64,
    /// Column indices.
    pub indices: u64,
    /// List tables, parameters, step tables, descriptor.
    pub tables: u64,
    /// Machine code.
    pub code: u64,
}

/// Parts of the tables, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableParts {
    /// List starts and lengths, parameters of the layers by level.
    pub lists: u64,
    /// Step tables of all levels and their arguments.
    pub steps: u64,
    /// The descriptor with its names and shapes.
    pub descriptor: u64,
}

/// A level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelEntry {
    /// Number, as `set_level` takes it.
    pub level: u32,
    /// Name.
    pub name: String,
    /// Kept share of the weights of the maskable layers.
    pub density: f64,
    /// Multiply-adds of one run.
    pub macs: u64,
    /// Bytes of the weights that a run reads.
    pub weight_bytes: u64,
    /// Cost model's estimate for one run on one thread.
    pub predicted_cycles: u64,
    /// The same of every step; earlier compilers did not say.
    #[serde(default)]
    pub step_cycles: Vec<u64>,
}

/// A layer with weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerEntry {
    /// Name of the node in the user's model.
    pub name: String,
    /// Its op type there.
    pub op: String,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// Shape of the mask's blocks.
    pub block: Vec<usize>,
    /// Storage format of the weight.
    pub format: String,
    /// One entry per level, L0 first.
    pub per_level: Vec<LayerLevelEntry>,
}

/// A layer at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerLevelEntry {
    /// Number of the level.
    pub level: u32,
    /// Kept share of the layer's weights.
    pub density: f64,
    /// Multiply-adds of one run.
    pub macs: u64,
    /// Bytes of the weights that a run reads.
    pub weight_bytes: u64,
    /// Cost model's estimate for one run on one thread.
    pub predicted_cycles: u64,
    /// Name of the kernel.
    pub kernel: String,
}

impl LayerEntry {
    fn new(layer: &LayerSummary) -> Self {
        let per_level = layer
            .per_level
            .iter()
            .enumerate()
            .map(|(i, level)| LayerLevelEntry {
                level: i as u32,
                density: level.density(layer.n_weights),
                macs: level.macs,
                weight_bytes: level.weight_bytes,
                predicted_cycles: level.predicted_cycles,
                kernel: level.kernel.clone(),
            });
        Self {
            name: layer.name.clone(),
            op: layer.op_type.clone(),
            shape: layer.shape.clone(),
            block: layer.block.clone(),
            format: layer.format.into(),
            per_level: per_level.collect(),
        }
    }
}

impl TableParts {
    /// `all_bytes` are those of all tables.
    fn new(image: &Image<'_>, all_bytes: u64) -> Self {
        let sum = |data: &mut dyn Iterator<Item = &Data>| data.map(|d| d.bytes.len() as u64).sum();
        let lists: u64 =
            sum(&mut (image.program_data.iter()).filter(|d| d.section == Section::Tables));
        let is_step = |data: &&Data| descriptor::STEP_TABLES.contains(&data.name.as_str());
        let steps: u64 = sum(&mut image.tables.iter().filter(is_step));
        Self {
            lists,
            steps,
            descriptor: all_bytes - lists - steps,
        }
    }
}

impl Manifest {
    pub(crate) fn new(
        program: &Program,
        target: &Target,
        backend: &str,
        image: &Image<'_>,
        sizes: Sizes,
    ) -> Self {
        let Sizes {
            weights,
            indices,
            tables,
            code,
        } = sizes;
        let levels =
            program
                .levels
                .iter()
                .zip(&program.steps)
                .enumerate()
                .map(|(i, (level, steps))| LevelEntry {
                    level: i as u32,
                    name: level.name.clone(),
                    density: level.density,
                    macs: level.macs,
                    weight_bytes: level.weight_bytes,
                    predicted_cycles: level.predicted_cycles,
                    step_cycles: steps.iter().map(|step| step.predicted_cycles).collect(),
                });
        Self {
            name: program.name.clone(),
            abi: ABI_VERSION,
            condensec: env!("CARGO_PKG_VERSION").into(),
            target: target.name().into(),
            triple: target.triple().into(),
            cpu: target.cpu().into(),
            features: target.features().map(Into::into).collect(),
            backend: backend.into(),
            library: archive::file_name(&program.name, target),
            state_bytes: image.state.state_bytes,
            state_align: STATE_ALIGN as u64,
            inputs: program.inputs.iter().map(PortEntry::new).collect(),
            outputs: program.outputs.iter().map(PortEntry::new).collect(),
            bytes: SizeEntry {
                weights,
                indices,
                tables,
                code,
            },
            table_parts: Some(TableParts::new(image, tables)),
            steps: program.steps.first().map_or(0, Vec::len) as u64,
            levels: levels.collect(),
            layers: program.layers.iter().map(LayerEntry::new).collect(),
        }
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("strings and numbers always serialize") + "\n"
    }

    /// Reads a manifest that condensec wrote.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl PortEntry {
    fn new(port: &Port) -> Self {
        Self {
            name: port.name.clone(),
            dtype: "f32".into(),
            shape: port.shape.iter().map(|&n| n as u64).collect(),
        }
    }

    /// Number of elements.
    pub fn n_elems(&self) -> u64 {
        self.shape.iter().product()
    }
}
