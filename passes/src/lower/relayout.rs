//! Copies a value from one layout to another: `y.address(i) = x.address(i)` for every element.
//!
//! To plain storage it is a copy between two views. To planes:
//!
//! ```text
//! for image, channel, band of rows (pieces of tasks)
//!   for row of the planes, for phase of rows
//!     if it holds a row of the value
//!       zeros left and right
//!       copy or split the row            by vectors, for up to two phases of columns
//!     else zeros
//! ```
//! Bands give an image of few channels enough tasks.

use super::copy_row;
use super::tasks::{n_tasks, pieces_per_task};
use super::zero_borders::zero_range;
use super::{KernelBuilder, Lowering, movement};
use condensec_ir::NodeId;
use condensec_ir::kernel::{CompareOp, FunctionBuilder, IntBinaryOp, MemoryType, Value};
use condensec_ir::layout::{Layout, Planes};

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId) -> Result<(), String> {
    match &lowering.node(id).layout {
        Layout::Plain => movement::lower_copy(lowering, id, "relayout"),
        Layout::Planes(planes) => lower_to_planes(lowering, id, planes),
        Layout::Strips(_) | Layout::Bands(_) => {
            Err("only convolutions write strips and bands".into())
        }
    }
}

fn lower_to_planes(lowering: &mut Lowering<'_>, id: NodeId, to: &Planes) -> Result<(), String> {
    let source_id = lowering.graph.operands(id)[0];
    let source = lowering.node(source_id);
    let (strides, first) = source
        .layout
        .strides4(&source.shape)
        .ok_or("relayout reads plain values or planes")?;
    let &[n_images, channels, height, width] = source.shape.as_slice() else {
        return Err("only values of rank 4 have planes".into());
    };
    let n_channels = n_images * channels;
    let channel_elems = to.phases[0] * to.phases[1] * to.plane;
    let work = n_channels * channel_elems;
    let n_bands = n_tasks(work).div_ceil(n_channels.max(1)).min(to.rows);
    let band_rows = to.rows.div_ceil(n_bands);
    let n_bands = to.rows.div_ceil(band_rows);

    let scatter = Scatter {
        left: if to.phases[1] == 1 { 0 } else { to.left },
        to,
        height,
        width,
        source_pitch: strides[2],
        lanes: lowering.target.lanes,
    };
    let mut kernel = KernelBuilder::new("relayout", lowering);
    let x = kernel.buffer(lowering, source_id);
    let y = kernel.buffer(lowering, id);
    let x = kernel.ptr_add_const(x, first * 4);
    let n_pieces = n_channels * n_bands;
    let per_task = pieces_per_task(n_pieces, work);
    let n_tasks = kernel.for_pieces(n_pieces, per_task, |f, piece| {
        let (plane, band) = f.div_rem_const(piece, n_bands);
        let (image, channel) = f.div_rem_const(plane, channels);
        let source = f.ptr_offset(x, image, strides[0] * 4);
        let source = f.ptr_offset(source, channel, strides[1] * 4);
        let target = f.ptr_offset(y, image, to.image * 4);
        let target = f.ptr_offset(target, channel, channel_elems * 4);
        let begin = f.mul_const(band, band_rows);
        let end = f.add_const(begin, band_rows);
        let limit = f.size(to.rows);
        let end = f.int(IntBinaryOp::MinU, end, limit);
        f.for_each(begin, end, 1, |f, row| {
            scatter.emit_row(f, source, target, row)
        });
        if to.left > 0 {
            // Rows that are written from their first pixel on leave the beginning of a plane to be done, others its end.
            let (outer_band, outer) = match to.phases[1] {
                1 => (0, 0),
                _ => (n_bands - 1, to.rows * to.pitch),
            };
            let outer_band = f.size(outer_band);
            let is_outer = f.compare(CompareOp::Eq, band, outer_band);
            f.if_then(is_outer, |f| {
                for phase in 0..to.phases[0] * to.phases[1] {
                    zero_range(f, target, phase * to.plane + outer, to.left, scatter.lanes);
                }
            });
        }
    });
    lowering.add_step(id, kernel, n_tasks);
    Ok(())
}

/// The rows of one channel, to the planes of its phases.
struct Scatter<'a> {
    to: &'a Planes,
    /// Columns of padding that a row begins with. None if columns have one phase: then its first pixel follows the row
    /// above and that row's gap, however short.
    left: usize,
    height: usize,
    width: usize,
    source_pitch: usize,
    lanes: usize,
}

