//! The matrix-vector kernel over prefix-nested lists.
//!
//! ```text
//! for group in ranges[level][begin] .. ranges[level][end]     R output rows
//!   for image
//!     acc[U][R] = 0                      U independent sums hide the latency of multiply-add
//!     for entry in starts[group] .. + lengths[level][group]
//!       acc[entry % U][..] += values[entry][..] * x[indices[entry]]
//!     store activation(sum(acc) * scale + bias + residual)
//! ```
//! A task is a range of groups; their edges depend on the level, as the lengths do (`tasks`).
//!
//! Every weight is used once, so the kernel is as fast as weights arrive: while it runs a list it asks
//! the caches for the next one, whose kept prefix lies behind a gap at the sparse levels.
//!
//! Here the weights are the vector and the activation is broadcast: a fully connected layer has one
//! "pixel", so there is nothing else to fill a vector with.

use super::KernelBuilder;
use super::math::emit_unary;
use super::tiles::SHORTEST_VECTOR;
use condensec_ir::kernel::{CompareOp, FunctionBuilder, MemoryType, Value};
use condensec_ir::ops::UnaryKind;

/// Independent sums per group.
pub(super) const UNROLL: usize = 4;

/// All that the kernel's code depends on.
#[derive(Debug, Clone)]
pub(super) struct ListGemv {
    /// Rows per group.
    pub rows: usize,
    /// f32 lanes of the target's vectors.
    pub lanes: usize,
    /// Vectors multiplied: leading dimensions of the input.
    pub n_images: usize,
    /// Columns of the weight.
    pub k: usize,
    /// Rows of the weight.
    pub m: usize,
    pub activation: Option<UnaryKind>,
}

/// Addresses that a kernel starts from.
#[derive(Clone, Copy)]
pub(super) struct ListGemvBuffers {
    pub x: Value,
    pub y: Value,
    pub residual: Option<Value>,
    pub values: Value,
    pub indices: Value,
    pub starts: Value,
    pub lengths: Value,
    /// First group of each task, and the end.
    pub ranges: Value,
    pub scale: Option<Value>,
    pub bias: Option<Value>,
}

impl ListGemv {
    /// Lanes that a group's rows fill.
    fn width(&self) -> usize {
        let mut width = self.lanes;
        while width > SHORTEST_VECTOR && !self.rows.is_multiple_of(width) {
            width /= 2;
        }
        match self.rows.is_multiple_of(width) {
            true => width,
            false => 1,
        }
    }

    /// Emits the loop over tasks.
    pub fn emit(&self, kernel: &mut KernelBuilder, buffers: ListGemvBuffers) {
        let n_full = self.m / self.rows;
        let tail_rows = self.m % self.rows;
        let [first_group, end_group] = [kernel.begin, kernel.end].map(|task| {
            let at = kernel.ptr_offset(buffers.ranges, task, 4);
            kernel.load(MemoryType::U32, at, 0)
        });
        kernel.for_each(first_group, end_group, 1, |f, group| {
            let starts_at = f.ptr_offset(buffers.starts, group, 4);
            let first = f.load(MemoryType::U32, starts_at, 0);
            let at = f.ptr_offset(buffers.lengths, group, 2);
            let length = f.load(MemoryType::U16, at, 0);
            let values = f.ptr_offset(buffers.values, first, self.rows * 4);
            let indices = f.ptr_offset(buffers.indices, first, 2);
            let next = f.load(MemoryType::U32, starts_at, 4);
            let distance = f.sub(next, first);
            let ahead = f.mul_const(distance, self.rows * 4);
            f.for_range(self.n_images, |f, image| {
                let x = f.ptr_offset(buffers.x, image, self.k * 4);
                let sums = self.emit_list(f, values, indices, length, x, ahead);
                let row = f.mul_const(image, self.m);
                let within = f.mul_const(group, self.rows);
                let at = f.add(row, within);
                if tail_rows == 0 {
                    self.finish_group(f, &buffers, group, at, &sums);
                    return;
                }
                let full = f.size(n_full);
                let is_full = f.compare(CompareOp::Lt, group, full);
                f.if_else(
                    is_full,
                    |f| {
                        self.finish_group(f, &buffers, group, at, &sums);
                        Vec::new()
                    },
                    |f| {
                        self.finish_tail(f, &buffers, group, at, &sums, tail_rows);
                        Vec::new()
                    },
                );
            });
        });
    }

