//! The matrix-vector kernel over prefix-nested lists.
//!
//! ```text
//! for group in ranges[level][begin] .. ranges[level][end]     R output rows, groups from far apart take turns
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
use condensec_ir::kernel::{CompareOp, FunctionBuilder, IntBinaryOp, MemoryType, Value};
use condensec_ir::ops::UnaryKind;

/// Entries of a list at a time, and its independent sums, which hide the latency of a multiply-add.
pub(super) const UNROLL: usize = 4;

/// Lists that take turns where their sums fit the registers: memory brings two streams faster than one, and four faster
/// still, but those have more sums. On Zen 3 the layers of ResNet-50, MobileNetV2 and ResNet-18 take 8 to 39 % less time.
const STREAMS: usize = 2;

/// All that the kernel's code depends on.
#[derive(Debug, Clone)]
pub(super) struct ListGemv {
    /// Rows per group.
    pub rows: usize,
    /// f32 lanes of the target's vectors.
    pub lanes: usize,
    /// Registers for them.
    pub vector_registers: usize,
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

/// One list.
struct List {
    values: Value,
    indices: Value,
    length: Value,
    /// Bytes from its values to those of the next one.
    ahead: Value,
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
        let [first_group, end_group] = [kernel.begin, kernel.end].map(|task| {
            let at = kernel.ptr_offset(buffers.ranges, task, 4);
            kernel.load(MemoryType::U32, at, 0)
        });
        // Lists from far apart take turns, then comes what is left of the range.
        let rest = match self.fits_streams() {
            false => first_group,
            true => {
                let n_groups = kernel.sub(end_group, first_group);
                let (stride, _) = kernel.div_rem_const(n_groups, STREAMS);
                let last_group = kernel.add(first_group, stride);
                kernel.for_each(first_group, last_group, 1, |f, group| {
                    let mut groups = vec![group];
                    for stream in 1..STREAMS {
                        let before = groups[stream - 1];
                        groups.push(f.add(before, stride));
                    }
                    self.emit_groups(f, &buffers, &groups);
                });
                let done = kernel.mul_const(stride, STREAMS);
                kernel.add(first_group, done)
            }
        };
        kernel.for_each(rest, end_group, 1, |f, group| {
            self.emit_groups(f, &buffers, &[group]);
        });
    }

    /// Whether the sums of several lists, an activation and a weight have registers.
    fn fits_streams(&self) -> bool {
        let n_sums = STREAMS * UNROLL * self.rows / self.width();
        n_sums + 2 <= self.vector_registers
    }

    /// Some groups at a time.
    fn emit_groups(&self, f: &mut FunctionBuilder, buffers: &ListGemvBuffers, groups: &[Value]) {
        let n_full = self.m / self.rows;
        let tail_rows = self.m % self.rows;
        let lists: Vec<List> = groups
            .iter()
            .map(|&group| self.list(f, buffers, group))
            .collect();
        f.for_range(self.n_images, |f, image| {
            let x = f.ptr_offset(buffers.x, image, self.k * 4);
            let sums = self.emit_lists(f, &lists, x);
            let row = f.mul_const(image, self.m);
            for (&group, sums) in groups.iter().zip(&sums) {
                let within = f.mul_const(group, self.rows);
                let at = f.add(row, within);
                if tail_rows == 0 {
                    self.finish_group(f, buffers, group, at, sums);
                    continue;
                }
                let full = f.size(n_full);
                let is_full = f.compare(CompareOp::Lt, group, full);
                f.if_else(
                    is_full,
                    |f| {
                        self.finish_group(f, buffers, group, at, sums);
                        Vec::new()
                    },
                    |f| {
                        self.finish_tail(f, buffers, group, at, sums, tail_rows);
                        Vec::new()
                    },
                );
            }
        });
    }

    fn list(&self, f: &mut FunctionBuilder, buffers: &ListGemvBuffers, group: Value) -> List {
        let starts_at = f.ptr_offset(buffers.starts, group, 4);
        let first = f.load(MemoryType::U32, starts_at, 0);
        let at = f.ptr_offset(buffers.lengths, group, 2);
        let length = f.load(MemoryType::U16, at, 0);
        let next = f.load(MemoryType::U32, starts_at, 4);
        let distance = f.sub(next, first);
        List {
            values: f.ptr_offset(buffers.values, first, self.rows * 4),
            indices: f.ptr_offset(buffers.indices, first, 2),
            length,
            ahead: f.mul_const(distance, self.rows * 4),
        }
    }

