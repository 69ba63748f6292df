//! The convolution kernel over prefix-nested lists: every convolution, dense or sparse, is one.
//!
//! ```text
//! for tile, part in tasks                rows x width outputs at flat pixels tile*width .., see `tiles`; single rows
//!                                        take the tiles of a part in turn
//!   for channel_group, group of part     R output channels
//!     acc[R][V] = bias or 0
//!     for block                          of channels, see `list_blocks`
//!       for entry in starts[list] .. + lengths[level][list]
//!         x[V] = load input + indices[entry] * unit
//!         acc[r][v] += values[entry][r] * x[v]
//!     store activation(acc * scale + bias + residual)
//! ```
//! The taps of a window are ordinary entries, since a tap is one constant offset in the flat-padded
//! index (`condensec_ir::layout`). Only `lengths` depends on the level. `V <= R` holds the
//! activations in registers and streams the weights, `R < V` the other way round.
//!
//! At levels that keep much, for single rows and for long lists, blocks are the outer loop and partial sums go through
//! the result's storage, see `list_blocks`.
//!
//! A tile may compute pixels in pad columns, and vectors beyond the last pixel: garbage that the
//! layouts have room for, and that `zero_borders` clears where a window could read it.

mod candidates;
mod index_width;
mod look_ahead;
mod micro_kernel;
mod splats;

pub(super) use candidates::{COLUMN_ROWS, Candidates};
pub(super) use index_width::IndexWidth;
pub(super) use micro_kernel::LISTS_AHEAD;

use super::KernelBuilder;
use super::list_blocks::{Blocks, ListBlocks};
use super::math::emit_unary;
use super::schedule::EntryOrder;
use super::tile_access::TileAccess;
use super::tiles::{ListTile, PixelVector, RestTile};
use condensec_ir::kernel::{CompareOp, FunctionBuilder, IntBinaryOp, MemoryType, Value};
use condensec_ir::ops::UnaryKind;
use look_ahead::Places;
use splats::Splats;

/// All that the kernel's code depends on; layers that agree here share it.
#[derive(Debug, Clone)]
pub(super) struct ListConv {
    pub tile: ListTile,
    /// What the machine has.
    pub vector_registers: usize,
    pub n_images: usize,
    /// Flat pixels of the result, pad columns between rows included.
    pub n_pixels: usize,
    pub x: TileAccess,
    pub y: TileAccess,
    pub residual: Option<TileAccess>,
    pub channel_groups: usize,
    /// Output channels per channel group.
    pub rows_per_channel_group: usize,
    /// Bytes between the first channels of two channel groups of the input.
    pub x_channel_group: usize,
    pub blocks: ListBlocks,
    /// Whether the level runs the tail's blocks, too.
    pub runs_tail: bool,
    /// Bytes between two channels of the input.
    pub x_channel: usize,
    /// Taps, in bytes, at which a tile is the first to read pixels: the last one of each run that has no other below.
    pub leading_taps: Vec<usize>,
    /// How an index is stored.
    pub index: IndexWidth,
    /// Bytes that an index counts in.
    pub index_unit: usize,
    pub has_scale: bool,
    pub activation: Option<UnaryKind>,
    /// Groups of rows that one task does at most, for one tile; all of them if the last group has
    /// fewer rows.
    pub groups_per_task: usize,
    pub order: EntryOrder,
    /// Whether a list asks the caches for the next ones.
    pub prefetches: bool,
    /// Whether what the layer reads and writes comes from beyond the last private cache.
    pub is_far: bool,
    /// Whether the result is stored in bands, which stay in the caches.
    pub is_banded: bool,
}

/// Addresses that a kernel starts from.
#[derive(Clone, Copy)]
pub(super) struct ListConvBuffers {
    pub x: Value,
    pub y: Value,
    pub residual: Option<Value>,
    pub values: Value,
    pub indices: Value,
    pub starts: Value,
    pub lengths: Value,
    /// u16 `[columns][rows]` per group and block: where the group's lists store the column.
    pub places: Option<Value>,
    pub scale: Option<Value>,
    pub bias: Option<Value>,
    /// u16 `[rows]`: output channel of every row, if they are not in order.
    pub channels: Option<Value>,
}

