//! Softmax and log-softmax along any axis.
//!
//! ```text
//! axis is the row                         another axis is the row
//! for other dims (tasks)                  for other dims but the row (tasks)
//!   m = max x[k], by lanes                  for i in the row by lanes
//!   y[k] = exp(x[k] - m), s = sum             the same, k by k, for a vector of columns
//!   y[k] = y[k] / s
//! ```
//! The logarithm writes the result only once: `y[k] = x[k] - m - log s`.

use super::math::{emit_exp, emit_log};
use super::reduce::RowFold;
use super::view::{Dim, TaskDims, View, advance, for_dims, for_lanes, merge_dims};
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, Value};
use condensec_ir::ops::Softmax;

/// Work per element, in elements copied.
const WEIGHT: usize = 16;

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId, op: &Softmax) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let mut shape = lowering.node(id).shape.clone();
    if shape.contains(&0) {
        return Ok(());
    }
    let x_view = View::of(lowering, operand)?;
    let y_view = View::of(lowering, id)?;
    let axis = Dim {
        size: std::mem::replace(&mut shape[op.axis], 1),
        strides: vec![x_view.strides[op.axis], y_view.strides[op.axis]],
    };
    let mut dims = merge_dims(&shape, &[&x_view, &y_view]);

    let lanes = lowering.target.lanes;
    let name = if op.log { "log_softmax" } else { "softmax" };
    let mut kernel = KernelBuilder::new(name, lowering);
    let x = kernel.buffer(lowering, operand);
    let y = kernel.buffer(lowering, id);
    let bases = [x_view.origin(&mut kernel, x), y_view.origin(&mut kernel, y)];
    let softmax = Emitter {
        axis: &axis,
        log: op.log,
    };
    let is_unit = |dim: &Dim| dim.strides == [1, 1];
    let n_tasks = if dims.last().is_some_and(is_unit) && !is_unit(&axis) {
        let shared = TaskDims::choose(&mut dims, lanes, axis.size * WEIGHT);
        let (outer, row) = dims.split_at(dims.len() - 1);
        let (tasks, middle) = outer.split_at(shared.n_dims);
        shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
            for_dims(f, middle, bases, |f, bases| {
                for_lanes(f, row[0].size, lanes, |f, lanes, i| {
                    let bases = row[0].advance(f, bases, i);
                    softmax.emit_columns(f, &bases, lanes);
                });
            });
        })
    } else {
        let lanes = if is_unit(&axis) { lanes } else { 1 };
        dims.push(Dim {
            size: 1,
            strides: vec![1, 1],
        });
        let shared = TaskDims::choose(&mut dims, 1, axis.size * WEIGHT);
        dims.pop();
        let (tasks, middle) = dims.split_at(shared.n_dims);
        shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
            for_dims(f, middle, bases, |f, bases| {
                softmax.emit_row(f, bases, lanes)
            });
        })
    };
    lowering.add_step(id, kernel, n_tasks);
    Ok(())
}

struct Emitter<'a> {
    axis: &'a Dim,
    log: bool,
}

