//! Convolution: choose rows and blocks for the weight, store its lists, emit the list kernel.

use super::list_blocks::{ListBlocks, TileReads};
use super::list_conv::{
    COLUMN_ROWS, Candidates, IndexWidth, LISTS_AHEAD, ListConv, ListConvBuffers,
};
use super::schedule::{EntryOrder, Schedule};
use super::tile_access::{TileAccess, WithPadding};
use super::tiles::ListTile;
use super::{CACHE_LINE, KernelBuilder, Lowering, summary};
use condensec_ir::kernel::Symbol;
use condensec_ir::layout::Layout;
use condensec_ir::ops::Conv2d;
use condensec_ir::sparsity::formats::prefix_lists::{ListShape, PrefixLists};
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, LevelId, NodeId, TensorId};
use std::ops::Range;

/// Stored values may grow by this factor to use more rows per group: a group of 4 rows runs at 1.3
/// to 2 times the speed per value of single rows.
const FILL_IN_LIMIT: f64 = 1.5;

/// Rows per group of the lists of a convolution's weight.
pub(crate) fn list_rows(graph: &Graph, weight: TensorId, channel_groups: usize) -> usize {
    PrefixLists::choose_rows(
        graph.tensor(weight),
        graph.n_levels,
        channel_groups,
        ListTile::ROWS,
        FILL_IN_LIMIT,
    )
}

/// Whether kernels keep partial sums in the storage of the convolution `id` (see `list_blocks`).
pub(super) fn stores_partial_sums(
    graph: &Graph,
    target: &TargetInfo,
    id: NodeId,
    conv: &Conv2d,
) -> bool {
    let node = graph.node(id);
    let x = graph.node(graph.operands(id)[0]);
    let [kh, kw] = [2, 3].map(|axis| graph.tensor(conv.weight).shape[axis]);
    let taps = Taps::new(conv, &x.layout, x.shape[3], [kh, kw]);
    let pitch = node.layout.pitch(&node.shape);
    let n_pixels = (node.shape[2] - 1) * pitch + node.shape[3];
    // What cannot be lowered needs no storage.
    taps.and_then(|taps| list_blocks(graph, target, conv, &taps, n_pixels))
        .is_ok_and(|blocks| blocks.stores_sums())
}

/// The blocks of a convolution's lists.
fn list_blocks(
    graph: &Graph,
    target: &TargetInfo,
    conv: &Conv2d,
    taps: &Taps,
    n_pixels: usize,
) -> Result<ListBlocks, String> {
    let weight = graph.tensor(conv.weight);
    let tile = ListTile::choose(target, list_rows(graph, conv.weight, conv.groups));
    let runs = taps.runs(tile.width().min(n_pixels));
    let bytes: usize = runs.iter().map(Range::len).sum();
    let is_gapless = bytes >= taps.channel;
    let reads = TileReads {
        n_weights: weight.n_elems(),
        channels: weight.shape[1],
        n_taps: taps.taps.len(),
        reach: taps.reach(),
        bytes_per_channel: bytes.max(1),
        // Whether a run shares its first and last line with other channels is left to chance.
        cached_bytes_per_channel: match is_gapless {
            true => bytes.max(1),
            false => bytes + runs.len() * (CACHE_LINE - 4),
        },
    };
    let levels = (0..graph.n_levels).map(LevelId);
    let kept: Vec<usize> = levels.map(|level| weight.n_kept(level)).collect();
    Ok(ListBlocks::choose(target, tile, &reads, &kept))
}

/// Byte offsets of window taps in the input's storage.
struct Taps {
    channel: usize,
    /// Offset of every tap from the channel's first byte, `[KH * KW]`.
    taps: Vec<usize>,
}

