//! Depthwise convolutions whose weights all levels share: no lists and no indices.
//!
//! A channel has one window and nothing to skip, so taps are constant offsets and the weights of a
//! channel stay in registers for all its pixels:
//!
//! ```text
//! for image, channel (tasks)
//!   clear the padding of the next channel      if nobody else reads it, see zero_borders
//!   w = the channel's weights
//!   stride 1: for tile of flat pixels          flat.rs
//!   else:     for row, for tile of the row     rows.rs
//!     y = activation(sums * scale + bias + residual)      sums: window.rs
//! ```
//! Strided ones read ordinary planes, unlike list convolutions, whose strides need phase planes and
//! so a copy of the input. Those of a large result of another convolution compute it themselves, see
//! `banded.rs`. Narrow maps have no pad columns, see `edges.rs`. Masked depthwise weights keep
//! their lists.

mod banded;
mod edges;
mod flat;
mod rows;
mod window;

use super::math::emit_unary;
use super::tile_access::{TileAccess, WithPadding};
use super::zero_borders::{self, Clearing};
use super::{KernelBuilder, Lowering, cost, summary};
pub(crate) use banded::choose_bands;
use condensec_ir::kernel::{CompareOp, FunctionBuilder, MemoryType, Symbol, Value};
use condensec_ir::layout::{Layout, Planes};
use condensec_ir::ops::{Conv2d, UnaryKind};
use condensec_ir::tensor::LevelRule;
use condensec_ir::{Graph, LevelId, NodeId, TensorId};
use edges::Edges;
pub(crate) use edges::is_packed;
use flat::{Flat, Places};
use rows::Rows;
use window::{Weights, Window};

/// Windows with more taps keep their lists: all taps are unrolled here.
const MAX_TAPS: usize = 64;

/// Vectors of results that are computed together, best first. Sums that wait for each other need
/// four to eight in flight, and a tile must divide a strip.
const VECTORS: &[usize] = &[4, 3, 5, 2, 1];

/// Whether `conv` gets one of these kernels.
pub(crate) fn is_direct(graph: &Graph, conv: &Conv2d) -> bool {
    let weight = graph.tensor(conv.weight);
    let &[m, per_group, kh, kw] = weight.shape.as_slice() else {
        return false;
    };
    let has_loop = match conv.strides {
        [1, 1] => true,
        [_, 1] => !conv.residual,
        // Pairs of neighbouring columns, see `window`.
        [_, 2] => !conv.residual && kw > 1 && conv.dilations[1] == 1,
        _ => false,
    };
    conv.groups > 1
        && (m, per_group) == (conv.groups, 1)
        && kh * kw <= MAX_TAPS
        && weight.rule == LevelRule::Shared
        && has_loop
}

/// Where the pixels of a channel are computed.
enum Walk {
    /// Input and result have one row pitch.
    Flat(Flat),
    /// They have not.
    Rows(Rows),
}

/// Parameters of one channel, each in all lanes.
struct Channel {
    weights: Weights,
    /// What sums begin with.
    start: Value,
    scale: Option<Value>,
    bias: Option<Value>,
}

/// A depthwise convolution whose weights are stored.
pub(super) struct Depthwise<'a> {
    id: NodeId,
    conv: &'a Conv2d,
    /// Where the input is.
    planes: Planes,
    walk: Walk,
    window: Window,
    y: TileAccess,
    n_channels: usize,
    values: Symbol,
    masks: Option<Symbol>,
    scale: Option<Vec<Symbol>>,
    bias: Option<Vec<Symbol>>,
}

/// Addresses that a kernel starts from.
#[derive(Clone, Copy)]
pub(super) struct DepthwiseBuffers {
    pub x: Value,
    y: Value,
    residual: Option<Value>,
    values: Value,
    masks: Option<Value>,
    scale: Option<Value>,
    bias: Option<Value>,
}

