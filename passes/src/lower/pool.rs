//! Max and average pooling over `[N, C, H, W]`.
//!
//! ```text
//! for image, channel (tasks)
//!   for oy whose window lies inside           constant rows, unrolled if the window is small
//!     for ox left of the inside               its own constant columns each
//!     for ox inside, by lanes up to stride 2  all columns
//!     for ox right of the inside
//!   for oy at the upper or lower border       the same with a variable range of rows
//! ```
//! Only elements that exist are read: the padding of the result's or operand's storage, if any,
//! belongs to convolutions.

use super::copy_row::for_vectors;
use super::view::{Dim, TaskDims, View, advance, for_dims, merge_dims};
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{CompareOp, FunctionBuilder, IntBinaryOp, Parity, Type, Value};
use condensec_ir::ops::{AvgPool, MaxPool};
use std::ops::Range;

/// Windows up to this size have their rows unrolled inside, as all windows have their columns.
const MAX_UNROLLED_TAPS: usize = 25;
/// Windows wider than this get a loop over their columns.
const MAX_UNROLLED_COLUMNS: usize = 16;

pub(super) fn lower_max(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    op: &MaxPool,
) -> Result<(), String> {
    let axis = |lowering: &Lowering<'_>, a: usize| Axis {
        kernel: op.kernel[a],
        stride: op.strides[a],
        dilation: op.dilations[a],
        low: op.pads[a],
        high: op.pads[a + 2],
        size: lowering.node(lowering.graph.operands(id)[0]).shape[2 + a],
        n_windows: lowering.node(id).shape[2 + a],
    };
    let axes = [axis(lowering, 0), axis(lowering, 1)];
    lower(
        lowering,
        id,
        "max_pool",
        Pool {
            axes,
            kind: Kind::Max,
            lanes: lowering.target.lanes,
        },
    )
}

pub(super) fn lower_avg(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    op: &AvgPool,
) -> Result<(), String> {
    let axis = |lowering: &Lowering<'_>, a: usize| Axis {
        kernel: op.kernel[a],
        stride: op.strides[a],
        dilation: 1,
        low: op.pads[a],
        high: op.pads[a + 2],
        size: lowering.node(lowering.graph.operands(id)[0]).shape[2 + a],
        n_windows: lowering.node(id).shape[2 + a],
    };
    let axes = [axis(lowering, 0), axis(lowering, 1)];
    lower(
        lowering,
        id,
        "avg_pool",
        Pool {
            axes,
            kind: Kind::Avg(op),
            lanes: lowering.target.lanes,
        },
    )
}

fn lower(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    name: &str,
    pool: Pool<'_>,
) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let shape = &lowering.node(id).shape;
    if shape.contains(&0) {
        return Ok(());
    }
    let (x_view, y_view) = (View::of(lowering, operand)?, View::of(lowering, id)?);
    let planes = [shape[0], shape[1], 1];
    let mut dims = merge_dims(&planes, &[&x_view, &y_view]);
    let n_taps = pool.axes[0].kernel * pool.axes[1].kernel;
    let n_pixels = shape[2] * shape[3];
    let mut kernel = KernelBuilder::new(name, lowering);
    let x = kernel.buffer(lowering, operand);
    let y = kernel.buffer(lowering, id);
    let bases = [x_view.origin(&mut kernel, x), y_view.origin(&mut kernel, y)];
    // A plane is the smallest task.
    dims.push(Dim {
        size: 1,
        strides: vec![1, 1],
    });
    let shared = TaskDims::choose(&mut dims, 1, n_taps * n_pixels);
    dims.pop();
    let (tasks, middle) = dims.split_at(shared.n_dims);
    let pitches = [x_view.strides[2], y_view.strides[2]];
    let n_tasks = shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
        for_dims(f, middle, bases, |f, bases| {
            pool.emit_plane(f, bases, pitches)
        });
    });
    lowering.add_step(id, kernel, n_tasks);
    Ok(())
}

/// The windows along one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    low: usize,
    high: usize,
    /// Elements of the operand.
    size: usize,
    n_windows: usize,
}

impl Axis {
    /// Windows whose elements all exist.
    fn inside(&self) -> Range<usize> {
        let reach = (self.kernel - 1) * self.dilation + 1;
        let first = self.low.div_ceil(self.stride);
        let end = match (self.low + self.size).checked_sub(reach) {
            Some(last) => last / self.stride + 1,
            None => 0,
        };
        let end = end.min(self.n_windows);
        first.min(end)..end
    }

    /// Elements of window `o` that exist.
    fn taps(&self, o: usize) -> Range<usize> {
        let begin = o * self.stride;
        let first = self.low.saturating_sub(begin).div_ceil(self.dilation);
        let end = (self.low + self.size)
            .saturating_sub(begin)
            .div_ceil(self.dilation);
        first..end.min(self.kernel)
    }