impl Taps {
    /// Of `conv`, whose window is `kernel`, on an input of `width` columns in the layout `x`.
    fn new(conv: &Conv2d, x: &Layout, width: usize, kernel: [usize; 2]) -> Result<Self, String> {
        match x {
            Layout::Strips(strips) => Ok(Self {
                channel: strips.width * 4,
                taps: vec![0],
            }),
            Layout::Planes(planes) => {
                let [sh, sw] = planes.phases;
                if planes.phases != conv.strides {
                    return Err("the input's phases are not the strides".into());
                }
                // Lists have no masks for taps in the next row.
                let gap = planes.pitch.saturating_sub(width);
                if sw == 1 && gap < conv.pads[1].max(conv.pads[3]) {
                    return Err(format!(
                        "{gap} columns between rows are less than the padding"
                    ));
                }
                let mut taps = Vec::new();
                for ky in 0..kernel[0] {
                    for kx in 0..kernel[1] {
                        // In padded coordinates of the layout, whose padding may exceed ours.
                        let y = ky * conv.dilations[0] + planes.top - conv.pads[0];
                        let x = kx * conv.dilations[1] + planes.left - conv.pads[1];
                        let phase = (y % sh) * sw + x % sw;
                        let at = phase * planes.plane + (y / sh) * planes.pitch + x / sw;
                        taps.push(at * 4);
                    }
                }
                Ok(Self {
                    channel: planes.plane * sh * sw * 4,
                    taps,
                })
            }
            Layout::Plain | Layout::Bands(_) => Err("a convolution needs planes or strips".into()),
        }
    }

    fn offset(&self, channel: usize, tap: usize) -> usize {
        channel * self.channel + self.taps[tap]
    }

    /// Runs of bytes that a tile of `width` pixels reads of a channel.
    fn runs(&self, width: usize) -> Vec<Range<usize>> {
        let mut taps = self.taps.clone();
        taps.sort_unstable();
        let mut runs: Vec<Range<usize>> = Vec::new();
        for tap in taps {
            let end = tap + width * 4;
            match runs.last_mut() {
                Some(run) if tap <= run.end => run.end = end,
                _ => runs.push(tap..end),
            }
        }
        runs
    }

    /// The last tap of every run that has no other one rows of `pitch` pixels below it. What the others read, tiles of
    /// the rows above have read.
    fn leading(&self, width: usize, pitch: usize) -> Vec<usize> {
        let runs = self.runs(width);
        let has_below = |run: &Range<usize>| {
            let is_below = |other: &Range<usize>| {
                other.start > run.start && (other.start - run.start).is_multiple_of(pitch * 4)
            };
            runs.iter().any(is_below)
        };
        let leading = runs.iter().filter(|&run| !has_below(run));
        leading.map(|run| run.end - width * 4).collect()
    }

    /// The tap furthest from the channel's first byte.
    fn last(&self) -> usize {
        self.taps.iter().copied().max().unwrap_or(0)
    }

    /// Whether an index of 32 bits reaches all pixels of so many channels.
    fn check_reach(&self, channels: usize) -> Result<(), String> {
        let reach = (u64::from(u32::MAX) * self.unit() as u64) as usize;
        let span = channels.saturating_sub(1) * self.channel + self.last();
        match span <= reach {
            true => Ok(()),
            false => Err(format!(
                "a tile spans {span} bytes, an index reaches {reach}"
            )),
        }
    }

    /// Channels whose pixels an index of 16 bits reaches.
    fn reach(&self) -> usize {
        let reach = usize::from(u16::MAX) * self.unit();
        match reach.checked_sub(self.last()) {
            Some(rest) => rest / self.channel + 1,
            None => 0,
        }
    }

    /// The largest power of two up to 8 that divides all offsets: a u16 index then reaches 512 KiB
    /// and the multiplication is free in x86 addressing.
    fn unit(&self) -> usize {
        let all = self.taps.iter().fold(self.channel, |all, &tap| all | tap);
        1 << all.trailing_zeros().min(3)
    }
}

/// A convolution whose lists are stored and whose schedules are chosen.
pub(super) struct ListLayer<'a> {
    id: NodeId,
    conv: &'a Conv2d,
    target: &'a TargetInfo,
    stored: ListConv,
    lists: PrefixLists,
    network_bytes: usize,
    /// By level.
    variants: Vec<Variant>,
    symbols: ListSymbols,
}

/// What a kernel depends on: the schedule, and whether it runs the tail of the lists.
pub(super) type Variant = (Schedule, bool);

/// The data of a layer.
struct ListSymbols {
    values: Symbol,
    indices: Symbol,
    /// Columns and places for kernels by column.
    by_column: Option<(Symbol, Symbol)>,
    starts: Symbol,
    lengths: Vec<Symbol>,
    scale: Option<Vec<Symbol>>,
    bias: Option<Vec<Symbol>>,
    channels: Option<Symbol>,
}

