//! Every n-th pixel of strips, into strips: a strided 1x1 convolution reads its pixels that way, and everybody
//! else who reads the value keeps the faster layout.
//!
//! ```text
//! for image, strip of the result, block of channels (pieces of tasks)
//!   for pixel of the strip
//!     from = the operand's pixel
//!     for channel of the block
//!       y[channel][pixel] = x[channel][from]
//! ```
//! Neighbouring pixels share cache lines, of which a pixel has one per channel: a block is as many channels as should stay
//! in the first cache for all pixels of a strip.

use super::tasks::pieces_per_task;
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{IntBinaryOp, MemoryType};
use condensec_ir::layout::{Layout, Strips};
use condensec_ir::ops::Slice;

/// Channels that one round of the inner loop moves, if that divides their number; blocks are multiples of the first.
const CHANNELS_AT_ONCE: [usize; 3] = [8, 4, 1];

/// Channels of a block: half the first cache holds the result's strip and the pixels of the operand that it comes from.
fn block_channels(l1_bytes: usize, width: usize, column_step: usize) -> usize {
    // A cache line has 16 pixels.
    let bytes = 4 * width * (1 + column_step.min(16));
    (l1_bytes / 2 / bytes)
        .max(1)
        .next_multiple_of(CHANNELS_AT_ONCE[0])
}

/// Whether the slice takes pixels of all images and channels, in the order of the operand of `shape`.
pub(crate) fn takes_pixels(slice: &Slice, shape: &[usize]) -> bool {
    shape.len() == 4
        && slice.starts[..2] == [0, 0]
        && slice.sizes[..2] == shape[..2]
        && slice.steps[..2] == [1, 1]
        && slice.steps[2..].iter().all(|&step| step > 0)
}

