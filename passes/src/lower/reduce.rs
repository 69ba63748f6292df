//! Sums, means and extremes over whole axes.
//!
//! ```text
//! last axis reduced                       last axis kept
//! for kept dims (tasks)                   for kept dims but the row (tasks)
//!   sums = start                            for i in the row by lanes
//!   for reduced dims but the row              sum = start
//!     for i in the row by lanes               for reduced dims
//!       sums += x[i]                            sum += x[i]
//!   y = sum of the lanes of all sums          y[i] = sum
//! ```
//! A mean divides at the end. Rows of planes are followed by storage that exists, so there a row is
//! always whole vectors, whose last lanes gather garbage that is left out in the end.

use super::tiles::SHORTEST_VECTOR;
use super::view::{Dim, TaskDims, View, advance, fold_dims, for_dims, for_lanes, merge_dims};
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, Value};
use condensec_ir::layout::Layout;
use condensec_ir::ops::{Reduce, ReduceKind};

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId, op: &Reduce) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let shape = lowering.node(operand).shape.clone();
    if lowering.node(id).shape.contains(&0) {
        return Ok(());
    }
    let x_view = View::of(lowering, operand)?;
    let own_view = View::of(lowering, id)?;
    // The result in the operand's index space: it stays where it is along reduced axes.
    let mut y_view = View {
        strides: Vec::new(),
        offset: own_view.offset,
    };
    let mut own_strides = own_view.strides.iter();
    for axis in 0..shape.len() {
        let is_reduced = op.axes.contains(&axis);
        let own = if !is_reduced || op.keep_dims {
            own_strides.next()
        } else {
            None
        };
        y_view.strides.push(if is_reduced {
            0
        } else {
            *own.expect("one stride per axis")
        });
    }
    let dims = merge_dims(&shape, &[&x_view, &y_view]);
    let is_last_reduced = dims.last().is_some_and(|d| d.strides[1] == 0);
    let (reduced, mut kept): (Vec<Dim>, Vec<Dim>) =
        dims.into_iter().partition(|d| d.strides[1] == 0);
    let count: usize = reduced.iter().map(|d| d.size).product();

    let lanes = lowering.target.lanes;
    let mut kernel = KernelBuilder::new(&format!("reduce_{}", op.kind.name()), lowering);
    let x = kernel.buffer(lowering, operand);
    let y = kernel.buffer(lowering, id);
    let bases = [x_view.origin(&mut kernel, x), y_view.origin(&mut kernel, y)];
    let reduction = Reduction {
        kind: op.kind,
        count,
        reduced: &reduced,
        lanes,
        has_slack: matches!(lowering.node(operand).layout, Layout::Planes(_)),
    };
    let one = Dim {
        size: 1,
        strides: vec![1, 1],
    };
    let n_tasks = if is_last_reduced {
        // Every kept element is a row of its own.
        kept.push(one);
        let shared = TaskDims::choose(&mut kept, 1, count);
        kept.pop();
        let (tasks, middle) = kept.split_at(shared.n_dims);
        shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
            for_dims(f, middle, bases, |f, bases| reduction.emit_rows(f, bases));
        })
    } else {
        if kept.is_empty() {
            kept.push(one);
        }
        let shared = TaskDims::choose(&mut kept, lanes, count);
        let (outer, row) = kept.split_at(kept.len() - 1);
        let (tasks, middle) = outer.split_at(shared.n_dims);
        shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
            for_dims(f, middle, bases, |f, bases| {
                reduction.emit_columns(f, bases, &row[0])
            });
        })
    };
    lowering.add_step(id, kernel, n_tasks);
    Ok(())
}

/// How one element of the result, or one vector of them, comes about.
struct Reduction<'a> {
    kind: ReduceKind,
    count: usize,
    reduced: &'a [Dim],
    lanes: usize,
    /// Whether a vector may reach beyond the end of a row.
    has_slack: bool,
}

/// Rows of more vectors are folded into fewer sums.
const MAX_COLUMN_SUMS: usize = 8;

