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
//! so a copy of the input. Narrow maps have no pad columns, see `edges.rs`. Masked depthwise weights keep
//! their lists.

mod edges;
mod flat;
mod rows;
mod window;

use super::math::emit_unary;
use super::tile_access::{TileAccess, WithPadding};
use super::zero_borders::{self, Clearing};
use super::{KernelBuilder, Lowering, cost, summary};
use condensec_ir::kernel::{CompareOp, FunctionBuilder, MemoryType, Value};
use condensec_ir::layout::Layout;
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

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId, conv: &Conv2d) -> Result<(), String> {
    let (graph, target) = (lowering.graph, lowering.target);
    let node = graph.node(id);
    let operands = graph.operands(id);
    let input = graph.node(operands[0]);
    let residual = conv.residual.then(|| graph.node(operands[1]));
    let Layout::Planes(planes) = &input.layout else {
        return Err("a depthwise convolution reads planes".into());
    };
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

    let name = format!("depthwise_{}x{}", kernel[0], kernel[1]);
    let masks = window.masks().map(|masks| lowering.add_u32_table(masks));
    let mut kernel = KernelBuilder::new(&name, lowering);
    let x = kernel.buffer(lowering, operands[0]);
    let y = kernel.buffer(lowering, id);
    let residual_at = conv.residual.then(|| kernel.buffer(lowering, operands[1]));
    let values = kernel.data(values);
    let masks = masks.map(|symbol| kernel.data(symbol));
    let scale = scale.map(|symbols| kernel.level_data(symbols));
    let bias = bias.map(|symbols| kernel.level_data(symbols));
    let channels = node.shape[1];
    let n_taps = weight.n_elems() / channels;
    let y_access = TileAccess::new(&node.layout, &node.shape, WithPadding::No)?;
    let clears = zero_borders::clearing(graph, operands[0]) == Clearing::Reader;
    // The padding of a plane is cleared one task before it is read: a load that meets a store of
    // part of it on its way to the cache would wait.
    let (begin, end) = (kernel.begin, kernel.end);
    let clear = |f: &mut FunctionBuilder, task: Value| {
        if clears {
            let exists = f.compare(CompareOp::Lt, task, end);
            f.if_then(exists, |f| {
                zero_borders::zero_plane(f, x, task, planes, &input.shape, target.lanes);
            });
        }
    };
    clear(&mut kernel, begin);
    kernel.for_tasks(|f, task| {
        let next = f.add_const(task, 1);
        clear(f, next);
        let (image, channel) = f.div_rem_const(task, channels);
        let splat = |f: &mut FunctionBuilder, table: Value| {
            let at = f.ptr_offset(table, channel, 4);
            let value = f.load(MemoryType::F32, at, 0);
            f.splat(value, window.lanes)
        };
        let scale = scale.map(|table| splat(f, table));
        let bias = bias.map(|table| splat(f, table));
        let zero = f.f32(0.0);
        let zero = f.splat(zero, window.lanes);
        let at = f.ptr_offset(values, channel, n_taps * 4);
        let parameters = Channel {
            weights: window.weights(f, at),
            start: bias.filter(|_| scale.is_none()).unwrap_or(zero),
            scale,
            bias,
        };
        let x = f.ptr_offset(x, image, planes.image * 4);
        let x = f.ptr_offset(x, channel, planes.plane * 4);
        let y = f.ptr_offset(y, channel, y_access.channel);
        match &walk {
            Walk::Flat(flat) => {
                let residual = residual_at.map(|base| flat.residual_channel(f, base, channel));
                let places = Places {
                    image,
                    x,
                    y,
                    residual,
                    masks,
                };
                flat.emit(f, places, |f, x, masks, columns, residual| {
                    let weights = &parameters.weights;
                    let sums = window.sums(f, x, masks, columns, weights, parameters.start);
                    parameters.finish(f, sums, residual, conv.activation)
                });
            }
            Walk::Rows(rows) => {
                let y = y_access.image(f, y, image);
                let steps = [conv.strides[0] * planes.pitch * 4, conv.strides[1] * 4];
                rows.emit(
                    f,
                    [x, y],
                    masks,
                    steps,
                    window.vectors,
                    |f, x, masks, columns| {
                        let weights = &parameters.weights;
                        let sums = window.sums(f, x, masks, columns, weights, parameters.start);
                        parameters.finish(f, sums, &[], conv.activation)
                    },
                );
            }
        }
    });
    let n_tasks = node.shape[0] * channels;
    let n_vectors = match &walk {
        Walk::Flat(flat) => flat.n_vectors(),
        Walk::Rows(rows) => rows.n_vectors(),
    };
    let kernel = lowering.add_step(id, kernel, n_tasks).to_string();
    let cycles = cost::depthwise_cycles(target, n_tasks, n_vectors, window.n_multiply_adds());
    summary::add_dense_layer(lowering, id, conv.weight, cycles, &kernel);
    Ok(())
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