    /// Place of an existing tap.
    fn place(&self, o: usize, tap: usize) -> usize {
        o * self.stride + tap * self.dilation - self.low
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    Max,
    Avg(&'a AvgPool),
}

#[derive(Debug, Clone, Copy)]
struct Pool<'a> {
    axes: [Axis; 2],
    kind: Kind<'a>,
    lanes: usize,
}

/// Rows of a window.
#[derive(Debug, Clone, Copy)]
struct Rows {
    /// How many exist; `None` if all.
    n: Option<Value>,
    /// How many count for a mean, if that is not all of the window.
    count: Option<Value>,
}

impl Pool<'_> {
    fn emit_plane(&self, f: &mut FunctionBuilder, bases: &[Value], pitches: [isize; 2]) {
        let axis = self.axes[0];
        let inside = axis.inside();
        let n_inside = inside.len();
        let x_inside = axis_pointer(f, &axis, &inside, bases[0], pitches[0]);
        f.for_range(n_inside, |f, j| {
            let x = advance(f, x_inside, j, axis.stride as isize * pitches[0]);
            let oy = f.add_const(j, inside.start);
            let y = advance(f, bases[1], oy, pitches[1]);
            self.emit_row(
                f,
                x,
                y,
                Rows {
                    n: None,
                    count: None,
                },
                pitches[0],
            );
        });
        f.for_range(axis.n_windows - n_inside, |f, j| {
            // The rows above the inside, then those below.
            let below = f.add_const(j, n_inside);
            let start = f.size(inside.start);
            let is_above = f.compare(CompareOp::Lt, j, start);
            let oy = f.select(is_above, j, below);
            let (first_row, rows) = self.border_rows(f, oy);
            let x = advance(f, bases[0], first_row, pitches[0]);
            let y = advance(f, bases[1], oy, pitches[1]);
            self.emit_row(f, x, y, rows, pitches[0]);
        });
    }

    /// The first row of the operand that window row `oy` reads, and how many.
    fn border_rows(&self, f: &mut FunctionBuilder, oy: Value) -> (Value, Rows) {
        let Axis {
            kernel,
            stride,
            dilation,
            low,
            high,
            size,
            ..
        } = self.axes[0];
        let begin = f.mul_const(oy, stride);
        // Number of taps before the padded row `edge`.
        let taps_before = |f: &mut FunctionBuilder, edge: usize| {
            let edge = f.size(edge);
            let edge = f.int(IntBinaryOp::MaxU, edge, begin);
            let distance = f.sub(edge, begin);
            let distance = f.add_const(distance, dilation - 1);
            f.div_rem_const(distance, dilation).0
        };
        let first = taps_before(f, low);
        let end = taps_before(f, low + size);
        let limit = f.size(kernel);
        let end = f.int(IntBinaryOp::MinU, end, limit);
        let n = f.sub(end, first);
        let skipped = f.mul_const(first, dilation);
        let row = f.add(begin, skipped);
        let low_rows = f.size(low);
        let row = f.sub(row, low_rows);
        let count = match self.kind {
            Kind::Max => None,
            Kind::Avg(op) if op.count_include_pad => {
                let window_end = f.add_const(begin, kernel);
                let limit = f.size(low + size + high);
                let window_end = f.int(IntBinaryOp::MinU, window_end, limit);
                Some(f.sub(window_end, begin))
            }
            Kind::Avg(_) => Some(n),
        };
        (row, Rows { n: Some(n), count })
    }

    /// One row of the result; `x` points at the first row of its windows.
    fn emit_row(&self, f: &mut FunctionBuilder, x: Value, y: Value, rows: Rows, pitch: isize) {
        let axis = self.axes[1];
        let inside = axis.inside();
        let lanes = match axis.stride {
            1 => self.lanes,
            2 if self.has_pairs() => self.lanes,
            _ => 1,
        };
        let n_rows = rows.count.map(|count| {
            let count = f.index_to_i32(count);
            f.int_to_float(count)
        });
        let emit_windows = |f: &mut FunctionBuilder, windows: Range<usize>, lanes: usize| {
            let ox = windows.start;
            let taps = axis.taps(ox);
            let x = f.ptr_add_const(x, axis.place(ox, taps.start) * 4);
            let y = f.ptr_add_const(y, ox * 4);
            let columns = [(x, axis.stride), (y, 1)];
            for_vectors(f, windows.len(), lanes, &columns, |f, lanes, at, i| {
                let x = f.ptr_add_const(at[0], i * axis.stride * 4);
                let sum = match axis.stride {
                    2 if lanes > 1 => self.emit_pairs(f, x, rows.n, pitch, lanes),
                    _ => self.emit_window(f, x, rows.n, taps.len(), pitch, lanes),
                };
                let result = self.divide(f, sum, n_rows, ox);
                f.store_lanes(result, at[1], i * 4);
            });
        };
        for ox in 0..inside.start {
            emit_windows(f, ox..ox + 1, 1);
        }
        if !inside.is_empty() {
            emit_windows(f, inside.clone(), lanes);
        }
        for ox in inside.end..axis.n_windows {
            emit_windows(f, ox..ox + 1, 1);
        }
    }