pub(super) fn lower<'a>(
    lowering: &mut Lowering<'a>,
    id: NodeId,
    conv: &'a Conv2d,
) -> Result<(), String> {
    let layer = ListLayer::new(lowering, id, conv)?;
    let variants = layer.variants();
    let mut kernels = Vec::new();
    for &variant in &variants {
        let spec = layer.kernel(variant);
        let mut kernel = KernelBuilder::new(&layer.kernel_name(variant), lowering);
        let buffers = layer.buffers(&mut kernel, lowering, variant);
        spec.emit(&mut kernel, buffers);
        kernels.push((kernel, spec.n_tasks()));
    }
    let names = lowering.add_step_by_level(id, kernels, &layer.choices(&variants));
    layer.summarize(lowering, names);
    Ok(())
}

impl<'a> ListLayer<'a> {
    /// Stores the lists of `conv`, the node `id`, and chooses how they run.
    pub fn new(lowering: &mut Lowering<'a>, id: NodeId, conv: &'a Conv2d) -> Result<Self, String> {
        let (graph, target) = (lowering.graph, lowering.target);
        let node = graph.node(id);
        let operands = graph.operands(id);
        let x = graph.node(operands[0]);
        let weight = graph.tensor(conv.weight);
        let &[m, channels, kh, kw] = weight.shape.as_slice() else {
            return Err(format!("weight has shape {:?}", weight.shape));
        };
        let (oh, ow) = (node.shape[2], node.shape[3]);
        let pitch = node.layout.pitch(&node.shape);
        if x.layout.pitch(&x.shape) != pitch {
            return Err(format!(
                "rows of input and result lie {} and {pitch} apart",
                x.layout.pitch(&x.shape)
            ));
        }
        let n_pixels = (oh - 1) * pitch + ow;
        let taps = Taps::new(conv, &x.layout, x.shape[3], [kh, kw])?;
        let rows = list_rows(graph, conv.weight, conv.groups);
        let tile = ListTile::choose(target, rows);
        let blocks = list_blocks(graph, target, conv, &taps, n_pixels)?;
        let shape = ListShape {
            rows,
            channel_groups: conv.groups,
            blocks: blocks.shape(channels, graph.n_levels),
        };
        let lists = PrefixLists::encode(weight, graph.n_levels, &shape, |channel, tap| {
            taps.offset(channel, tap) as u64
        })
        .map_err(|e| e.to_string())?;
        let residual = match conv.residual {
            true => {
                let r = graph.node(operands[1]);
                if r.layout.pitch(&r.shape) != pitch {
                    return Err("rows of residual and result lie apart differently".into());
                }
                Some(TileAccess::new(&r.layout, &r.shape, WithPadding::No)?)
            }
            false => None,
        };
        let image_bytes = |&id: &NodeId| {
            let node = graph.node(id);
            node.layout.n_elems(&node.shape) / node.shape[0] * 4
        };
        let is_banded = matches!(node.layout, Layout::Bands(_));
        let result = (!is_banded).then_some(&id);
        let moved_bytes: usize = operands.iter().chain(result).map(image_bytes).sum();
        let stored = ListConv {
            tile,
            vector_registers: target.vector_registers,
            n_images: node.shape[0],
            n_pixels,
            x: TileAccess::new(&x.layout, &x.shape, WithPadding::Yes)?,
            y: TileAccess::new(&node.layout, &node.shape, WithPadding::No)?,
            residual,
            channel_groups: conv.groups,
            rows_per_channel_group: m / conv.groups,
            x_channel_group: channels * taps.channel,
            blocks,
            runs_tail: false,
            x_channel: taps.channel,
            leading_taps: taps.leading(tile.width().min(n_pixels), pitch),
            index: match blocks.channels() <= taps.reach() {
                true => IndexWidth::Bits16,
                false => IndexWidth::Bits32,
            },
            index_unit: taps.unit(),
            has_scale: conv.scale.is_some(),
            activation: conv.activation,
            groups_per_task: usize::MAX,
            order: EntryOrder::Stored,
            prefetches: false,
            is_far: 2 * moved_bytes > target.l2_bytes,
            is_banded,
        };
        let n_taps = kh * kw;
        let index = |column: usize| {
            let (channel, tap) = (column / n_taps, column % n_taps);
            taps.offset(channel, tap) / taps.unit()
        };
        taps.check_reach(blocks.channels())?;
        let add_indices = |lowering: &mut Lowering<'_>,
                           columns: &mut dyn Iterator<Item = usize>| {
            let indices = columns.map(index);
            match stored.index {
                IndexWidth::Bits16 => {
                    lowering.add_indices(&indices.map(|at| at as u16).collect::<Vec<_>>())
                }
                IndexWidth::Bits32 => {
                    lowering.add_wide_indices(&indices.map(|at| at as u32).collect::<Vec<_>>())
                }
            }
        };
        let tensors = graph.tensors().iter().map(|tensor| tensor.n_elems() * 4);
        let network_bytes = tensors.sum();
        let candidates = Candidates {
            target,
            stored: &stored,
            lists: &lists,
            network_bytes,
            has_places: lists.has_places(COLUMN_ROWS),
        };
        let variants: Vec<Variant> = (0..graph.n_levels)
            .map(LevelId)
            .map(|level| {
                let schedule = candidates.choose(level, lowering.schedules.get(&node.name, level));
                (schedule, blocks.runs_tail(level))
            })
            .collect();
        let per_group = |values: &[f32]| pad_rows(values, conv.groups, rows);
        let values = lowering.add_weights(&lists.values);
        let indices = add_indices(lowering, &mut lists.columns.iter().map(|&c| c as usize));
        let is_by_column = |(schedule, _): &Variant| schedule.order == EntryOrder::ByColumn;
        let by_column = variants.iter().any(is_by_column).then(|| {
            let columns = add_indices(lowering, &mut (0..blocks.head.channels * n_taps));
            let places = lists.places(COLUMN_ROWS);
            (columns, lowering.add_indices(&places))
        });
        let symbols = ListSymbols {
            values,
            indices,
            by_column,
            starts: lowering.add_u32_table(&with_lists_ahead(&lists.starts)),
            lengths: add_lengths(lowering, &lists)?,
            scale: conv
                .scale
                .map(|scale| lowering.add_parameter(scale, per_group)),
            bias: conv
                .bias
                .map(|bias| lowering.add_parameter(bias, per_group)),
            channels: match conv.channel_order.as_slice() {
                [] => None,
                order => {
                    let channels: Result<Vec<u16>, _> =
                        order.iter().map(|&c| u16::try_from(c)).collect();
                    let channels =
                        channels.map_err(|_| "more than 65,536 output channels".to_string())?;
                    Some(lowering.add_u16_table(&channels))
                }
            },
        };
        Ok(Self {
            id,
            conv,
            target,
            stored,
            lists,
            network_bytes,
            variants,
            symbols,
        })
    }

