//! The inner loops: one group of rows times one tile of pixels.
//!
//! The smaller of (rows, vectors) is held in registers and the other streams. That order is a
//! contract with the code generators: the mirrored one needs a register more and spills.

use super::splats::Splats;
use super::{COLUMN_ROWS, EntryOrder, Group, ListConv, ListConvBuffers, PixelVector};
use condensec_ir::kernel::{FunctionBuilder, IntBinaryOp, MemoryType, Value};

/// Single rows make short lists, which are over before the next one's lines arrive.
const ROW_LISTS_AHEAD: usize = 2;

/// Sums that wait for each other: a multiply-add takes four cycles, and two start in each. The narrow
/// tile at the end of a map has fewer, so it takes several entries at once.
const SUMS_IN_FLIGHT: usize = 8;

/// Lists whose tables must exist behind the last one, because a kernel looks ahead.
pub(in crate::lower) const LISTS_AHEAD: usize = COLUMN_ROWS;

/// From one past the end of a list to its last byte: together with the first one it covers a short list.
const LAST_BYTE: i64 = -1;

impl ListConv {
    /// Adds a list's entries to the sums. `x` is the first channel of the list's block.
    pub(super) fn emit_list(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        group: Group<'_>,
        list: Value,
        x: Value,
        sums: &[Value],
    ) -> Vec<Value> {
        match self.order {
            EntryOrder::Stored => self.emit_stored(f, buffers, group, list, x, sums),
            EntryOrder::ByColumn => self.emit_by_column(f, buffers, group, list, x, sums),
        }
    }

    fn emit_stored(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        group: Group<'_>,
        list: Value,
        x: Value,
        start: &[Value],
    ) -> Vec<Value> {
        let entry_bytes = self.tile.rows * 4;
        let (first, length) = list_bounds(f, buffers, list, 0);
        let index_bytes = self.index.bytes();
        let indices = f.ptr_offset(buffers.indices, first, index_bytes);
        let values = f.ptr_offset(buffers.values, first, entry_bytes);
        let ahead = self
            .prefetches
            .then(|| self.look_ahead(f, buffers, list, first));
        // `n` entries from `entry` on, each added to sums of its own; `carried` is the address of the
        // values, then the sums.
        let step = |f: &mut FunctionBuilder, entry: Value, carried: &[Value], n: usize| {
            let value_at = carried[0];
            if let Some(Some(distance)) = ahead {
                let next = f.ptr_add(value_at, distance);
                f.prefetch(next);
            }
            let at = f.ptr_offset(indices, entry, index_bytes);
            let mut next = vec![f.ptr_add_const(value_at, n * entry_bytes)];
            for (number, sums) in carried[1..].chunks(start.len()).take(n).enumerate() {
                let index = f.load(self.index.memory_type(), at, number * index_bytes);
                let x = f.ptr_offset(x, index, self.index_unit);
                let weight = |f: &mut FunctionBuilder, row: usize| {
                    f.load(MemoryType::F32, value_at, number * entry_bytes + row * 4)
                };
                next.extend(self.multiply_add(f, group, x, weight, sums));
            }
            next
        };
        let zero = f.index(0);
        let mut initial = vec![values];
        initial.extend(start);
        let n_sums = self.sums_at_once(group);
        if n_sums == 1 {
            return f.for_loop(zero, length, 1, &initial, |f, entry, carried| {
                step(f, entry, carried, 1)
            })[1..]
                .to_vec();
        }
        for _ in 1..n_sums {
            initial.extend(self.zeros(f, group));
        }
        let mask = f.index(-(n_sums as i64));
        let whole = f.int(IntBinaryOp::And, length, mask);
        let all = f.for_loop(zero, whole, n_sums, &initial, |f, entry, carried| {
            step(f, entry, carried, n_sums)
        });
        let (first, others) = all.split_at(1 + start.len());
        let rest = f.for_loop(whole, length, 1, first, |f, entry, carried| {
            step(f, entry, carried, 1)
        });
        let mut sums = rest[1..].to_vec();
        for other in others.chunks(start.len()) {
            for (sum, &other) in sums.iter_mut().zip(other) {
                *sum = f.fadd(*sum, other);
            }
        }
        sums
    }

    /// How many entries a tile takes at once, so that enough sums are in flight and all in registers.
    fn sums_at_once(&self, group: Group<'_>) -> usize {
        let (rows, vectors) = (group.rows, group.vectors.len());
        let n_registers = |n_sums| n_sums * rows * vectors + rows.min(vectors) + 1;
        let mut n_sums = (SUMS_IN_FLIGHT / (rows * vectors)).next_power_of_two();
        while n_sums > 1 && n_registers(n_sums) > self.vector_registers {
            n_sums /= 2;
        }
        n_sums
    }