impl Emitter<'_> {
    /// One softmax, by vectors along the axis.
    fn emit_row(&self, f: &mut FunctionBuilder, bases: &[Value], lanes: usize) {
        let size = self.axis.size;
        let fold = RowFold::new(size, lanes);
        let start = fold.start(f, f32::NEG_INFINITY);
        let maxima = fold.fold(f, &start, |f, lanes, i, max| {
            let x = self.load(f, bases, lanes, i);
            f.fmax(x, max)
        });
        let max = fold.finish(f, &maxima, |f, max, value| f.fmax(value, max));
        // In both widths, since the end of the row needs scalars.
        let maxima = [max, f.splat(max, lanes)];
        let start = fold.start(f, 0.0);
        let sums = fold.fold(f, &start, |f, lanes, i, sum| {
            let max = maxima[usize::from(lanes > 1)];
            let term = self.term(f, bases, lanes, i, max);
            f.fadd(sum, term)
        });
        let sum = fold.finish(f, &sums, |f, a, b| f.fadd(a, b));
        let scale = self.scale(f, sum);
        let scales = [scale, f.splat(scale, lanes)];
        for_lanes(f, size, lanes, |f, lanes, i| {
            let width = usize::from(lanes > 1);
            self.store(f, bases, lanes, i, maxima[width], scales[width]);
        });
    }

    /// `lanes` softmaxes beside each other.
    fn emit_columns(&self, f: &mut FunctionBuilder, bases: &[Value], lanes: usize) {
        let (low, high) = (f.index(0), f.size(self.axis.size));
        let start = f.f32(f32::NEG_INFINITY);
        let start = f.splat(start, lanes);
        let max = f.for_loop(low, high, 1, &[start], |f, k, max| {
            let x = self.load(f, bases, lanes, k);
            vec![f.fmax(x, max[0])]
        })[0];
        let zero = f.f32_like(max, 0.0);
        let sum = f.for_loop(low, high, 1, &[zero], |f, k, sum| {
            let term = self.term(f, bases, lanes, k, max);
            vec![f.fadd(sum[0], term)]
        })[0];
        let scale = self.scale(f, sum);
        f.for_each(low, high, 1, |f, k| {
            self.store(f, bases, lanes, k, max, scale)
        });
    }

    fn load(&self, f: &mut FunctionBuilder, bases: &[Value], lanes: usize, k: Value) -> Value {
        let at = advance(f, bases[0], k, self.axis.strides[0]);
        f.load_lanes(lanes, at, 0)
    }

    /// `exp(x[k] - max)`, kept in the result unless that is the logarithm.
    fn term(
        &self,
        f: &mut FunctionBuilder,
        bases: &[Value],
        lanes: usize,
        k: Value,
        max: Value,
    ) -> Value {
        let x = self.load(f, bases, lanes, k);
        let distance = f.fsub(x, max);
        let term = emit_exp(f, distance);
        if !self.log {
            let at = advance(f, bases[1], k, self.axis.strides[1]);
            f.store_lanes(term, at, 0);
        }
        term
    }

    /// What the last pass needs: the factor of the terms, or the logarithm to subtract.
    fn scale(&self, f: &mut FunctionBuilder, sum: Value) -> Value {
        if self.log {
            return emit_log(f, sum);
        }
        let one = f.f32_like(sum, 1.0);
        f.fdiv(one, sum)
    }

    fn store(
        &self,
        f: &mut FunctionBuilder,
        bases: &[Value],
        lanes: usize,
        k: Value,
        max: Value,
        scale: Value,
    ) {
        let at = advance(f, bases[1], k, self.axis.strides[1]);
        let value = if self.log {
            let x = self.load(f, bases, lanes, k);
            let distance = f.fsub(x, max);
            f.fsub(distance, scale)
        } else {
            let term = f.load_lanes(lanes, at, 0);
            f.fmul(term, scale)
        };
        f.store_lanes(value, at, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_op;
    use super::*;

    #[test]
    fn every_axis() {
        for (axis, log) in (0..4).flat_map(|axis| [(axis, false), (axis, true)]) {
            check_op(Softmax { axis, log }, &[&[2, 3, 5, 17]]);
        }
    }

    #[test]
    fn rows_of_every_length() {
        for (size, log) in [1, 3, 4, 7, 16, 50]
            .into_iter()
            .flat_map(|n| [(n, false), (n, true)])
        {
            check_op(Softmax { axis: 0, log }, &[&[size]]);
            check_op(Softmax { axis: 1, log }, &[&[3, size]]);
            check_op(Softmax { axis: 0, log }, &[&[size, 3]]);
            check_op(Softmax { axis: 1, log }, &[&[1, size, 1]]);
        }
    }

    #[test]
    fn images_are_cut_into_tasks() {
        check_op(
            Softmax {
                axis: 1,
                log: false,
            },
            &[&[1, 21, 16, 20]],
        );
        check_op(
            Softmax {
                axis: 1,
                log: false,
            },
            &[&[400, 19]],
        );
    }
}
