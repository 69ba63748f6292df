//! Random networks for differential tests: a plain description that proptest can shrink, and the
//! graph built from it. A layer that does not fit its input is left out, so every description is a
//! valid network.

use condensec_ir::graph::Origin;
use condensec_ir::ops::{
    AvgPool, Binary, BinaryKind, Concat, Conv2d, FullyConnected, MaxPool, Reduce, ReduceKind,
    Reshape, Softmax, Unary, UnaryKind,
};
use condensec_ir::sparsity::LevelMask;
use condensec_ir::tensor::LevelRule;
use condensec_ir::{Graph, NodeId, Op, Tensor, TensorId};
use proptest::prelude::*;

/// A network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Number of levels.
    pub n_levels: u32,
    /// `[N, C, H, W]` of the input.
    pub input: [usize; 4],
    /// Layers in order.
    pub layers: Vec<Layer>,
    /// Seed of weights, masks and inputs.
    pub seed: u64,
}

/// A layer; sizes are wishes that are cut to what fits.
#[derive(Debug, Clone)]
pub enum Layer {
    /// Convolution.
    Conv {
        /// Output channels.
        m: usize,
        /// Window.
        kernel: [usize; 2],
        /// Stride.
        strides: [usize; 2],
        /// Dilation.
        dilations: [usize; 2],
        /// `[top, left, bottom, right]`
        pads: [usize; 4],
        /// 1: ordinary; 0: depthwise; else as many groups if they divide the channels.
        groups: usize,
        /// Rows per mask block; 0 for a weight without mask.
        mask_rows: usize,
        /// Per-level scale and bias.
        has_scale: bool,
        /// Adds the most recent value of the same shape.
        has_residual: bool,
        /// Activation.
        activation: Option<UnaryKind>,
    },
    /// Flatten and multiply.
    FullyConnected {
        /// Output features.
        m: usize,
        /// Rows per mask block; 0 for a weight without mask.
        mask_rows: usize,
        /// Activation.
        activation: Option<UnaryKind>,
    },
    /// Maximum or average of windows.
    Pool {
        /// Average instead of maximum.
        is_average: bool,
        /// Window.
        kernel: [usize; 2],
        /// Stride.
        strides: [usize; 2],
        /// Padding on all sides, smaller than the window.
        pad: usize,
    },
    /// Element by element.
    Unary(UnaryKind),
    /// With the most recent value of the same shape, or itself.
    Binary(BinaryKind),
    /// Of the value with itself along the channels.
    Concat,
    /// Mean over the pixels.
    GlobalAverage,
    /// Over the channels.
    Softmax,
}

/// Activations that the random networks use: without poles, so that errors stay small.
const ACTIVATIONS: &[UnaryKind] = &[
    UnaryKind::Relu,
    UnaryKind::Clip { lo: 0.0, hi: 6.0 },
    UnaryKind::LeakyRelu { alpha: 0.1 },
    UnaryKind::Sigmoid,
    UnaryKind::Silu,
    UnaryKind::HardSwish,
    UnaryKind::Tanh,
];

fn activation() -> impl Strategy<Value = Option<UnaryKind>> {
    prop_oneof![Just(None), prop::sample::select(ACTIVATIONS).prop_map(Some)]
}

fn layer() -> impl Strategy<Value = Layer> {
    let side = || prop::sample::select(&[1usize, 1, 3, 3, 2, 5, 7][..]);
    let kernel = (side(), side()).prop_map(|(h, w)| [h, w]);
    let square = side().prop_map(|k| [k, k]);
    let step = || prop::sample::select(&[1usize, 1, 1, 2, 3][..]);
    let pads = prop_oneof![
        Just([1; 4]),
        Just([0; 4]),
        (0usize..4, 0usize..4, 0usize..4, 0usize..4).prop_map(|(t, l, b, r)| [t, l, b, r]),
    ];
    let conv = (
        (
            1usize..11,
            prop_oneof![square, kernel],
            (step(), step()),
            (step(), step()),
        ),
        (
            pads,
            0usize..4,
            prop::sample::select(&[0usize, 1, 2, 4, 8][..]),
        ),
        (any::<bool>(), any::<bool>(), activation()),
    )
        .prop_map(
            |((m, kernel, s, d), (pads, groups, mask_rows), (scale, residual, act))| Layer::Conv {
                m,
                kernel,
                strides: [s.0, s.1],
                dilations: [d.0, d.1],
                pads,
                groups,
                mask_rows,
                has_scale: scale,
                has_residual: residual,
                activation: act,
            },
        );
    let pool = (any::<bool>(), 1usize..4, 1usize..4, step(), 0usize..2).prop_map(
        |(is_average, h, w, s, pad)| Layer::Pool {
            is_average,
            kernel: [h, w],
            strides: [s, s],
            pad,
        },
    );
    let fully_connected = (
        1usize..14,
        prop::sample::select(&[0usize, 1, 2, 4][..]),
        activation(),
    )
        .prop_map(|(m, mask_rows, activation)| Layer::FullyConnected {
            m,
            mask_rows,
            activation,
        });
    let binary = prop::sample::select(
        &[
            BinaryKind::Add,
            BinaryKind::Sub,
            BinaryKind::Mul,
            BinaryKind::Max,
            BinaryKind::Min,
        ][..],
    );
    prop_oneof![
        6 => conv,
        1 => fully_connected,
        1 => pool,
        1 => prop::sample::select(ACTIVATIONS).prop_map(Layer::Unary),
        1 => binary.prop_map(Layer::Binary),
        1 => Just(Layer::Concat),
        1 => Just(Layer::GlobalAverage),
        1 => Just(Layer::Softmax),
    ]
}