/// The slice, from strips to strips.
pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId, op: &Slice) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let shape = &lowering.node(id).shape;
    let (Layout::Strips(from), Layout::Strips(to)) =
        (&lowering.node(operand).layout, &lowering.node(id).layout)
    else {
        return Err("pixels are taken from strips to strips".into());
    };
    if !takes_pixels(op, &lowering.node(operand).shape) {
        return Err("a slice of strips takes pixels".into());
    }
    let &[n_images, channels, height, width] = shape.as_slice() else {
        unreachable!("strips are of rank 4");
    };
    let step =
        |axis: usize| usize::try_from(op.steps[axis]).expect("steps over pixels are positive");
    let (row_step, column_step) = (step(2), step(3));
    let origin = op.starts[2] * from.pitch + op.starts[3];
    let n_strips = ((height - 1) * to.pitch + width).div_ceil(to.width);
    let block_channels = block_channels(lowering.target.l1_bytes, to.width, column_step);
    let n_blocks = channels.div_ceil(block_channels);
    let n_pieces = n_images * n_strips * n_blocks;
    let per_task = pieces_per_task(n_pieces, n_images * channels * height * width);

    let at_once = CHANNELS_AT_ONCE
        .into_iter()
        .find(|&n| channels.is_multiple_of(n));
    let at_once = at_once.expect("1 divides everything");

    let mut kernel = KernelBuilder::new("slice", lowering);
    let x = kernel.buffer(lowering, operand);
    let y = kernel.buffer(lowering, id);
    let strip_bytes = |strips: &Strips| channels * strips.width * 4;
    let n_tasks = kernel.for_pieces(n_pieces, per_task, |f, piece| {
        let (rest, block) = f.div_rem_const(piece, n_blocks);
        let (image, strip) = f.div_rem_const(rest, n_strips);
        let first_channel = f.mul_const(block, block_channels);
        let end = f.add_const(first_channel, block_channels);
        let limit = f.size(channels);
        let end = f.int(IntBinaryOp::MinU, end, limit);
        let x = f.ptr_offset(x, image, from.image * 4);
        let y = f.ptr_offset(y, image, to.image * 4);
        let y = f.ptr_offset(y, strip, strip_bytes(to));
        let first_pixel = f.mul_const(strip, to.width);
        f.for_range(to.width, |f, within| {
            let pixel = f.add(first_pixel, within);
            let (row, column) = f.div_rem_const(pixel, to.pitch);
            // What pad columns hold does not matter, but it must come from the operand.
            let mut inside = |value, n: usize| {
                let last = f.size(n - 1);
                f.int(IntBinaryOp::MinU, value, last)
            };
            let (row, column) = (inside(row, height), inside(column, width));
            let row = f.mul_const(row, row_step * from.pitch);
            let column = f.mul_const(column, column_step);
            let source = f.add(row, column);
            let source = f.add_const(source, origin);
            let (strip, source) = f.div_rem_const(source, from.width);
            let x = f.ptr_offset(x, strip, strip_bytes(from));
            let x = f.ptr_offset(x, source, 4);
            let y = f.ptr_offset(y, within, 4);
            f.for_each(first_channel, end, at_once, |f, channel| {
                let x = f.ptr_offset(x, channel, from.width * 4);
                let y = f.ptr_offset(y, channel, to.width * 4);
                for i in 0..at_once {
                    let value = f.load(MemoryType::F32, x, i * from.width * 4);
                    f.store(MemoryType::F32, value, y, i * to.width * 4);
                }
            });
        });
    });
    lowering.add_step(id, kernel, n_tasks);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_graph, lowered};
    use crate::PIPELINE;
    use condensec_ir::layout::Layout;
    use condensec_ir::ops::Conv2d;
    use condensec_ir::target_info::TargetInfo;
    use condensec_ir::tensor::Tensor;
    use condensec_ir::{Graph, NodeId, Op};

    /// A 1x1 convolution whose result one strided 1x1 convolution and one of stride 1 read; returns the graph.
    fn stage(x: [usize; 4], n_channels: usize, strides: [usize; 2]) -> Graph {
        let mut graph = Graph::new("stage", 1);
        let input = graph.add_input("x", &x);
        let conv = |graph: &mut Graph, name: &str, from: NodeId, shape: [usize; 2], strides| {
            let data = (0..shape[0] * shape[1]).map(|i| (i % 11) as f32 - 5.0);
            let weight = Tensor::shared(
                name,
                &[shape[0], shape[1], 1, 1],
                data.collect::<Vec<f32>>(),
            );
            let weight = graph.add_tensor(weight);
            let conv = Conv2d {
                strides,
                ..Conv2d::new(weight)
            };
            let origin = Default::default();
            graph.add_node(name, conv.into(), &[from], origin).unwrap()
        };
        let wide = conv(&mut graph, "wide", input, [n_channels, x[1]], [1, 1]);
        let same = conv(&mut graph, "same", wide, [4, n_channels], [1, 1]);
        let down = conv(&mut graph, "down", wide, [4, n_channels], strides);
        graph.add_output("same", same);
        graph.add_output("down", down);
        graph
    }

    #[test]
    fn maps_of_every_size() {
        for size in 1..20 {
            check_graph(&stage([1, 2, size, 21 - size], 5, [2, 2]), PIPELINE);
        }
        check_graph(&stage([2, 3, 9, 14], 4, [3, 2]), PIPELINE);
        check_graph(&stage([2, 3, 30, 31], 4, [1, 2]), PIPELINE);
        check_graph(&stage([1, 3, 5, 5], 4, [5, 7]), PIPELINE);
    }

    #[test]
    fn several_blocks_of_channels() {
        check_graph(&stage([2, 3, 13, 11], 150, [2, 2]), PIPELINE);
    }

    #[test]
    fn both_sides_are_strips() {
        let mut graph = stage([1, 2, 8, 8], 4, [2, 2]);
        let info = TargetInfo::typical(8, 16);
        for pass in PIPELINE {
            (pass.run)(&mut graph, &info);
        }
        let slices: Vec<NodeId> = graph.order();
        let slice = slices
            .into_iter()
            .find(|&id| matches!(graph.node(id).op, Op::Slice(_)))
            .unwrap();
        for id in [slice, graph.operands(slice)[0]] {
            assert!(matches!(graph.node(id).layout, Layout::Strips(_)));
        }
        lowered(&graph, &[], &info);
    }
}