pub(super) fn lower<'a>(
    lowering: &mut Lowering<'a>,
    id: NodeId,
    conv: &'a Conv2d,
) -> Result<(), String> {
    let graph = lowering.graph;
    let operand = graph.operands(id)[0];
    let input = graph.node(operand);
    let planes = match &input.layout {
        Layout::Planes(planes) => planes,
        Layout::Bands(bands) => return banded::lower(lowering, id, conv, bands),
        Layout::Plain | Layout::Strips(_) => {
            return Err("a depthwise convolution reads planes or bands".into());
        }
    };
    let depthwise = Depthwise::new(lowering, id, conv, planes)?;
    let mut kernel = KernelBuilder::new(&depthwise.name(), lowering);
    let buffers = depthwise.buffers(&mut kernel, lowering);
    let clears = zero_borders::clearing(graph, operand) == Clearing::Reader;
    let lanes = lowering.target.lanes;
    // The padding of a plane is cleared one task before it is read: a load that meets a store of
    // part of it on its way to the cache would wait.
    let (begin, end) = (kernel.begin, kernel.end);
    let clear = |f: &mut FunctionBuilder, task: Value| {
        if clears {
            let exists = f.compare(CompareOp::Lt, task, end);
            f.if_then(exists, |f| {
                zero_borders::zero_plane(f, buffers.x, task, planes, &input.shape, lanes);
            });
        }
    };
    clear(&mut kernel, begin);
    kernel.for_tasks(|f, task| {
        let next = f.add_const(task, 1);
        clear(f, next);
        let (image, channel) = f.div_rem_const(task, depthwise.n_channels);
        let x = f.ptr_offset(buffers.x, image, planes.image * 4);
        let x = f.ptr_offset(x, channel, planes.plane * 4);
        depthwise.emit_channel(f, &buffers, x, image, channel);
    });
    let n_tasks = graph.node(id).shape[0] * depthwise.n_channels;
    let name = lowering.add_step(id, kernel, n_tasks).to_string();
    depthwise.summarize(lowering, &vec![name; lowering.n_levels()]);
    Ok(())
}

impl<'a> Depthwise<'a> {
    /// Stores the weights of `conv`, the node `id`, whose input is in `planes`.
    pub fn new(
        lowering: &mut Lowering<'a>,
        id: NodeId,
        conv: &'a Conv2d,
        planes: &Planes,
    ) -> Result<Self, String> {
        let (graph, target) = (lowering.graph, lowering.target);
        let node = graph.node(id);
        let operands = graph.operands(id);
        let input = graph.node(operands[0]);
        let residual = conv.residual.then(|| graph.node(operands[1]));
        let weight = graph.tensor(conv.weight);
        let kernel = [weight.shape[2], weight.shape[3]];
        let widths = [input.shape[3], node.shape[3]];
        let pitch = node.layout.pitch(&node.shape);
        let is_flat = conv.strides == [1, 1] && pitch == planes.pitch;
        if let Some(residual) = residual
            && (!is_flat || residual.layout.pitch(&residual.shape) != pitch)
        {
            return Err("a residual has rows of another pitch".into());
        }
        let (walk, window) = if is_flat {
            let vectors = flat::dividing(&node.layout, target.lanes, VECTORS);
            let n_pixels = (node.shape[2] * pitch).next_multiple_of(target.lanes);
            let edges = Edges::new(conv, kernel[1], planes, widths, pitch, n_pixels);
            let window = Window::new(conv, kernel, planes, target, target.lanes, &vectors, edges);
            let flat = Flat::new(node, residual, target.lanes, window.vectors)?;
            (Walk::Flat(flat), window)
        } else {
            let rows = Rows::new(&node.layout, &node.shape, target.lanes)?;
            let n_pixels = widths[1].next_multiple_of(rows.lanes);
            let edges = match conv.strides {
                [1, 1] => Edges::new(conv, kernel[1], planes, widths, n_pixels, n_pixels),
                _ => Edges::none(),
            };
            let window = Window::new(conv, kernel, planes, target, rows.lanes, VECTORS, edges);
            (Walk::Rows(rows), window)
        };
        let values = lowering.add_weights(&weight.at_level(LevelId(0)));
        let mut parameter =
            |id: Option<TensorId>| id.map(|id| lowering.add_parameter(id, <[f32]>::to_vec));
        let (scale, bias) = (parameter(conv.scale), parameter(conv.bias));
        Ok(Self {
            id,
            conv,
            planes: planes.clone(),
            walk,
            y: TileAccess::new(&node.layout, &node.shape, WithPadding::No)?,
            n_channels: node.shape[1],
            values,
            masks: window.masks().map(|masks| lowering.add_u32_table(masks)),
            window,
            scale,
            bias,
        })
    }

    /// Name of a kernel.
    pub fn name(&self) -> String {
        let [kh, kw] = self.window.kernel;
        format!("depthwise_{kh}x{kw}")
    }

    /// What a kernel starts from.
    pub fn buffers(&self, kernel: &mut KernelBuilder, lowering: &Lowering<'_>) -> DepthwiseBuffers {
        let operands = lowering.graph.operands(self.id);
        DepthwiseBuffers {
            x: kernel.buffer(lowering, operands[0]),
            y: kernel.buffer(lowering, self.id),
            residual: self
                .conv
                .residual
                .then(|| kernel.buffer(lowering, operands[1])),
            values: kernel.data(self.values),
            masks: self.masks.map(|masks| kernel.data(masks)),
            scale: self.scale.clone().map(|scale| kernel.level_data(scale)),
            bias: self.bias.clone().map(|bias| kernel.level_data(bias)),
        }
    }