/// Networks of one to five layers on small maps of odd sizes.
pub fn network() -> impl Strategy<Value = Network> {
    (
        1u32..5,
        (
            1usize..3,
            1usize..9,
            1usize..14,
            // Rows of several vectors now and then.
            prop_oneof![3 => 1usize..16, 1 => 16usize..40],
        ),
        prop::collection::vec(layer(), 1..6),
        any::<u64>(),
    )
        .prop_map(|(n_levels, (n, c, h, w), layers, seed)| Network {
            n_levels,
            input: [n, c, h, w],
            layers,
            seed,
        })
}

/// SplitMix64: tiny, seeded, the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// A float in [-1, 1).
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `n` floats in [-1, 1).
    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.signed()).collect()
    }
}

struct Builder {
    graph: Graph,
    random: Random,
    values: Vec<NodeId>,
}

impl Network {
    /// The graph; `None` if no layer fits.
    pub fn build(&self) -> Option<Graph> {
        let graph = Graph::new("random", self.n_levels);
        let mut builder = Builder {
            graph,
            random: Random(self.seed),
            values: Vec::new(),
        };
        let input = builder.graph.add_input("x", &self.input);
        builder.values.push(input);
        for layer in &self.layers {
            builder.add(layer);
        }
        let last = *builder.values.last()?;
        if builder.values.len() < 2 {
            return None;
        }
        builder.graph.add_output("y", last);
        // A second output in the middle, so that values end in the caller's buffers, too.
        let middle = builder.values[builder.values.len() / 2];
        if middle != last {
            builder.graph.add_output("z", middle);
        }
        builder.graph.remove_dead();
        Some(builder.graph)
    }

    /// An input for the graph.
    pub fn input_values(&self) -> Vec<f32> {
        Random(self.seed ^ 1).values(self.input.iter().product())
    }
}

impl Builder {
    fn last(&self) -> NodeId {
        *self.values.last().expect("the input is there")
    }

    fn shape(&self, id: NodeId) -> Vec<usize> {
        self.graph.node(id).shape.clone()
    }

    fn push(&mut self, op: Op, operands: &[NodeId]) {
        if let Ok(id) = self
            .graph
            .add_node(op.mnemonic(), op.clone(), operands, Origin::default())
        {
            self.values.push(id);
        }
    }

    /// A weight of `shape`, scaled so that results stay near 1, with a mask on blocks of rows.
    fn weight(&mut self, shape: &[usize], mask_rows: usize) -> TensorId {
        let n: usize = shape.iter().product();
        let columns = n / shape[0];
        let scale = 1.0 / (columns as f32).sqrt();
        let mut data: Vec<f32> = self.random.values(n).iter().map(|v| v * scale).collect();
        let rule = match mask_rows {
            0 => {
                // Some plain zeros, which are sparsity at every level.
                data.iter_mut().for_each(|v| {
                    if self.random.below(4) == 0 {
                        *v = 0.0;
                    }
                });
                LevelRule::Shared
            }
            rows => {
                let n_levels = self.graph.n_levels as usize;
                let grid = shape[0].div_ceil(rows) * columns;
                // Every other weight is whole at the top level.
                let n_values = n_levels + self.random.below(2);
                let grid: Vec<u8> = (0..grid)
                    .map(|_| self.random.below(n_values) as u8)
                    .collect();
                // Now and then the rows of a block do not follow each other.
                let is_scattered = self.random.below(3) == 0;
                let n_blocks = shape[0].div_ceil(rows);
                let block_of = |row: usize| match is_scattered {
                    true => row % n_blocks,
                    false => row / rows,
                };
                let values: Vec<u8> = (0..n)
                    .map(|at| grid[block_of(at / columns) * columns + at % columns])
                    .collect();
                let mut block = vec![1; shape.len()];
                block[0] = if is_scattered { 1 } else { rows };
                LevelRule::Masked(LevelMask::new(values, &block))
            }
        };
        let name = format!("w{}", self.graph.tensors().len());
        let mut tensor = Tensor::shared(name, shape, data);
        tensor.rule = rule;
        self.graph.add_tensor(tensor)
    }