impl Reduction<'_> {
    /// One element; the last of the reduced dims is a row.
    fn emit_rows(&self, f: &mut FunctionBuilder, bases: &[Value]) {
        let (row, outer) = self.reduced.split_last().expect("the last axis is reduced");
        let stride = row.strides[0];
        let n_columns = row.size.div_ceil(self.lanes);
        if self.has_slack && stride == 1 && !outer.is_empty() && n_columns <= MAX_COLUMN_SUMS {
            return self.emit_short_rows(f, bases, row.size, outer);
        }
        let fold = RowFold::new(row.size, if stride == 1 { self.lanes } else { 1 });
        let sums = fold.start(f, self.kind.start());
        let sums = fold_dims(f, outer, bases, &sums, &mut |f, bases, sums| {
            fold.fold(f, sums, |f, lanes, i, sum| {
                let at = advance(f, bases[0], i, stride);
                let value = f.load_lanes(lanes, at, 0);
                self.combine(f, sum, value)
            })
        });
        let sum = fold.finish(f, &sums, |f, a, b| self.combine(f, a, b));
        let result = self.divide(f, sum);
        f.store_lanes(result, bases[1], 0);
    }

    /// One element from rows of `size` elements that vectors may reach beyond: a sum for each vector
    /// of columns.
    fn emit_short_rows(
        &self,
        f: &mut FunctionBuilder,
        bases: &[Value],
        size: usize,
        outer: &[Dim],
    ) {
        let shortest = size.next_power_of_two().max(SHORTEST_VECTOR);
        let lanes = self.lanes.min(shortest);
        let start = f.f32(self.kind.start());
        let sums = vec![f.splat(start, lanes); size.div_ceil(lanes)];
        let sums = fold_dims(f, outer, bases, &sums, &mut |f, bases, sums| {
            let columns = sums.iter().enumerate();
            columns
                .map(|(number, &sum)| {
                    let value = f.load_lanes(lanes, bases[0], number * lanes * 4);
                    self.combine(f, sum, value)
                })
                .collect()
        });
        let (whole, rest) = sums.split_at(size / lanes);
        let whole = whole.iter().copied();
        let whole = whole.reduce(|sum, other| self.combine(f, sum, other));
        let mut result = start;
        for (vector, n) in whole
            .map(|v| (v, lanes))
            .into_iter()
            .chain(rest.iter().map(|&v| (v, size % lanes)))
        {
            for lane in 0..n {
                let value = if lanes == 1 {
                    vector
                } else {
                    f.extract(vector, lane)
                };
                result = self.combine(f, result, value);
            }
        }
        let result = self.divide(f, result);
        f.store_lanes(result, bases[1], 0);
    }

    /// A row of elements.
    fn emit_columns(&self, f: &mut FunctionBuilder, bases: &[Value], row: &Dim) {
        let is_unit = row.strides == [1, 1];
        for_lanes(
            f,
            row.size,
            if is_unit { self.lanes } else { 1 },
            |f, lanes, i| {
                let bases = row.advance(f, bases, i);
                let start = f.f32(self.kind.start());
                let start = f.splat(start, lanes);
                let sum = fold_dims(f, self.reduced, &bases, &[start], &mut |f, bases, sum| {
                    let value = f.load_lanes(lanes, bases[0], 0);
                    vec![self.combine(f, sum[0], value)]
                });
                let result = self.divide(f, sum[0]);
                f.store_lanes(result, bases[1], 0);
            },
        );
    }

    fn combine(&self, f: &mut FunctionBuilder, sum: Value, value: Value) -> Value {
        match self.kind {
            ReduceKind::Max => f.fmax(value, sum),
            ReduceKind::Min => f.fmin(value, sum),
            ReduceKind::Mean | ReduceKind::Sum => f.fadd(sum, value),
        }
    }

    fn divide(&self, f: &mut FunctionBuilder, sum: Value) -> Value {
        match self.kind {
            ReduceKind::Mean => {
                let count = f.f32_like(sum, self.count as f32);
                f.fdiv(sum, count)
            }
            ReduceKind::Max | ReduceKind::Min | ReduceKind::Sum => sum,
        }
    }
}

/// Folds a row into one number with several vector accumulators, whose latencies overlap, and a
/// scalar one for the end of the row.
pub(super) struct RowFold {
    size: usize,
    lanes: usize,
    n_vectors: usize,
}

impl RowFold {
    /// Accumulators for rows of `size` elements.
    pub fn new(size: usize, lanes: usize) -> Self {
        Self {
            size,
            lanes,
            n_vectors: (size / lanes).min(4),
        }
    }

    /// The accumulators before the first element: the vectors, then the scalar.
    pub fn start(&self, f: &mut FunctionBuilder, value: f32) -> Vec<Value> {
        let scalar = f.f32(value);
        let vector = f.splat(scalar, self.lanes);
        let mut sums = vec![vector; self.n_vectors];
        sums.push(scalar);
        sums
    }