    fn zeros(&self, f: &mut FunctionBuilder, group: Group<'_>) -> Vec<Value> {
        let zero = Splats::new(f.f32(0.0));
        let row: Vec<Value> = group.vectors.iter().map(|v| zero.of(f, v.lanes)).collect();
        std::iter::repeat_n(row, group.rows).flatten().collect()
    }

    /// Asks for what follows the list `list`, whose first entry is `first`. Returns the distance in
    /// bytes from a value to one to ask for in each iteration, where lists are long.
    fn look_ahead(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        list: Value,
        first: Value,
    ) -> Option<Value> {
        let entry_bytes = self.tile.rows * 4;
        let n_lists = if self.tile.rows == 1 {
            ROW_LISTS_AHEAD
        } else {
            1
        };
        let (next, length) = list_bounds(f, buffers, list, n_lists);
        let ends = |f: &mut FunctionBuilder, base: Value, bytes: usize| {
            let begin = f.ptr_offset(base, next, bytes);
            f.prefetch(begin);
            let end = f.ptr_offset(begin, length, bytes);
            let back = f.index(LAST_BYTE);
            let end = f.ptr_add(end, back);
            f.prefetch(end);
        };
        ends(f, buffers.indices, self.index.bytes());
        if self.tile.rows == 1 {
            ends(f, buffers.values, entry_bytes);
            return None;
        }
        let distance = f.sub(next, first);
        Some(f.mul_const(distance, entry_bytes))
    }

    fn emit_by_column(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        group: Group<'_>,
        list: Value,
        x: Value,
        start: &[Value],
    ) -> Vec<Value> {
        let rows = self.tile.rows;
        let row_list = f.mul_const(list, rows);
        let (first, n_columns) = list_bounds(f, buffers, row_list, 0);
        let values = f.ptr_offset(buffers.values, first, 4);
        // All lists are full, so the table has as many elements before a group as the values have.
        let places = buffers.places.expect("a kernel by columns has places");
        let places = f.ptr_offset(places, first, 2);
        // The values of the rows lie side by side, those of the next rows behind them. They are read
        // in a random order, so nobody else asks for them in time.
        let (next, _) = list_bounds(f, buffers, row_list, rows);
        let next_values = f.ptr_offset(buffers.values, next, 4);
        let zero = f.index(0);
        f.for_loop(zero, n_columns, 1, start, |f, column, sums| {
            let ahead = f.ptr_offset(next_values, column, rows * 4);
            f.prefetch(ahead);
            let at = f.ptr_offset(buffers.indices, column, self.index.bytes());
            let index = f.load(self.index.memory_type(), at, 0);
            let x = f.ptr_offset(x, index, self.index_unit);
            let places = f.ptr_offset(places, column, rows * 2);
            let weight = |f: &mut FunctionBuilder, row: usize| {
                let place = f.load(MemoryType::U16, places, row * 2);
                let at = f.ptr_offset(values, place, 4);
                f.load(MemoryType::F32, at, 0)
            };
            self.multiply_add(f, group, x, weight, sums)
        })
    }

    /// `sums[row][v] + weight(row) * x[v]`
    fn multiply_add(
        &self,
        f: &mut FunctionBuilder,
        group: Group<'_>,
        x: Value,
        weight: impl Fn(&mut FunctionBuilder, usize) -> Value,
        sums: &[Value],
    ) -> Vec<Value> {
        let (rows, vectors) = (group.rows, group.vectors);
        let activation = |f: &mut FunctionBuilder, v: &PixelVector| {
            f.load_lanes(v.lanes, x, self.x.pixel(v.first))
        };
        let mut next = sums.to_vec();
        if vectors.len() <= rows {
            let xs: Vec<Value> = vectors.iter().map(|v| activation(f, v)).collect();
            for row in 0..rows {
                let w = Splats::new(weight(f, row));
                for (v, &x) in xs.iter().enumerate() {
                    let at = row * vectors.len() + v;
                    let w = w.of(f, vectors[v].lanes);
                    next[at] = f.mul_add(w, x, sums[at]);
                }
            }
        } else {
            let ws: Vec<Splats> = (0..rows).map(|row| Splats::new(weight(f, row))).collect();
            for (v, vector) in vectors.iter().enumerate() {
                let x = activation(f, vector);
                for (row, w) in ws.iter().enumerate() {
                    let at = row * vectors.len() + v;
                    let w = w.of(f, vector.lanes);
                    next[at] = f.mul_add(w, x, sums[at]);
                }
            }
        }
        next
    }
}

/// First entry and number of entries of the list `ahead` lists behind `list`.
fn list_bounds(
    f: &mut FunctionBuilder,
    buffers: &ListConvBuffers,
    list: Value,
    ahead: usize,
) -> (Value, Value) {
    let at = f.ptr_offset(buffers.starts, list, 4);
    let first = f.load(MemoryType::U32, at, ahead * 4);
    let at = f.ptr_offset(buffers.lengths, list, 2);
    let length = f.load(MemoryType::U16, at, ahead * 2);
    (first, length)
}