    fn candidates(&self) -> Candidates<'_> {
        Candidates {
            target: self.target,
            stored: &self.stored,
            lists: &self.lists,
            network_bytes: self.network_bytes,
            has_places: self.lists.has_places(COLUMN_ROWS),
        }
    }

    /// The kernels that the levels need, in order.
    pub fn variants(&self) -> Vec<Variant> {
        let mut distinct = self.variants.clone();
        distinct.sort_unstable();
        distinct.dedup();
        distinct
    }

    /// Which of `variants`, of [`Self::variants`], each level runs.
    pub fn choices(&self, variants: &[Variant]) -> Vec<usize> {
        let place = |variant| variants.binary_search(variant).expect("all are there");
        self.variants.iter().map(place).collect()
    }

    /// The kernel of a variant.
    pub fn kernel(&self, (schedule, runs_tail): Variant) -> ListConv {
        self.candidates().kernel(schedule, runs_tail)
    }

    /// Its name.
    pub fn kernel_name(&self, (schedule, _): Variant) -> String {
        self.candidates().kernel_name(schedule)
    }

    /// What the kernel of a variant starts from.
    pub fn buffers(
        &self,
        kernel: &mut KernelBuilder,
        lowering: &Lowering<'_>,
        (schedule, _): Variant,
    ) -> ListConvBuffers {
        let operands = lowering.graph.operands(self.id);
        let symbols = &self.symbols;
        let (columns, places) = match schedule.order {
            EntryOrder::Stored => (symbols.indices, None),
            EntryOrder::ByColumn => {
                let (columns, places) = symbols.by_column.expect("made for this order");
                (columns, Some(places))
            }
        };
        ListConvBuffers {
            x: kernel.buffer(lowering, operands[0]),
            y: kernel.buffer(lowering, self.id),
            residual: self
                .conv
                .residual
                .then(|| kernel.buffer(lowering, operands[1])),
            values: kernel.data(symbols.values),
            indices: kernel.data(columns),
            starts: kernel.data(symbols.starts),
            lengths: kernel.level_data(symbols.lengths.clone()),
            places: places.map(|places| kernel.data(places)),
            scale: symbols.scale.clone().map(|scale| kernel.level_data(scale)),
            bias: symbols.bias.clone().map(|bias| kernel.level_data(bias)),
            channels: symbols.channels.map(|channels| kernel.data(channels)),
        }
    }

    /// Records the layer once its step has been added; `names` are those of its kernels by level.
    pub fn summarize(&self, lowering: &mut Lowering<'_>, names: Vec<String>) {
        let candidates = self.candidates();
        let cycles = (0..).map(LevelId).zip(&self.variants);
        let cycles = cycles.map(|(level, (schedule, _))| candidates.cycles(level, *schedule));
        let kernels: Vec<(u64, String)> = cycles.zip(names).collect();
        let shape = &lowering.node(self.id).shape;
        let n_positions = shape[0] * shape[2] * shape[3];
        let (id, weight) = (self.id, self.conv.weight);
        summary::add_layer(lowering, id, weight, &self.lists, n_positions, &kernels);
    }
}