/// What a task is.
#[derive(Clone, Copy)]
struct TileNumber {
    image: Value,
    part: Value,
    tile: Value,
}

/// Where one tile works.
#[derive(Clone)]
struct TileAddresses {
    part: Value,
    x: Value,
    y: Value,
    residual: Option<Value>,
    /// What the next tile reads.
    next: Option<Places>,
}

/// One group of rows inside the kernel.
#[derive(Clone, Copy)]
struct Group<'a> {
    /// Index of the group's list in a block.
    list: Value,
    /// Groups of the task before it.
    turn: Value,
    x: Value,
    /// First channel of the group, or channel 0 if `channels` says which they are.
    y: Value,
    residual: Option<Value>,
    /// u16 per row: its channel.
    channels: Option<Value>,
    rows: usize,
    vectors: &'a [PixelVector],
}

impl Group<'_> {
    /// Where the pixels of a row are: an address, and bytes behind it.
    fn row(
        &self,
        f: &mut FunctionBuilder,
        base: Value,
        access: &TileAccess,
        row: usize,
    ) -> (Value, usize) {
        match self.channels {
            None => (base, row * access.channel),
            Some(channels) => {
                let channel = f.load(MemoryType::U16, channels, row * 2);
                (f.ptr_offset(base, channel, access.channel), 0)
            }
        }
    }
}

impl ListConv {
    pub fn tiles_per_image(&self) -> usize {
        self.tile.cut(self.n_pixels).n_tiles()
    }

    /// Independent tasks: one per image, part of the rows, and tile.
    pub fn n_tasks(&self) -> usize {
        self.n_images * self.n_parts() * self.tiles_per_image()
    }

    /// Parts that the groups of rows are cut into.
    fn n_parts(&self) -> usize {
        self.groups_per_channel_group()
            .div_ceil(self.groups_per_task)
    }

    fn groups_per_channel_group(&self) -> usize {
        self.rows_per_channel_group.div_ceil(self.tile.rows)
    }

    /// Groups of rows that a task does, but for the last one. Only a single channel group has parts.
    fn groups_per_task(&self) -> usize {
        let per_channel_group = self.groups_per_task.min(self.groups_per_channel_group());
        per_channel_group * self.channel_groups
    }

    fn n_groups(&self) -> usize {
        self.channel_groups * self.groups_per_channel_group()
    }

    fn n_blocks(&self) -> usize {
        self.blocks.n_blocks(self.runs_tail)
    }

    /// Whether blocks are the outer loop and partial sums pass through the result.
    fn is_block_outer(&self) -> bool {
        let is_around = self.runs_tail || self.blocks.is_head_around;
        is_around && self.n_blocks() > 1
    }

    /// Whether a tile asks the caches for what the next one reads. Lists of single rows are too short to ask for windows:
    /// sparse levels lose 3 %. Cores without vectors have no caches that it would help.
    fn asks_ahead(&self) -> bool {
        let is_worth_it = self.tile.rows > 1 || self.x.has_whole_strips(self.tile.width());
        self.is_far && self.tile.lanes > 1 && is_worth_it
    }

    /// Whether all tiles of one part follow each other, so that its weights stay in the cache, of which lists of single
    /// rows have many and few tiles. Else all parts of a tile do, and its input stays.
    fn takes_parts_in_turn(&self) -> bool {
        self.tile.rows == 1 || self.order == EntryOrder::ByColumn
    }

    /// First channel of a block, from the first one of the channel group.
    fn block_x(&self, f: &mut FunctionBuilder, x: Value, block: Value) -> Value {
        let ListBlocks { head, tail, .. } = self.blocks;
        let of = |f: &mut FunctionBuilder, number: Value, blocks: Blocks| {
            f.mul_const(number, blocks.channels * self.x_channel)
        };
        let offset = match (head.n_blocks, self.runs_tail) {
            (_, false) => of(f, block, head),
            (0, true) => of(f, block, tail),
            (n_head, true) => {
                let n_head = f.size(n_head);
                let is_head = f.compare(CompareOp::Lt, block, n_head);
                let in_head = of(f, block, head);
                let number = f.sub(block, n_head);
                let in_tail = of(f, number, tail);
                f.select(is_head, in_head, in_tail)
            }
        };
        f.ptr_add(x, offset)
    }