    /// Maximum or sum over `rows` rows (all if `None`) of `n_columns` taps; `x` points at the first.
    fn emit_window(
        &self,
        f: &mut FunctionBuilder,
        x: Value,
        rows: Option<Value>,
        n_columns: usize,
        pitch: isize,
        lanes: usize,
    ) -> Value {
        let step = self.axes[1].dilation * 4;
        let start = self.start(f, lanes);
        let sums = self.fold_rows(f, x, rows, pitch, &[start], |f, at, offset, sums| {
            let tap = |f: &mut FunctionBuilder, sum: Value, at: Value, offset: usize| {
                let value = f.load_lanes(lanes, at, offset);
                self.combine(f, sum, value)
            };
            if n_columns <= MAX_UNROLLED_COLUMNS {
                let offsets = (0..n_columns).map(|kx| offset + kx * step);
                return vec![offsets.fold(sums[0], |sum, offset| tap(f, sum, at, offset))];
            }
            let (low, high) = (f.index(0), f.size(n_columns));
            f.for_loop(low, high, 1, sums, |f, kx, sums| {
                let at = f.ptr_offset(at, kx, step);
                vec![tap(f, sums[0], at, offset)]
            })
        });
        sums[0]
    }

    /// Whether the columns of a window are neighbours and some have a partner.
    fn has_pairs(&self) -> bool {
        let Axis {
            kernel, dilation, ..
        } = self.axes[1];
        dilation == 1 && (2..=MAX_UNROLLED_COLUMNS).contains(&kernel)
    }

    /// `lanes` neighbouring windows whose first columns lie two apart; `x` points at the first.
    ///
    /// Rows are combined before the columns are taken apart, so that a window costs two shuffles
    /// whatever its size. Even lanes of `pairs` hold the first columns of all pairs, odd lanes the
    /// second ones; odd lanes of `last` hold the column that is left over.
    fn emit_pairs(
        &self,
        f: &mut FunctionBuilder,
        x: Value,
        rows: Option<Value>,
        pitch: isize,
        lanes: usize,
    ) -> Value {
        let n_columns = self.axes[1].kernel;
        // The left-over column starts one element early, which keeps inside of the windows.
        let mut columns: Vec<usize> = (0..n_columns - 1).step_by(2).collect();
        let mut sums = vec![self.start(f, lanes); 2];
        if n_columns % 2 == 1 {
            columns.push(n_columns - 2);
            sums.extend_from_within(..);
        }
        let sums = self.fold_rows(f, x, rows, pitch, &sums, |f, at, offset, sums| {
            let mut sums = sums.to_vec();
            for (number, &column) in columns.iter().enumerate() {
                let first = if 2 * number + 1 < n_columns { 0 } else { 2 };
                for half in 0..2 {
                    let offset = offset + (column + half * lanes) * 4;
                    let value = f.load_lanes(lanes, at, offset);
                    sums[first + half] = self.combine(f, sums[first + half], value);
                }
            }
            sums
        });
        let (pairs, last) = sums.split_at(2);
        let even = f.deinterleave(Parity::Even, pairs[0], pairs[1]);
        let odd = match *last {
            [a, b] => [self.combine(f, pairs[0], a), self.combine(f, pairs[1], b)],
            _ => [pairs[0], pairs[1]],
        };
        let odd = f.deinterleave(Parity::Odd, odd[0], odd[1]);
        self.combine(f, even, odd)
    }