impl Scatter<'_> {
    /// Row `row` of all phases.
    fn emit_row(&self, f: &mut FunctionBuilder, source: Value, target: Value, row: Value) {
        let [sh, sw] = self.to.phases;
        let target = f.ptr_offset(target, row, self.to.pitch * 4);
        let target = f.ptr_add_const(target, (self.to.left - self.left) * 4);
        let padded = f.mul_const(row, sh);
        let (top, height) = (f.size(self.to.top), f.size(self.height));
        for row_phase in 0..sh {
            let y = f.add_const(padded, row_phase);
            // Rows above wrap to large numbers.
            let y = f.sub(y, top);
            let exists = f.compare(CompareOp::Lt, y, height);
            let target = f.ptr_add_const(target, row_phase * sw * self.to.plane * 4);
            f.if_else(
                exists,
                |f| {
                    let source = f.ptr_offset(source, y, self.source_pitch * 4);
                    self.emit_columns(f, source, target);
                    Vec::new()
                },
                |f| {
                    for phase in 0..sw {
                        zero_range(f, target, phase * self.to.plane, self.to.pitch, self.lanes);
                    }
                    Vec::new()
                },
            );
        }
    }

    /// A row of the value, to the rows of all phases of columns from `target` on.
    fn emit_columns(&self, f: &mut FunctionBuilder, source: Value, target: Value) {
        let &Planes { pitch, plane, .. } = self.to;
        let left = self.left;
        let sw = self.to.phases[1];
        // Phases in the order of the row's first elements.
        let phases = (0..sw).map(|first| ((first + left) % sw * plane, (first + left) / sw));
        let mut rows = Vec::new();
        for (first, (phase, begin)) in phases.enumerate() {
            let n = self.width.saturating_sub(first).div_ceil(sw);
            let end = if n == 0 { 0 } else { begin + n };
            zero_range(f, target, phase, end - n, self.lanes);
            zero_range(f, target, phase + end, pitch - end, self.lanes);
            if n > 0 {
                rows.push(f.ptr_add_const(target, (phase + begin) * 4));
            }
        }
        match rows[..] {
            [row] if sw == 1 => copy_row::copy(f, source, row, self.width, self.lanes),
            [even, odd] if sw == 2 => {
                copy_row::split(f, source, [even, odd], self.width, self.lanes);
            }
            _ => {
                for (first, &row) in rows.iter().enumerate() {
                    gather(
                        f,
                        source,
                        [first, sw],
                        row,
                        (self.width - first).div_ceil(sw),
                    );
                }
            }
        }
    }
}

/// Copies `n` elements from element `first` on that lie `step` apart, one by one.
fn gather(f: &mut FunctionBuilder, x: Value, [first, step]: [usize; 2], y: Value, n: usize) {
    let x = f.ptr_add_const(x, first * 4);
    f.for_range(n, |f, i| {
        let from = f.ptr_offset(x, i, step * 4);
        let value = f.load(MemoryType::F32, from, 0);
        let into = f.ptr_offset(y, i, 4);
        f.store(MemoryType::F32, value, into, 0);
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_graph, lowered};
    use crate::{PIPELINE, Pass, choose_layouts};
    use condensec_ir::ops::Conv2d;
    use condensec_ir::target_info::TargetInfo;
    use condensec_ir::tensor::{Tensor, TensorId};
    use condensec_ir::{Graph, NodeId};

    const CHOOSE_LAYOUTS: Pass = Pass {
        name: choose_layouts::NAME,
        run: choose_layouts::run,
    };

    /// A convolution of the input; its stride decides how many phases the relayout makes.
    fn conv_graph(
        x: [usize; 4],
        kernel: [usize; 2],
        strides: [usize; 2],
        pads: [usize; 4],
    ) -> Graph {
        let mut graph = Graph::new("test", 1);
        let input: NodeId = graph.add_input("x", &x);
        let shape = [2, x[1], kernel[0], kernel[1]];
        let n: usize = shape.iter().product();
        let data: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
        let weight: TensorId = graph.add_tensor(Tensor::shared("w", &shape, data));
        let conv = Conv2d {
            strides,
            pads,
            ..Conv2d::new(weight)
        };
        let y = graph
            .add_node("y", conv.into(), &[input], Default::default())
            .unwrap();
        graph.add_output("y", y);
        graph
    }

    fn check_conv(x: [usize; 4], kernel: [usize; 2], strides: [usize; 2], pads: [usize; 4]) {
        let graph = conv_graph(x, kernel, strides, pads);
        check_graph(&graph, &[CHOOSE_LAYOUTS]);
    }

    #[test]
    fn rows_of_every_length() {
        for w in 1..40 {
            check_conv([1, 1, 3, w], [3, 3], [2, 2], [1; 4]);
            check_conv([1, 1, 2, w], [1, 1], [1, 1], [0; 4]);
        }
    }

    #[test]
    fn every_padding() {
        for top in 0..3 {
            for left in 0..4 {
                let pads = [top, left, 1, 2];
                check_conv([2, 2, 7, 21], [3, 5], [2, 2], pads);
                check_conv([1, 2, 4, 18], [4, 4], [3, 2], pads);
            }
        }
    }

    #[test]
    fn strides_differ_by_axis() {
        for strides in [[2, 1], [1, 2], [1, 3], [4, 4], [2, 5]] {
            check_conv([1, 2, 9, 23], [3, 3], strides, [1, 1, 0, 2]);
        }
    }

    #[test]
    fn more_phases_than_elements() {
        check_conv([1, 2, 1, 1], [3, 3], [2, 2], [1; 4]);
        check_conv([1, 2, 1, 9], [3, 3], [3, 2], [1; 4]);
        check_conv([1, 2, 3, 1], [5, 5], [4, 4], [2; 4]);
    }

    #[test]
    fn images_of_few_channels_have_several_tasks() {
        for (strides, pads) in [
            ([1, 1], [1, 1, 1, 1]),
            ([2, 2], [3, 3, 2, 2]),
            ([2, 1], [0, 2, 1, 0]),
            ([1, 3], [2, 0, 0, 1]),
            ([3, 2], [0, 0, 0, 0]),
        ] {
            let graph = conv_graph([2, 3, 53, 46], [3, 3], strides, pads);
            check_graph(&graph, PIPELINE);
            let program = lowered(&graph, PIPELINE, &TargetInfo::typical(4, 16));
            let n_tasks = program.steps[0][0].n_tasks;
            assert!((3..8).contains(&n_tasks), "{strides:?}: {n_tasks} tasks");
        }
    }

    #[test]
    fn small_images_of_many_channels_share_a_task() {
        let graph = conv_graph([2, 70, 9, 7], [3, 3], [1, 1], [1; 4]);
        check_graph(&graph, PIPELINE);
        let program = lowered(&graph, PIPELINE, &TargetInfo::typical(4, 16));
        assert_eq!(program.steps[0][0].n_tasks, 3);
    }
}