    fn channel(
        &self,
        f: &mut FunctionBuilder,
        buffers: &DepthwiseBuffers,
        channel: Value,
    ) -> Channel {
        let splat = |f: &mut FunctionBuilder, table: Value| {
            let at = f.ptr_offset(table, channel, 4);
            let value = f.load(MemoryType::F32, at, 0);
            f.splat(value, self.window.lanes)
        };
        let scale = buffers.scale.map(|table| splat(f, table));
        let bias = buffers.bias.map(|table| splat(f, table));
        let zero = f.f32(0.0);
        let zero = f.splat(zero, self.window.lanes);
        let [kh, kw] = self.window.kernel;
        let at = f.ptr_offset(buffers.values, channel, kh * kw * 4);
        Channel {
            weights: self.window.weights(f, at),
            start: bias.filter(|_| scale.is_none()).unwrap_or(zero),
            scale,
            bias,
        }
    }

    /// Computes a channel of an image, whose padded plane begins at `x`.
    fn emit_channel(
        &self,
        f: &mut FunctionBuilder,
        buffers: &DepthwiseBuffers,
        x: Value,
        image: Value,
        channel: Value,
    ) {
        match &self.walk {
            Walk::Flat(flat) => {
                let parameters = self.channel(f, buffers, channel);
                let y = f.ptr_offset(buffers.y, channel, self.y.channel);
                let residual = buffers
                    .residual
                    .map(|base| flat.residual_channel(f, base, channel));
                let places = Places {
                    image,
                    x,
                    y,
                    residual,
                    masks: buffers.masks,
                };
                flat.emit(f, places, |f, x, masks, columns, residual| {
                    let weights = &parameters.weights;
                    let sums = self
                        .window
                        .sums(f, x, masks, columns, weights, parameters.start);
                    parameters.finish(f, sums, residual, self.conv.activation)
                });
            }
            Walk::Rows(rows) => {
                let all = (f.index(0), rows.n_rows);
                self.emit_rows(f, buffers, rows, x, [image, channel], all);
            }
        }
    }

    /// Computes some rows of a channel, the first and their number, from a padded plane or band that begins at `x`.
    fn emit_rows(
        &self,
        f: &mut FunctionBuilder,
        buffers: &DepthwiseBuffers,
        rows: &Rows,
        x: Value,
        [image, channel]: [Value; 2],
        of: (Value, usize),
    ) {
        let parameters = self.channel(f, buffers, channel);
        let y = f.ptr_offset(buffers.y, channel, self.y.channel);
        let y = self.y.image(f, y, image);
        let strides = self.conv.strides;
        let steps = [strides[0] * self.planes.pitch * 4, strides[1] * 4];
        let (window, masks) = (&self.window, buffers.masks);
        rows.emit(
            f,
            [x, y],
            of,
            masks,
            steps,
            window.vectors,
            |f, x, masks, columns| {
                let weights = &parameters.weights;
                let sums = window.sums(f, x, masks, columns, weights, parameters.start);
                parameters.finish(f, sums, &[], self.conv.activation)
            },
        );
    }

    /// Records the layer once its step has been added; `kernels` are the names of its kernels by level.
    pub fn summarize(&self, lowering: &mut Lowering<'_>, kernels: &[String]) {
        let n_vectors = match &self.walk {
            Walk::Flat(flat) => flat.n_vectors(),
            Walk::Rows(rows) => rows.n_vectors(),
        };
        let n_planes = lowering.node(self.id).shape[0] * self.n_channels;
        let n_multiply_adds = self.window.n_multiply_adds();
        let cycles = cost::depthwise_cycles(lowering.target, n_planes, n_vectors, n_multiply_adds);
        summary::add_dense_layer(lowering, self.id, self.conv.weight, cycles, kernels);
    }
}

impl Channel {
    /// Results from sums: scale and bias, residual, activation.
    fn finish(
        &self,
        f: &mut FunctionBuilder,
        mut sums: Vec<Value>,
        residual: &[Value],
        activation: Option<UnaryKind>,
    ) -> Vec<Value> {
        for (number, sum) in sums.iter_mut().enumerate() {
            *sum = match (self.scale, self.bias) {
                (Some(scale), Some(bias)) => f.mul_add(*sum, scale, bias),
                (Some(scale), None) => f.fmul(*sum, scale),
                (None, _) => *sum,
            };
            if let Some(&residual) = residual.get(number) {
                *sum = f.fadd(*sum, residual);
            }
            if let Some(activation) = activation {
                *sum = emit_unary(f, activation, *sum);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests;