    /// Runs `body(f, at, offset, sums)` for `rows` rows (all if `None`) from `x` on, at `offset` bytes
    /// from `at`.
    fn fold_rows(
        &self,
        f: &mut FunctionBuilder,
        x: Value,
        rows: Option<Value>,
        pitch: isize,
        sums: &[Value],
        mut body: impl FnMut(&mut FunctionBuilder, Value, usize, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let [vertical, horizontal] = self.axes;
        let step = vertical.dilation * pitch as usize * 4;
        if rows.is_none() && vertical.kernel * horizontal.kernel <= MAX_UNROLLED_TAPS {
            let mut sums = sums.to_vec();
            for ky in 0..vertical.kernel {
                sums = body(f, x, ky * step, &sums);
            }
            return sums;
        }
        let low = f.index(0);
        let high = rows.unwrap_or_else(|| f.size(vertical.kernel));
        f.for_loop(low, high, 1, sums, |f, ky, sums| {
            let at = f.ptr_offset(x, ky, step);
            body(f, at, 0, sums)
        })
    }

    /// What a window without elements gives.
    fn start(&self, f: &mut FunctionBuilder, lanes: usize) -> Value {
        let start = f.f32(match self.kind {
            Kind::Max => f32::NEG_INFINITY,
            Kind::Avg(_) => 0.0,
        });
        f.splat(start, lanes)
    }

    fn combine(&self, f: &mut FunctionBuilder, sum: Value, value: Value) -> Value {
        match self.kind {
            Kind::Max => f.fmax(value, sum),
            Kind::Avg(_) => f.fadd(sum, value),
        }
    }

    /// A sum over window `ox`, and those like it, as a mean.
    fn divide(
        &self,
        f: &mut FunctionBuilder,
        sum: Value,
        n_rows: Option<Value>,
        ox: usize,
    ) -> Value {
        let Kind::Avg(op) = self.kind else {
            return sum;
        };
        let n_columns = op.count(1, self.axes[1].size, ox) as f32;
        let count = match n_rows {
            None => f.f32(self.axes[0].kernel as f32 * n_columns),
            Some(n_rows) => {
                let n_columns = f.f32(n_columns);
                f.fmul(n_rows, n_columns)
            }
        };
        let lanes = match f.type_of(sum) {
            Type::Vector(lanes) => lanes as usize,
            _ => 1,
        };
        let count = f.splat(count, lanes);
        f.fdiv(sum, count)
    }
}

/// Start of the rows that the windows inside read.
fn axis_pointer(
    f: &mut FunctionBuilder,
    axis: &Axis,
    inside: &Range<usize>,
    base: Value,
    pitch: isize,
) -> Value {
    match inside.is_empty() {
        true => base,
        false => f.ptr_add_const(base, axis.place(inside.start, 0) * pitch as usize * 4),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_op;
    use super::*;

    /// Kernel, strides, pads and the size of the image, for both kinds of pooling.
    const CASES: &[([usize; 2], [usize; 2], [usize; 4], [usize; 2])] = &[
        ([1, 1], [1, 1], [0; 4], [3, 5]),
        ([1, 1], [2, 2], [0; 4], [5, 7]),
        ([2, 2], [2, 2], [0; 4], [6, 7]),
        ([3, 3], [2, 2], [1; 4], [17, 16]),
        ([3, 3], [2, 2], [0, 0, 1, 1], [8, 8]),
        ([3, 3], [1, 1], [1; 4], [5, 17]),
        ([5, 5], [1, 1], [2; 4], [7, 20]),
        ([13, 13], [1, 1], [6; 4], [9, 13]),
        ([13, 13], [1, 1], [6; 4], [17, 19]),
        ([2, 3], [3, 1], [1, 2, 0, 1], [7, 5]),
        ([1, 20], [1, 3], [0, 5, 0, 8], [3, 33]),
        ([7, 7], [1, 1], [0; 4], [7, 7]),
        ([3, 3], [1, 1], [2; 4], [1, 1]),
    ];

    #[test]
    fn max() {
        for &(kernel, strides, pads, [h, w]) in CASES {
            let op = MaxPool {
                kernel,
                strides,
                pads,
                dilations: [1, 1],
            };
            check_op(op, &[&[2, 3, h, w]]);
        }
    }

    #[test]
    fn max_with_dilation() {
        for (kernel, pads, size) in [
            ([3, 2], [2, 1, 2, 1], [7, 9]),
            ([3, 3], [3, 2, 2, 3], [5, 17]),
        ] {
            for strides in [[1, 1], [2, 3]] {
                let op = MaxPool {
                    kernel,
                    strides,
                    pads,
                    dilations: [2, 3],
                };
                check_op(op, &[&[1, 2, size[0], size[1]]]);
            }
        }
    }

    #[test]
    fn average() {
        for &(kernel, strides, pads, [h, w]) in CASES {
            for count_include_pad in [false, true] {
                let op = AvgPool {
                    kernel,
                    strides,
                    pads,
                    overhang: [0; 2],
                    count_include_pad,
                };
                check_op(op, &[&[2, 3, h, w]]);
            }
        }
    }

    #[test]
    fn average_with_overhang() {
        for count_include_pad in [false, true] {
            let op = AvgPool {
                kernel: [3, 3],
                strides: [2, 2],
                pads: [0, 1, 1, 0],
                overhang: [1, 1],
                count_include_pad,
            };
            check_op(op, &[&[1, 2, 6, 8]]);
        }
    }
}