    /// Emits the loop over tasks.
    pub fn emit(&self, kernel: &mut KernelBuilder, buffers: ListConvBuffers) {
        let cut = self.tile.cut(self.n_pixels);
        kernel.for_tasks(|f, task| {
            let (n_parts, n_tiles) = (self.n_parts(), cut.n_tiles());
            let (image, part, tile) = if self.takes_parts_in_turn() {
                let (rest, tile) = f.div_rem_const(task, n_tiles);
                let (image, part) = f.div_rem_const(rest, n_parts);
                (image, part, tile)
            } else {
                let (rest, part) = f.div_rem_const(task, n_parts);
                let (image, tile) = f.div_rem_const(rest, n_tiles);
                (image, part, tile)
            };
            let of = TileNumber { image, part, tile };
            self.emit_tiles(f, &buffers, of, cut.n_full, &cut.rest);
        });
    }

    /// Tiles of an image before those that are no whole ones.
    pub fn whole_tiles(&self) -> usize {
        self.tile.cut(self.n_pixels).n_full
    }

    /// Computes tiles `low` to `high` of an image, all rows of each.
    pub fn emit_range(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        image: Value,
        [low, high]: [Value; 2],
    ) {
        let cut = self.tile.cut(self.n_pixels);
        let part = f.index(0);
        f.for_each(low, high, 1, |f, tile| {
            let of = TileNumber { image, part, tile };
            self.emit_tiles(f, buffers, of, cut.n_full, &cut.rest);
        });
    }

    /// Whichever `of` is of `n_full` whole tiles and those of `rest` behind them.
    fn emit_tiles(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        of: TileNumber,
        n_full: usize,
        rest: &[RestTile],
    ) {
        let Some((last, before)) = rest.split_last() else {
            return self.emit_whole_tile(f, buffers, of);
        };
        let n_before = n_full + before.len();
        if n_before == 0 {
            return self.emit_rest_tile(f, buffers, of, last);
        }
        let number = f.size(n_before);
        let is_before = f.compare(CompareOp::Lt, of.tile, number);
        f.if_else(
            is_before,
            |f| {
                self.emit_tiles(f, buffers, of, n_full, before);
                Vec::new()
            },
            |f| {
                self.emit_rest_tile(f, buffers, of, last);
                Vec::new()
            },
        );
    }

    fn emit_whole_tile(&self, f: &mut FunctionBuilder, buffers: &ListConvBuffers, of: TileNumber) {
        let width = self.tile.width();
        let at = self.addresses(f, buffers, of.part, |f, access, base| {
            access.tile(f, base, of.image, of.tile, width)
        });
        let next = self
            .asks_ahead()
            .then(|| self.next_input(f, buffers, of, &at));
        let at = TileAddresses { next, ..at };
        self.emit_tile(f, buffers, at, &self.tile.vectors_for(width));
    }

    fn emit_rest_tile(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        of: TileNumber,
        tile: &RestTile,
    ) {
        let start = |access: TileAccess| access.starting_at(tile.first);
        let kernel = Self {
            x: start(self.x),
            y: start(self.y),
            residual: self.residual.map(start),
            ..self.clone()
        };
        let at = kernel.addresses(f, buffers, of.part, |f, access, base| {
            access.start(f, base, of.image)
        });
        kernel.emit_tile(f, buffers, at, &tile.vectors);
    }

    fn addresses(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        part: Value,
        tile: impl Fn(&mut FunctionBuilder, &TileAccess, Value) -> Value,
    ) -> TileAddresses {
        let residual = self.residual.zip(buffers.residual);
        TileAddresses {
            part,
            x: tile(f, &self.x, buffers.x),
            y: tile(f, &self.y, buffers.y),
            residual: residual.map(|(access, base)| tile(f, &access, base)),
            next: None,
        }
    }