    /// The sums of one list; `ahead` is the distance in bytes to the values of the next one.
    fn emit_list(
        &self,
        f: &mut FunctionBuilder,
        values: Value,
        indices: Value,
        length: Value,
        x: Value,
        ahead: Value,
    ) -> Vec<Value> {
        let width = self.width();
        let n_sums = self.rows / width;
        let zero = f.f32(0.0);
        let zeros = f.splat(zero, width);
        let step = |f: &mut FunctionBuilder, entry: Value, offset: usize, sums: &[Value]| {
            let at = f.ptr_offset(indices, entry, 2);
            let index = f.load(MemoryType::U16, at, offset * 2);
            let at = f.ptr_offset(x, index, 4);
            let value = f.load(MemoryType::F32, at, 0);
            let value = f.splat(value, width);
            let at = f.ptr_offset(values, entry, self.rows * 4);
            let mut next = Vec::with_capacity(sums.len());
            for (i, &sum) in sums.iter().enumerate() {
                let w = f.load_lanes(width, at, (offset * self.rows + i * width) * 4);
                next.push(f.mul_add(w, value, sum));
            }
            next
        };
        let (begin, mask) = (f.index(0), f.index(!(UNROLL as i64 - 1)));
        let unrolled = f.int(condensec_ir::kernel::IntBinaryOp::And, length, mask);
        let initial = vec![zeros; n_sums * UNROLL];
        let sums = f.for_loop(begin, unrolled, UNROLL, &initial, |f, entry, sums| {
            let at = f.ptr_offset(values, entry, self.rows * 4);
            let next = f.ptr_add(at, ahead);
            f.prefetch(next);
            (0..UNROLL)
                .flat_map(|u| step(f, entry, u, &sums[u * n_sums..][..n_sums]))
                .collect()
        });
        let first = &sums[..n_sums];
        let rest = f.for_loop(unrolled, length, 1, first, |f, entry, sums| {
            step(f, entry, 0, sums)
        });
        (0..n_sums)
            .map(|i| {
                let low = f.fadd(rest[i], sums[n_sums + i]);
                let high = f.fadd(sums[2 * n_sums + i], sums[3 * n_sums + i]);
                f.fadd(low, high)
            })
            .collect()
    }

    /// `activation(sum * scale + bias + residual)`; `parameter_at` counts in the padded rows,
    /// `at` in the result.
    fn epilogue(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListGemvBuffers,
        parameter: usize,
        group: Value,
        at: Value,
        sum: Value,
        width: usize,
    ) -> Value {
        let load_parameter = |f: &mut FunctionBuilder, table: Value| {
            let row = f.ptr_offset(table, group, self.rows * 4);
            f.load_lanes(width, row, parameter * 4)
        };
        let mut result = sum;
        if let Some(scale) = buffers.scale {
            let scale = load_parameter(f, scale);
            result = f.fmul(result, scale);
        }
        if let Some(bias) = buffers.bias {
            let bias = load_parameter(f, bias);
            result = f.fadd(result, bias);
        }
        if let Some(residual) = buffers.residual {
            let from = f.ptr_offset(residual, at, 4);
            let value = f.load_lanes(width, from, parameter * 4);
            result = f.fadd(result, value);
        }
        match self.activation {
            Some(activation) => emit_unary(f, activation, result),
            None => result,
        }
    }

    fn finish_group(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListGemvBuffers,
        group: Value,
        at: Value,
        sums: &[Value],
    ) {
        let width = self.width();
        let into = f.ptr_offset(buffers.y, at, 4);
        for (i, &sum) in sums.iter().enumerate() {
            let result = self.epilogue(f, buffers, i * width, group, at, sum, width);
            f.store_lanes(result, into, i * width * 4);
        }
    }

    /// The last group, of which only `n_rows` rows exist: one row at a time, to stay in bounds.
    fn finish_tail(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListGemvBuffers,
        group: Value,
        at: Value,
        sums: &[Value],
        n_rows: usize,
    ) {
        let width = self.width();
        let into = f.ptr_offset(buffers.y, at, 4);
        for row in 0..n_rows {
            let sum = match width {
                1 => sums[row],
                _ => f.extract(sums[row / width], row % width),
            };
            let result = self.epilogue(f, buffers, row, group, at, sum, 1);
            f.store_lanes(result, into, row * 4);
        }
    }
}