    fn per_level(&mut self, m: usize) -> TensorId {
        let data = self.random.values(m * self.graph.n_levels as usize);
        let name = format!("p{}", self.graph.tensors().len());
        self.graph.add_tensor(Tensor::per_level(name, &[m], data))
    }

    fn add(&mut self, layer: &Layer) {
        let x = self.last();
        let shape = self.shape(x);
        match layer {
            Layer::Conv {
                m,
                kernel,
                strides,
                dilations,
                pads,
                groups,
                mask_rows,
                has_scale,
                has_residual,
                activation,
            } => {
                let &[_, c, ..] = shape.as_slice() else {
                    return;
                };
                if shape.len() != 4 {
                    return;
                }
                let groups = match groups {
                    0 => c,
                    &g if c % g == 0 => g,
                    _ => 1,
                };
                let m = m.next_multiple_of(groups);
                let weight = self.weight(&[m, c / groups, kernel[0], kernel[1]], *mask_rows);
                let mut conv = Conv2d::new(weight);
                conv.strides = *strides;
                conv.dilations = *dilations;
                conv.pads = *pads;
                conv.groups = groups;
                conv.bias = Some(self.per_level(m));
                conv.activation = *activation;
                if *has_scale {
                    conv.scale = Some(self.per_level(m));
                }
                let Ok(result) = self.graph.infer_shape(&Op::Conv2d(conv.clone()), &[x]) else {
                    return;
                };
                let partner = self.values.iter().rev().find(|&&v| self.shape(v) == result);
                let mut operands = vec![x];
                if let (true, Some(&partner)) = (*has_residual, partner) {
                    conv.residual = true;
                    operands.push(partner);
                }
                self.push(Op::Conv2d(conv), &operands);
            }
            Layer::FullyConnected {
                m,
                mask_rows,
                activation,
            } => {
                let k: usize = shape[1..].iter().product();
                self.push(
                    Op::Reshape(Reshape {
                        shape: vec![shape[0], k],
                    }),
                    &[x],
                );
                let flat = self.last();
                let weight = self.weight(&[*m, k], *mask_rows);
                let bias = self.per_level(*m);
                let op = FullyConnected {
                    weight,
                    scale: None,
                    bias: Some(bias),
                    residual: false,
                    activation: *activation,
                };
                self.push(Op::FullyConnected(op), &[flat]);
            }
            Layer::Pool {
                is_average,
                kernel,
                strides,
                pad,
            } => {
                let pad = (*pad).min(kernel[0] - 1).min(kernel[1] - 1);
                let (kernel, strides, pads) = (*kernel, *strides, [pad; 4]);
                self.push(
                    match is_average {
                        true => Op::AvgPool(AvgPool {
                            kernel,
                            strides,
                            pads,
                            count_include_pad: false,
                            overhang: [0, 0],
                        }),
                        false => Op::MaxPool(MaxPool {
                            kernel,
                            strides,
                            pads,
                            dilations: [1, 1],
                        }),
                    },
                    &[x],
                );
            }
            Layer::Unary(kind) => self.push(Op::Unary(Unary { kind: *kind }), &[x]),
            Layer::Binary(kind) => {
                let older = &self.values[..self.values.len() - 1];
                let partner = older.iter().rev().find(|&&v| self.shape(v) == shape);
                let partner = partner.copied().unwrap_or(x);
                self.push(Op::Binary(Binary { kind: *kind }), &[x, partner]);
            }
            Layer::Concat => self.push(Op::Concat(Concat { axis: 1 }), &[x, x]),
            Layer::GlobalAverage if shape.len() == 4 => self.push(
                Op::Reduce(Reduce {
                    kind: ReduceKind::Mean,
                    axes: vec![2, 3],
                    keep_dims: true,
                }),
                &[x],
            ),
            Layer::GlobalAverage => {}
            Layer::Softmax => self.push(
                Op::Softmax(Softmax {
                    axis: 1,
                    log: false,
                }),
                &[x],
            ),
        }
    }
}