    /// All output channels of one tile.
    fn emit_tile(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        at: TileAddresses,
        vectors: &[PixelVector],
    ) {
        // Parts of a tile share what they ask for, unless another tile comes between them.
        let (n_groups, first_group) = match self.takes_parts_in_turn() {
            true => (self.groups_per_task(), f.index(0)),
            false => {
                let first = f.mul_const(at.part, self.groups_per_task());
                (self.n_groups(), first)
            }
        };
        if self.is_block_outer() {
            f.for_range(self.n_blocks(), |f, block| {
                self.emit_groups(f, buffers, &at, vectors, &mut |f, group| {
                    if let Some(next) = &at.next {
                        let before = f.mul_const(block, n_groups);
                        let turn = f.add(first_group, group.turn);
                        let turn = f.add(before, turn);
                        next.ask_for_share(f, turn, n_groups * self.n_blocks());
                    }
                    self.emit_group_of_block(f, buffers, group, block);
                });
            });
        } else {
            self.emit_groups(f, buffers, &at, vectors, &mut |f, group| {
                if let Some(next) = &at.next {
                    let turn = f.add(first_group, group.turn);
                    next.ask_for_share(f, turn, n_groups);
                }
                if self.asks_ahead() && !self.is_banded {
                    self.ask_for_results(f, group);
                }
                self.emit_group(f, buffers, group)
            });
        }
    }

