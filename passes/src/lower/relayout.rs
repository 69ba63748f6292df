//! Copies a value from one layout to another: `y.address(i) = x.address(i)` for every element.
//!
//! ```text
//! for image, channel (tasks)
//!   clear the borders                    of every phase plane
//!   for row phase, for row of it
//!     copy or split the row              by vectors, for up to two phases of columns
//! ```

use super::copy_row;
use super::zero_borders::{Filled, zero_around};
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, MemoryType, Value};
use condensec_ir::layout::{Layout, Planes};

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId) -> Result<(), String> {
    let node = lowering.node(id);
    let source_id = lowering.graph.operands(id)[0];
    let source = lowering.node(source_id);
    let lanes = lowering.target.lanes;
    let mut kernel = KernelBuilder::new("relayout", lowering);
    let x = kernel.buffer(lowering, source_id);
    let y = kernel.buffer(lowering, id);
    let n_tasks = match (&source.layout, &node.layout) {
        (Layout::Plain, Layout::Plain) => {
            let n = node.shape.iter().product();
            kernel.for_tasks(|f, _| copy_row::copy(f, x, y, n, lanes));
            1
        }
        (from, Layout::Planes(to)) => {
            let (strides, first) = from
                .strides4(&source.shape)
                .ok_or("relayout reads plain values or planes")?;
            let (channels, h, w) = (node.shape[1], node.shape[2], node.shape[3]);
            kernel.for_tasks(|f, task| {
                let (image, channel) = f.div_rem_const(task, channels);
                let source = f.ptr_add_const(x, first * 4);
                let source = f.ptr_offset(source, image, strides[0] * 4);
                let source = f.ptr_offset(source, channel, strides[1] * 4);
                let target = f.ptr_offset(y, image, to.image * 4);
                let target =
                    f.ptr_offset(target, channel, to.phases[0] * to.phases[1] * to.plane * 4);
                scatter(f, source, strides[2], target, to, [h, w], lanes);
            });
            node.shape[0] * channels
        }
        (from, Layout::Plain) => {
            let (strides, first) = from
                .strides4(&source.shape)
                .ok_or("relayout reads plain values or planes")?;
            let (channels, h, w) = (node.shape[1], node.shape[2], node.shape[3]);
            kernel.for_tasks(|f, task| {
                let (image, channel) = f.div_rem_const(task, channels);
                let source = f.ptr_add_const(x, first * 4);
                let source = f.ptr_offset(source, image, strides[0] * 4);
                let source = f.ptr_offset(source, channel, strides[1] * 4);
                let target = f.ptr_offset(y, task, h * w * 4);
                f.for_range(h, |f, row| {
                    let source = f.ptr_offset(source, row, strides[2] * 4);
                    let target = f.ptr_offset(target, row, w * 4);
                    copy_row::copy(f, source, target, w, lanes);
                });
            });
            node.shape[0] * channels
        }
        (_, Layout::Strips(_)) => return Err("only convolutions write strips".into()),
    };
    lowering.add_step(id, kernel, n_tasks);
    Ok(())
}

/// One channel `[h, w]` into its phase planes, everything else in them zero.
fn scatter(
    f: &mut FunctionBuilder,
    source: Value,
    source_pitch: usize,
    target: Value,
    to: &Planes,
    [h, w]: [usize; 2],
    lanes: usize,
) {
    let [sh, sw] = to.phases;
    for phase in 0..sh * sw {
        let rows = Phase::new(sh, to.top, h, phase / sw);
        let columns = Phase::new(sw, to.left, w, phase % sw);
        let filled = Filled {
            first: rows.place * to.pitch + columns.place,
            rows: rows.n,
            columns: columns.n,
            pitch: to.pitch,
            end: to.rows * to.pitch + to.left,
        };
        let plane = f.ptr_add_const(target, phase * to.plane * 4);
        zero_around(f, plane, &filled, lanes);
    }
    for row_phase in 0..sh {
        let rows = Phase::new(sh, to.top, h, row_phase);
        let into = |column: usize| match rows.n {
            0 => 0,
            _ => to.offset(0, 0, rows.first, column) * 4,
        };
        let from = f.ptr_add_const(source, rows.first * source_pitch * 4);
        let columns: Vec<Value> = (0..sw.min(w))
            .map(|column| f.ptr_add_const(target, into(column)))
            .collect();
        f.for_range(rows.n, |f, row| {
            let from = f.ptr_offset(from, row, sh * source_pitch * 4);
            let into: Vec<Value> = columns
                .iter()
                .map(|&into| f.ptr_offset(into, row, to.pitch * 4))
                .collect();
            match into[..] {
                [into] if sw == 1 => copy_row::copy(f, from, into, w, lanes),
                [even, odd] if sw == 2 => copy_row::split(f, from, [even, odd], w, lanes),
                _ => {
                    for (first, &into) in into.iter().enumerate() {
                        gather(f, from, [first, sw], into, (w - first).div_ceil(sw));
                    }
                }
            }
        });
    }
}

/// The elements of one stride phase along one axis.
struct Phase {
    /// The first element.
    first: usize,
    /// How many there are.
    n: usize,
    /// Where the first one is in the plane.
    place: usize,
}

impl Phase {
    /// Phase `number` of `n_phases` of `size` elements behind `padding`.
    fn new(n_phases: usize, padding: usize, size: usize, number: usize) -> Self {
        let first = (number + n_phases - padding % n_phases) % n_phases;
        Self {
            first,
            n: size.saturating_sub(first).div_ceil(n_phases),
            place: (first + padding) / n_phases,
        }
    }
}

/// Copies `n` elements that lie `step` apart, one by one.
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
    use super::super::testing::check_graph;
    use crate::{Pass, choose_layouts};
    use condensec_ir::ops::Conv2d;
    use condensec_ir::tensor::{Tensor, TensorId};
    use condensec_ir::{Graph, NodeId};

    const CHOOSE_LAYOUTS: Pass = Pass {
        name: choose_layouts::NAME,
        run: choose_layouts::run,
    };

    /// A convolution of the input; its stride decides how many phases the relayout makes.
    fn check_conv(x: [usize; 4], kernel: [usize; 2], strides: [usize; 2], pads: [usize; 4]) {
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
}
