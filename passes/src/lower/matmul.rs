//! Products of two activations: `y[.., i, j] = sum_k a[.., i, k] * b[.., k, j]`.
//!
//! ```text
//! for outer dims, block of ROWS rows (tasks)
//!   for j by VECTORS * lanes, then by lanes, then by one
//!     sums[ROWS][VECTORS] = 0
//!     for k
//!       for each row: sums[row] += splat a[row, k] * b[k, j..]
//!     y[rows, j..] = sums
//! ```
//! Registers: ROWS * VECTORS sums, VECTORS of b, one of a: 11 of 16. Rows that fill no block are a
//! second step with fewer rows. Weights never come here: they are lists of a fully connected layer.

use super::view::{Dim, TaskDims, View, advance, for_dims, merge_dims};
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, MemoryType, Value};

/// Rows of a full block.
const ROWS: usize = 4;
/// Vectors of columns.
const VECTORS: usize = 2;

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId) -> Result<(), String> {
    let operands = lowering.graph.operands(id);
    let shape = lowering.node(id).shape.clone();
    if shape.contains(&0) {
        return Ok(());
    }
    let rank = shape.len();
    let m = shape[rank - 2];
    let mut views = vec![View::of(lowering, id)?];
    let mut inner = Vec::new();
    for &operand in &operands {
        let own = &lowering.node(operand).shape;
        let mut view = View::of(lowering, operand)?;
        let axes = view.strides.split_off(own.len() - 2);
        inner.push([axes[0], axes[1]]);
        let outer = view.broadcast(&own[..own.len() - 2], rank - 2);
        views.push(outer);
    }
    let result = views[0].strides.split_off(rank - 2);
    let product = Product {
        operands: [operands[0], operands[1]],
        views,
        result: [result[0], result[1]],
        a: inner[0],
        b: inner[1],
        size: shape[rank - 1],
        inner_size: lowering
            .node(operands[0])
            .shape
            .last()
            .copied()
            .unwrap_or(1),
    };
    let n_full = m / ROWS;
    product.lower(lowering, id, 0, n_full, ROWS);
    product.lower(lowering, id, n_full * ROWS, 1, m % ROWS);
    Ok(())
}

struct Product {
    operands: [NodeId; 2],
    /// Outer axes of y, a, b.
    views: Vec<View>,
    /// Strides of y, a and b on their two inner axes.
    result: [isize; 2],
    a: [isize; 2],
    b: [isize; 2],
    /// Columns of b.
    size: usize,
    /// Columns of a, rows of b.
    inner_size: usize,
}

impl Product {
    /// Adds the step for `n_blocks` blocks of `rows` rows from `first_row` on.
    fn lower(
        &self,
        lowering: &mut Lowering<'_>,
        id: NodeId,
        first_row: usize,
        n_blocks: usize,
        rows: usize,
    ) {
        if n_blocks * rows == 0 {
            return;
        }
        let shape = &lowering.node(id).shape;
        let mut space = shape[..shape.len() - 2].to_vec();
        space.push(n_blocks);
        let mut views = self.views.clone();
        for (view, row_stride) in views.iter_mut().zip([self.result[0], self.a[0], 0]) {
            view.strides.push(row_stride * rows as isize);
            view.offset += first_row * row_stride as usize;
        }
        let views: Vec<&View> = views.iter().collect();
        let mut dims = merge_dims(&space, &views);

        let lanes = lowering.target.lanes;
        let mut kernel = KernelBuilder::new(&format!("matmul_{rows}"), lowering);
        let mut bases = vec![kernel.buffer(lowering, id)];
        bases.extend(
            self.operands
                .map(|operand| kernel.buffer(lowering, operand)),
        );
        for (base, view) in bases.iter_mut().zip(&views) {
            *base = view.origin(&mut kernel, *base);
        }
        dims.push(Dim {
            size: 1,
            strides: vec![1, 1, 1],
        });
        let shared = TaskDims::choose(&mut dims, 1, rows * self.size * self.inner_size);
        dims.pop();
        let (tasks, middle) = dims.split_at(shared.n_dims);
        let n_tasks = shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
            for_dims(f, middle, bases, |f, bases| {
                self.emit_rows(f, bases, rows, lanes)
            });
        });
        lowering.add_step(id, kernel, n_tasks);
    }

    /// `rows` rows of the result.
    fn emit_rows(&self, f: &mut FunctionBuilder, bases: &[Value], rows: usize, lanes: usize) {
        let is_unit = self.result[1] == 1 && self.b[1] == 1;
        let lanes = if is_unit { lanes } else { 1 };
        let mut done = 0;
        for (vectors, lanes) in [(VECTORS, lanes), (1, lanes), (1, 1)] {
            let width = vectors * lanes;
            let end = done + (self.size - done) / width * width;
            if done == end {
                continue;
            }
            let (low, high) = (f.size(done), f.size(end));
            f.for_each(low, high, width, |f, j| {
                let y = advance(f, bases[0], j, self.result[1]);
                let b = advance(f, bases[2], j, self.b[1]);
                self.emit_tile(f, [y, bases[1], b], rows, vectors, lanes);
            });
            done = end;
        }
    }

    fn emit_tile(
        &self,
        f: &mut FunctionBuilder,
        [y, a, b]: [Value; 3],
        rows: usize,
        vectors: usize,
        lanes: usize,
    ) {
        // Vectors lie beside each other; scalars lie as far apart as the strides say.
        let offset = |vector: usize, stride: isize| vector * lanes * stride as usize * 4;
        let zero = f.f32(0.0);
        let zero = f.splat(zero, lanes);
        let (low, high) = (f.index(0), f.size(self.inner_size));
        let sums = f.for_loop(low, high, 1, &vec![zero; rows * vectors], |f, k, sums| {
            let a = advance(f, a, k, self.a[1]);
            let b = advance(f, b, k, self.b[0]);
            let b: Vec<Value> = (0..vectors)
                .map(|v| f.load_lanes(lanes, b, offset(v, self.b[1])))
                .collect();
            let mut next = Vec::with_capacity(sums.len());
            for row in 0..rows {
                let value = f.load(MemoryType::F32, a, row * self.a[0] as usize * 4);
                let value = f.splat(value, lanes);
                for v in 0..vectors {
                    next.push(f.mul_add(value, b[v], sums[row * vectors + v]));
                }
            }
            next
        });
        for (at, &sum) in sums.iter().enumerate() {
            let (row, v) = (at / vectors, at % vectors);
            let place = row * self.result[0] as usize * 4 + offset(v, self.result[1]);
            f.store_lanes(sum, y, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_op;
    use condensec_ir::ops::MatMul;

    #[test]
    fn every_size() {
        for m in [1, 3, 4, 5, 8] {
            for n in [1, 2, 4, 7, 8, 17] {
                check_op(MatMul, &[&[m, 5], &[5, n]]);
            }
        }
        check_op(MatMul, &[&[5, 1], &[1, 7]]);
        check_op(MatMul, &[&[5, 0], &[0, 7]]);
        check_op(MatMul, &[&[33, 31], &[31, 29]]);
    }

    #[test]
    fn outer_axes_broadcast() {
        check_op(MatMul, &[&[3, 5, 2], &[2, 7]]);
        check_op(MatMul, &[&[5, 2], &[3, 2, 7]]);
        check_op(MatMul, &[&[2, 1, 5, 2], &[3, 2, 7]]);
        check_op(MatMul, &[&[2, 3, 5, 4], &[2, 3, 4, 9]]);
        check_op(MatMul, &[&[1, 3, 5, 4], &[2, 1, 4, 1]]);
    }
}