    /// The sums of each list. As far as all of them reach they take turns. An entry is added to the same sum whatever
    /// the list's company, which depends on the tasks that a call does.
    fn emit_lists(&self, f: &mut FunctionBuilder, lists: &[List], x: Value) -> Vec<Vec<Value>> {
        let zeros = self.zeros(f).repeat(UNROLL);
        let least = lists[1..].iter().fold(lists[0].length, |least, list| {
            f.int(IntBinaryOp::MinU, least, list.length)
        });
        let (zero, common) = (f.index(0), whole_steps(f, least));
        let initial = zeros.repeat(lists.len());
        let sums = f.for_loop(zero, common, UNROLL, &initial, |f, entry, sums| {
            let sums = lists.iter().zip(sums.chunks(zeros.len()));
            sums.flat_map(|(list, sums)| self.emit_step(f, list, x, entry, sums))
                .collect()
        });
        let sums = lists.iter().zip(sums.chunks(zeros.len()));
        sums.map(|(list, sums)| {
            let sums = match lists.len() {
                1 => sums.to_vec(),
                _ => {
                    let whole = whole_steps(f, list.length);
                    f.for_loop(common, whole, UNROLL, sums, |f, entry, sums| {
                        self.emit_step(f, list, x, entry, sums)
                    })
                }
            };
            self.emit_rest(f, list, x, &sums)
        })
        .collect()
    }

    /// The next entries of a list, each added to sums of its own.
    fn emit_step(
        &self,
        f: &mut FunctionBuilder,
        list: &List,
        x: Value,
        entry: Value,
        sums: &[Value],
    ) -> Vec<Value> {
        let at = f.ptr_offset(list.values, entry, self.rows * 4);
        let next = f.ptr_add(at, list.ahead);
        f.prefetch(next);
        let sums = sums.chunks(sums.len() / UNROLL).enumerate();
        sums.flat_map(|(u, sums)| self.emit_entry(f, list, x, entry, u, sums))
            .collect()
    }

    /// The entries behind the last whole step, and the sum of all sums.
    fn emit_rest(
        &self,
        f: &mut FunctionBuilder,
        list: &List,
        x: Value,
        sums: &[Value],
    ) -> Vec<Value> {
        let n_vectors = sums.len() / UNROLL;
        let whole = whole_steps(f, list.length);
        let first = &sums[..n_vectors];
        let rest = f.for_loop(whole, list.length, 1, first, |f, entry, sums| {
            self.emit_entry(f, list, x, entry, 0, sums)
        });
        (0..n_vectors)
            .map(|i| {
                let low = f.fadd(rest[i], sums[n_vectors + i]);
                let high = f.fadd(sums[2 * n_vectors + i], sums[3 * n_vectors + i]);
                f.fadd(low, high)
            })
            .collect()
    }

    fn zeros(&self, f: &mut FunctionBuilder) -> Vec<Value> {
        let zero = f.f32(0.0);
        vec![f.splat(zero, self.width()); self.rows / self.width()]
    }

    /// `sums[..] + values[entry + offset][..] * x[indices[entry + offset]]`
    fn emit_entry(
        &self,
        f: &mut FunctionBuilder,
        list: &List,
        x: Value,
        entry: Value,
        offset: usize,
        sums: &[Value],
    ) -> Vec<Value> {
        let width = self.width();
        let at = f.ptr_offset(list.indices, entry, 2);
        let index = f.load(MemoryType::U16, at, offset * 2);
        let at = f.ptr_offset(x, index, 4);
        let value = f.load(MemoryType::F32, at, 0);
        let value = f.splat(value, width);
        let at = f.ptr_offset(list.values, entry, self.rows * 4);
        let mut next = Vec::with_capacity(sums.len());
        for (i, &sum) in sums.iter().enumerate() {
            let w = f.load_lanes(width, at, (offset * self.rows + i * width) * 4);
            next.push(f.mul_add(w, value, sum));
        }
        next
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

/// The most entries of `length` that steps of [`UNROLL`] take.
fn whole_steps(f: &mut FunctionBuilder, length: Value) -> Value {
    let mask = f.index(!(UNROLL as i64 - 1));
    f.int(IntBinaryOp::And, length, mask)
}