    /// The loops over channel groups and groups of rows; the last group may have fewer rows.
    fn emit_groups(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        at: &TileAddresses,
        vectors: &[PixelVector],
        body: &mut dyn FnMut(&mut FunctionBuilder, Group<'_>),
    ) {
        let rows = self.tile.rows;
        let n_full = self.rows_per_channel_group / rows;
        let tail_rows = self.rows_per_channel_group % rows;
        let per = self.groups_per_channel_group();
        f.for_range(self.channel_groups, |f, channel_group| {
            let x = f.ptr_offset(at.x, channel_group, self.x_channel_group);
            let first_list = f.mul_const(channel_group, per);
            let mut emit =
                |f: &mut FunctionBuilder, number: Value, before: Option<Value>, rows: usize| {
                    let list = f.add(first_list, number);
                    let turn = match before {
                        Some(before) => f.sub(number, before),
                        None => list,
                    };
                    let channel = if per * self.tile.rows == self.rows_per_channel_group {
                        f.mul_const(list, self.tile.rows)
                    } else {
                        let first = f.mul_const(channel_group, self.rows_per_channel_group);
                        let within = f.mul_const(number, self.tile.rows);
                        f.add(first, within)
                    };
                    let channels = buffers
                        .channels
                        .map(|channels| f.ptr_offset(channels, channel, 2));
                    let mut first = |base: Value, access: &TileAccess| match channels {
                        None => f.ptr_offset(base, channel, access.channel),
                        Some(_) => base,
                    };
                    let y = first(at.y, &self.y);
                    let residual = self
                        .residual
                        .zip(at.residual)
                        .map(|(access, base)| first(base, &access));
                    body(
                        f,
                        Group {
                            list,
                            turn,
                            x,
                            y,
                            residual,
                            channels,
                            rows,
                            vectors,
                        },
                    );
                };
            if self.n_parts() > 1 {
                let (n_groups, n_per_task) = (f.size(n_full), f.size(self.groups_per_task));
                let low = f.mul(at.part, n_per_task);
                let high = f.add(low, n_per_task);
                let high = f.int(IntBinaryOp::MinU, high, n_groups);
                f.for_each(low, high, 1, |f, number| emit(f, number, Some(low), rows));
                return;
            }
            f.for_range(n_full, |f, number| emit(f, number, None, rows));
            if tail_rows > 0 {
                let number = f.size(n_full);
                emit(f, number, None, tail_rows);
            }
        });
    }

    /// One group over all its blocks, accumulators in registers throughout.
    fn emit_group(&self, f: &mut FunctionBuilder, buffers: &ListConvBuffers, group: Group) {
        let start = self.initial(f, buffers, group);
        let sums = if self.n_blocks() == 1 {
            self.emit_list(f, buffers, group, group.list, group.x, &start)
        } else {
            let (zero, n_blocks) = (f.index(0), f.size(self.n_blocks()));
            f.for_loop(zero, n_blocks, 1, &start, |f, block, sums| {
                let row = f.mul_const(block, self.n_groups());
                let list = f.add(row, group.list);
                let x = self.block_x(f, group.x, block);
                self.emit_list(f, buffers, group, list, x, sums)
            })
        };
        let results = self.epilogue(f, buffers, group, &sums);
        self.store(f, group, &results);
    }

    /// One group in one block; partial sums wait in the result's storage.
    fn emit_group_of_block(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        group: Group<'_>,
        block: Value,
    ) {
        let (zero, last) = (f.index(0), f.size(self.n_blocks() - 1));
        let is_first = f.compare(CompareOp::Eq, block, zero);
        let start = f.if_else(
            is_first,
            |f| self.initial(f, buffers, group),
            |f| self.load_tile(f, group.y, &self.y, group),
        );
        let row = f.mul_const(block, self.n_groups());
        let list = f.add(row, group.list);
        let x = self.block_x(f, group.x, block);
        let sums = self.emit_list(f, buffers, group, list, x, &start);
        let is_last = f.compare(CompareOp::Eq, block, last);
        let results = f.if_else(
            is_last,
            |f| self.epilogue(f, buffers, group, &sums),
            |_| sums.clone(),
        );
        self.store(f, group, &results);
    }

    fn per_row(
        &self,
        f: &mut FunctionBuilder,
        table: Value,
        group: Group<'_>,
        row: usize,
    ) -> Value {
        let at = f.ptr_offset(table, group.list, self.tile.rows * 4);
        f.load(MemoryType::F32, at, row * 4)
    }

    /// Accumulators before the first entry: the bias, unless a scale comes before it.
    fn initial(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        group: Group<'_>,
    ) -> Vec<Value> {
        let mut sums = Vec::with_capacity(group.rows * group.vectors.len());
        for row in 0..group.rows {
            let start = match buffers.bias {
                Some(bias) if !self.has_scale => self.per_row(f, bias, group, row),
                _ => f.f32(0.0),
            };
            let start = Splats::new(start);
            sums.extend(group.vectors.iter().map(|v| start.of(f, v.lanes)));
        }
        sums
    }

    fn epilogue(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        group: Group<'_>,
        sums: &[Value],
    ) -> Vec<Value> {
        let mut results = sums.to_vec();
        if let Some(scale) = buffers.scale {
            for row in 0..group.rows {
                let scale = Splats::new(self.per_row(f, scale, group, row));
                let bias = buffers
                    .bias
                    .map(|bias| Splats::new(self.per_row(f, bias, group, row)));
                for (v, vector) in group.vectors.iter().enumerate() {
                    let result = &mut results[row * group.vectors.len() + v];
                    let scale = scale.of(f, vector.lanes);
                    *result = match &bias {
                        Some(bias) => {
                            let bias = bias.of(f, vector.lanes);
                            f.mul_add(*result, scale, bias)
                        }
                        None => f.fmul(*result, scale),
                    };
                }
            }
        }
        if let (Some(access), Some(base)) = (&self.residual, group.residual) {
            let residual = self.load_tile(f, base, access, group);
            for (result, r) in results.iter_mut().zip(residual) {
                *result = f.fadd(*result, r);
            }
        }
        if let Some(activation) = self.activation {
            for result in &mut results {
                *result = emit_unary(f, activation, *result);
            }
        }
        results
    }

    fn load_tile(
        &self,
        f: &mut FunctionBuilder,
        base: Value,
        access: &TileAccess,
        group: Group<'_>,
    ) -> Vec<Value> {
        let mut tile = Vec::with_capacity(group.rows * group.vectors.len());
        for row in 0..group.rows {
            let (base, first) = group.row(f, base, access, row);
            for v in group.vectors {
                let offset = first + access.pixel(v.first);
                tile.push(f.load_lanes(v.lanes, base, offset));
            }
        }
        tile
    }

    fn store(&self, f: &mut FunctionBuilder, group: Group<'_>, results: &[Value]) {
        for (row, results) in results.chunks(group.vectors.len()).enumerate() {
            let (base, first) = group.row(f, group.y, &self.y, row);
            for (vector, &result) in group.vectors.iter().zip(results) {
                f.store_lanes(result, base, first + self.y.pixel(vector.first));
            }
        }
    }
}