    /// The accumulators after a row; `step(f, lanes, i, sum)` takes `lanes` elements from `i` on
    /// into `sum`.
    pub fn fold(
        &self,
        f: &mut FunctionBuilder,
        sums: &[Value],
        mut step: impl FnMut(&mut FunctionBuilder, usize, Value, Value) -> Value,
    ) -> Vec<Value> {
        let Self {
            size,
            lanes,
            n_vectors,
        } = *self;
        let mut sums = sums.to_vec();
        let mut done = 0;
        // All accumulators by turns, then the first alone, then the scalar.
        for (n_sums, width) in [(n_vectors, lanes), (n_vectors.min(1), lanes), (1, 1)] {
            let block = n_sums * width;
            if block == 0 || size - done < block {
                continue;
            }
            let end = done + (size - done) / block * block;
            let first = if width == lanes && n_vectors > 0 {
                0
            } else {
                n_vectors
            };
            let (low, high) = (f.size(done), f.size(end));
            let next = f.for_loop(
                low,
                high,
                block,
                &sums[first..first + n_sums],
                |f, i, sums| {
                    let mut next = Vec::with_capacity(sums.len());
                    for (number, &sum) in sums.iter().enumerate() {
                        let i = f.add_const(i, number * width);
                        next.push(step(f, width, i, sum));
                    }
                    next
                },
            );
            sums[first..first + n_sums].copy_from_slice(&next);
            done = end;
        }
        sums
    }

    /// All accumulators as one scalar.
    pub fn finish(
        &self,
        f: &mut FunctionBuilder,
        sums: &[Value],
        mut combine: impl FnMut(&mut FunctionBuilder, Value, Value) -> Value,
    ) -> Value {
        let (&scalar, vectors) = sums.split_last().expect("start gives a scalar");
        let Some((&first, others)) = vectors.split_first() else {
            return scalar;
        };
        let vector = others
            .iter()
            .fold(first, |sum, &other| combine(f, sum, other));
        if self.lanes == 1 {
            return combine(f, scalar, vector);
        }
        (0..self.lanes).fold(scalar, |sum, lane| {
            let value = f.extract(vector, lane);
            combine(f, sum, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_graph, check_op, op_graph};
    use super::*;

    fn reduce(kind: ReduceKind, axes: &[usize], keep_dims: bool) -> Reduce {
        Reduce {
            kind,
            axes: axes.to_vec(),
            keep_dims,
        }
    }

    #[test]
    fn every_kind_and_set_of_axes() {
        for &(_, kind) in ReduceKind::ALL {
            for set in 0..16 {
                let axes: Vec<usize> = (0..4).filter(|axis| set >> axis & 1 == 1).collect();
                check_op(reduce(kind, &axes, set % 3 != 0), &[&[2, 3, 5, 17]]);
            }
        }
    }

    #[test]
    fn rows_of_every_length() {
        for size in [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 49, 100] {
            check_op(reduce(ReduceKind::Sum, &[1], false), &[&[3, size]]);
            check_op(reduce(ReduceKind::Max, &[0], true), &[&[3, size]]);
            check_op(reduce(ReduceKind::Mean, &[2, 3], true), &[&[1, 3, 1, size]]);
            check_op(reduce(ReduceKind::Mean, &[2, 3], true), &[&[1, 3, size, 1]]);
        }
    }

    #[test]
    fn means_over_images() {
        check_op(reduce(ReduceKind::Mean, &[2, 3], true), &[&[1, 64, 7, 7]]);
        check_op(reduce(ReduceKind::Mean, &[3, 2], false), &[&[2, 5, 14, 14]]);
        check_op(reduce(ReduceKind::Mean, &[1], true), &[&[1, 16, 20, 20]]);
    }

    #[test]
    fn ends_of_the_definition() {
        check_op(reduce(ReduceKind::Sum, &[], false), &[&[3, 5]]);
        check_op(reduce(ReduceKind::Sum, &[], false), &[&[]]);
        check_op(reduce(ReduceKind::Sum, &[0, 1], false), &[&[1, 1]]);
        for &(_, kind) in ReduceKind::ALL {
            check_graph(&op_graph(reduce(kind, &[0], false), &[&[0, 5]]), &[]);
            check_graph(&op_graph(reduce(kind, &[1], true), &[&[3, 0]]), &[]);
            check_graph(&op_graph(reduce(kind, &[1], true), &[&[0, 3]]), &[]);
        }
    }
}