/// `table` with room behind it for kernels that look ahead; they find empty lists there.
pub(super) fn with_lists_ahead<T: Copy + Default>(table: &[T]) -> Vec<T> {
    let mut table = table.to_vec();
    table.resize(table.len() + LISTS_AHEAD, T::default());
    table
}

/// Lengths as one table per level.
pub(super) fn add_lengths(
    lowering: &mut Lowering<'_>,
    lists: &PrefixLists,
) -> Result<Vec<Symbol>, String> {
    let mut symbols = Vec::with_capacity(lists.lengths.len());
    for (level, lengths) in lists.lengths.iter().enumerate() {
        if level > 0 && *lengths == lists.lengths[level - 1] {
            symbols.push(symbols[level - 1]);
            continue;
        }
        let lengths: Result<Vec<u16>, _> = lengths.iter().map(|&n| u16::try_from(n)).collect();
        let lengths = lengths.map_err(|_| "a list has more than 65,535 entries".to_string())?;
        symbols.push(lowering.add_u16_table(&with_lists_ahead(&lengths)));
    }
    Ok(symbols)
}

/// `[M]` to `[channel_groups][groups][rows]`, missing rows as zeros.
pub(super) fn pad_rows(values: &[f32], channel_groups: usize, rows: usize) -> Vec<f32> {
    let per = values.len() / channel_groups;
    let padded = per.next_multiple_of(rows);
    let mut out = Vec::with_capacity(channel_groups * padded);
    for group in values.chunks(per) {
        out.extend_from_slice(group);
        out.resize(out.len() + padded - per, 0.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taps of a 3x3 window on planes whose rows are `pitch` pixels apart, `dilation` rows and columns between taps.
    fn taps(pitch: usize, dilation: usize) -> Taps {
        let offset = |tap: usize| (tap / 3 * pitch + tap % 3) * dilation * 4;
        Taps {
            channel: 4 * pitch * pitch,
            taps: (0..9).map(offset).collect(),
        }
    }

    #[test]
    fn only_the_lowest_row_of_a_window_is_new() {
        // Runs of 24 pixels: one per row of a wide map, a single one where rows are shorter.
        assert_eq!(taps(57, 1).leading(24, 57), [(2 * 57 + 2) * 4]);
        assert_eq!(taps(57, 2).leading(24, 57), [(4 * 57 + 4) * 4]);
        assert_eq!(taps(8, 1).runs(24).len(), 1);
        assert_eq!(taps(8, 1).leading(24, 8), [(2 * 8 + 2) * 4]);
        // Two phases of a strided window, a plane each.
        let phases = Taps {
            channel: 80_000,
            taps: vec![0, 4, 57 * 4, 58 * 4, 40_000, 40_004],
        };
        assert_eq!(phases.leading(24, 57), [58 * 4, 40_004]);
    }
}
