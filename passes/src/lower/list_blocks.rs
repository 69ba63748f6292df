//! How the lists of a convolution are cut into blocks of input channels.
//!
//! Activations that a tile reads for group after group should stay in the first cache. A short list costs as much as a
//! long one beside its entries, though, so that small blocks only pay for levels that keep much. And what sparse levels
//! run should lie close together, not between what only dense ones do. Lists of several rows therefore have two kinds
//! of blocks:
//!
//! ```text
//! channels             0          64         128         192         256
//! entries of levels    |  head: all channels                            |   every level, within a group
//! that keep much       | tail     | tail      | tail      | tail        |   around the groups
//! ```
//! Levels that run the head alone take it with the sums of a group in registers. The others take blocks in the outer loop and keep the sums in the result meanwhile, the head's blocks first.
//!
//! ResNet-50 on Zen 3, densities of 0.05 to 0.2 in the head: they gain 4 to 8 %, the dense level 4 to 7 %. With all
//! entries in small blocks sparse levels lose 5 to 8 %. Lists of 3x3 windows are longer, and where their weights do not
//! come from afar the head is in small blocks, too, and around the groups at every level: 5 to 12 % for the layers of
//! ResNet-18 at densities of 0.05 to 0.2.

use super::tiles::ListTile;
use condensec_ir::LevelId;
use condensec_ir::sparsity::formats::prefix_lists::ListBlock;
use condensec_ir::target_info::TargetInfo;

/// Levels that keep more than this share of what the densest one keeps run the tail.
const TAIL_SHARE: f64 = 0.25;
/// Share of the first cache that a block's activations take: weights pass through it, too.
const CACHE_SHARE: f64 = 0.75;
/// The same for the tail of windows; best of 1/4 to 3/4 for the 3x3 layers of ResNet-50 on Zen 3 (4 % at 7x7 and 14x14).
const WINDOW_CACHE_SHARE: f64 = 0.5;
/// Columns of a block, below which lists cost more than the cache saves even where nothing is left out.
const FEWEST_COLUMNS: usize = 144;
/// Entries of the tail in a list, below which lists cost more than the cache saves.
const FEWEST_TAIL_ENTRIES: f64 = 32.0;
/// The same for the head's entries at the sparsest level, which a cache miss delays more often.
const FEWEST_HEAD_ENTRIES: f64 = 15.0;

/// Heads of more weights, in sizes of the last private cache, come from afar, and a list ahead is too short a notice.
const NEAR_CACHES: usize = 2;

/// What a tile of a layer reads, and how far its indices reach.
pub(super) struct TileReads {
    /// Weights of the layer, kept or not.
    pub n_weights: usize,
    /// Input channels of one channel group.
    pub channels: usize,
    /// Entries that a channel may have.
    pub n_taps: usize,
    /// Channels that an index of 16 bits reaches.
    pub reach: usize,
    /// Bytes of a channel.
    pub bytes_per_channel: usize,
    /// The same, with the rest of the cache lines.
    pub cached_bytes_per_channel: usize,
}

/// Blocks of equally many channels each; the last one may have fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    pub channels: usize,
    pub n_blocks: usize,
}

impl Blocks {
    const NONE: Self = Self {
        channels: 0,
        n_blocks: 0,
    };

    fn of(channels: usize, most: usize) -> Self {
        let n_blocks = channels.div_ceil(most.max(1)).max(1);
        Self {
            channels: channels.div_ceil(n_blocks),
            n_blocks: channels.div_ceil(channels.div_ceil(n_blocks).max(1)).max(1),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListBlocks {
    pub head: Blocks,
    pub tail: Blocks,
    /// First level that runs the tail, which has the entries that appear from there on.
    pub tail_level: u32,
    /// Whether levels that run only the head take its blocks around the groups, too.
    pub is_head_around: bool,
}

impl ListBlocks {
    /// The blocks of lists whose levels keep `kept` of all weights.
    pub fn choose(target: &TargetInfo, tile: ListTile, reads: &TileReads, kept: &[usize]) -> Self {
        let n_levels = kept.len() as u32;
        // List lengths are stored as u16.
        let most = (usize::from(u16::MAX) / reads.n_taps).min(reads.channels);
        if tile.rows == 1 {
            // Single rows load a vector per multiply-add, more than a second cache delivers. 7/8 of the first one, as
            // measured best for blocks of 28 KiB in 32 KiB.
            let cached = target.l1_bytes * 7 / 8 / reads.bytes_per_channel;
            // An index is a third of an entry and stays short if that leaves lists to speak of.
            let most = match reads.reach * reads.n_taps >= FEWEST_COLUMNS {
                true => most.min(reads.reach),
                false => most,
            };
            return Self {
                head: Blocks::of(reads.channels, most.min(cached)),
                tail: Blocks::NONE,
                tail_level: n_levels,
                is_head_around: true,
            };
        }
        let far = Blocks::of(reads.channels, most);
        let cached = |share: f64| {
            let fitting = share * target.l1_bytes as f64 / reads.cached_bytes_per_channel as f64;
            let fewest = FEWEST_COLUMNS.div_ceil(reads.n_taps);
            let channels = (fitting as usize).max(fewest);
            match channels * reads.cached_bytes_per_channel <= target.l1_bytes {
                true => Blocks::of(reads.channels, channels.min(most)),
                false => far,
            }
        };
        let tail = cached(match reads.n_taps {
            1 => CACHE_SHARE,
            _ => WINDOW_CACHE_SHARE,
        });
        let near_head = cached(CACHE_SHARE);
        let top = kept.last().copied().unwrap_or(0) as f64;
        let tail_level = kept
            .iter()
            .take_while(|&&n| n as f64 <= TAIL_SHARE * top)
            .count();
        let in_head = match tail_level {
            0 => 0,
            level => kept[level - 1],
        };
        let entries_per_list = |blocks: Blocks, n_kept: usize| {
            n_kept as f64 / reads.n_weights as f64 * (blocks.channels * reads.n_taps) as f64
        };
        let n_dense = kept.last().map_or(0, |top| top - in_head);
        let tail_pays = entries_per_list(tail, n_dense) >= FEWEST_TAIL_ENTRIES;
        if tail.n_blocks == far.n_blocks || !tail_pays {
            return Self {
                head: far,
                tail: Blocks::NONE,
                tail_level: n_levels,
                is_head_around: false,
            };
        }
        let is_head_around = tail_level > 0
            && near_head.n_blocks > far.n_blocks
            && in_head * 4 <= NEAR_CACHES * target.l2_bytes
            && entries_per_list(near_head, kept[0]) >= FEWEST_HEAD_ENTRIES;
        Self {
            head: match (tail_level, is_head_around) {
                (0, _) => Blocks::NONE,
                (_, true) => near_head,
                (_, false) => far,
            },
            tail,
            tail_level: tail_level as u32,
            is_head_around,
        }
    }

    /// For [`ListShape`](condensec_ir::sparsity::formats::prefix_lists::ListShape).
    pub fn shape(&self, channels: usize, n_levels: u32) -> Vec<ListBlock> {
        let cover = |blocks: &Blocks, levels| match blocks.n_blocks {
            0 => Vec::new(),
            _ => ListBlock::cover(channels, blocks.channels, levels),
        };
        let mut blocks = cover(&self.head, 0..self.tail_level);
        blocks.extend(cover(&self.tail, self.tail_level..n_levels));
        blocks
    }

    /// Channels of the largest block.
    pub fn channels(&self) -> usize {
        self.head.channels.max(self.tail.channels)
    }

    /// Whether `level` runs the tail.
    pub fn runs_tail(&self, level: LevelId) -> bool {
        level.0 >= self.tail_level
    }

    /// Blocks of levels that run the tail or do not.
    pub fn n_blocks(&self, runs_tail: bool) -> usize {
        self.head.n_blocks + if runs_tail { self.tail.n_blocks } else { 0 }
    }

    /// Whether any level keeps sums in the result while it takes block after block.
    pub fn stores_sums(&self) -> bool {
        self.tail.n_blocks > 0 || self.is_head_around && self.head.n_blocks > 1
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_graph;
    use super::*;
    use crate::PIPELINE;
    use condensec_ir::text::parse_graph;

    /// Tiles read 100 bytes per channel; the first cache holds 32 KiB, so that a block of the tail has at most
    /// 245 channels.
    fn choose(rows: usize, channels: usize, reach: usize, kept: &[usize]) -> ListBlocks {
        choose_for(100, rows, channels, reach, kept)
    }

    fn choose_for(
        bytes_per_channel: usize,
        rows: usize,
        channels: usize,
        reach: usize,
        kept: &[usize],
    ) -> ListBlocks {
        let target = TargetInfo::typical(8, 16);
        assert_eq!(target.l1_bytes, 32 << 10);
        let reads = TileReads {
            n_weights: *kept.last().unwrap(),
            channels,
            n_taps: 1,
            reach,
            bytes_per_channel,
            cached_bytes_per_channel: bytes_per_channel,
        };
        ListBlocks::choose(&target, ListTile::choose(&target, rows), &reads, kept)
    }

    fn blocks(channels: usize, n_blocks: usize) -> Blocks {
        Blocks { channels, n_blocks }
    }

    #[test]
    fn levels_that_keep_much_run_small_blocks() {
        // Lists of small blocks would have 234 / 20 entries.
        let chosen = choose(4, 700, 400, &[5, 25, 50, 100]);
        assert_eq!((chosen.head, chosen.tail), (blocks(700, 1), blocks(234, 3)));
        assert_eq!(chosen.tail_level, 2);
        assert!(chosen.stores_sums());
        assert!(!chosen.is_head_around);
    }

    #[test]
    fn the_head_has_small_blocks_where_lists_are_long_and_weights_near() {
        let chosen = choose(4, 700, 400, &[10, 25, 50, 100]);
        assert_eq!((chosen.head, chosen.tail), (blocks(234, 3), blocks(234, 3)));
        assert_eq!(chosen.tail_level, 2);
        assert!(chosen.is_head_around);
        let far = choose(4, 700, 400, &[200_000, 500_000, 1_000_000, 2_000_000]);
        assert_eq!(far.head, blocks(700, 1));
        assert!(!far.is_head_around);
    }

    #[test]
    fn dense_levels_alone_have_no_head() {
        for kept in [&[100][..], &[50, 100]] {
            let chosen = choose(4, 700, 400, kept);
            assert_eq!((chosen.head, chosen.tail_level), (Blocks::NONE, 0));
            assert_eq!(chosen.shape(700, 2).len(), 3);
        }
    }

    #[test]
    fn no_tail_where_it_does_not_pay() {
        // The activations fit; lists of the tail would be short; nothing is kept.
        let cases = [
            (100, 245, &[10, 100]),
            (2000, 700, &[10, 100]),
            (100, 700, &[0, 0]),
        ];
        for (bytes_per_channel, channels, kept) in cases {
            let chosen = choose_for(bytes_per_channel, 4, channels, 1000, kept);
            assert_eq!(chosen.head, blocks(channels, 1), "{channels} {kept:?}");
            assert_eq!((chosen.tail, chosen.tail_level), (Blocks::NONE, 2));
            assert!(!chosen.stores_sums());
        }
    }

    #[test]
    fn single_rows_have_one_kind_of_blocks() {
        let chosen = choose(1, 700, 1000, &[10, 100]);
        assert_eq!((chosen.head, chosen.tail), (blocks(234, 3), Blocks::NONE));
        assert!(chosen.stores_sums());
    }

    #[test]
    fn every_channel_at_every_level_is_in_one_block() {
        for channels in [1, 7, 700] {
            let shape = choose(4, channels, 300, &[10, 25, 50, 100]).shape(channels, 4);
            for channel in 0..channels {
                for level in 0..4 {
                    let holds =
                        |b: &&ListBlock| b.channels.contains(&channel) && b.levels.contains(&level);
                    assert_eq!(shape.iter().filter(holds).count(), 1);
                }
            }
        }
    }

    /// Two channel groups; a window whose channels lie so far apart that 16 bits reach few of them.
    #[test]
    fn kernels_of_groups_and_of_several_heads() {
        let join = |n: usize, value: &dyn Fn(usize) -> usize| {
            let values = (0..n).map(|i| value(i).to_string());
            values.collect::<Vec<_>>().join(", ")
        };
        // Channels of a group, groups, height and width of the map, size of the window.
        for (channels, groups, h, w, window) in [(270, 2, 5, 6, 1), (24, 1, 2, 900, 3)] {
            let n_columns = channels * window * window;
            let weights = join(8 * n_columns, &|i| i % 7 + 1);
            let levels = join(8 * n_columns, &|i| [0, 1, 1, 1][i % n_columns % 4]);
            let inputs = channels * groups;
            let pad = window / 2;
            let graph = parse_graph(&format!(
                "graph @layer levels(2) (%x: f32[1, {inputs}, {h}, {w}]) -> (%z) {{
                   tensor @w : f32[8, {channels}, {window}, {window}] = [{weights}] level [{levels}]
                   %y = conv2d %x {{weight=@w, pads=[{pad}, {pad}, {pad}, {pad}], groups={groups}}} \
                     : f32[1, 8, {h}, {w}]
                   %z = unary %y {{kind=relu}} : f32[1, 8, {h}, {w}]
                 }}"
            ));
            check_graph(&graph.unwrap_or_else(|e| panic!("{e:?}")), PIPELINE);
        }
    }

    /// Heads of 1x1 lists are one block, those of windows small ones around the groups.
    #[test]
    fn kernels_take_heads_and_tails() {
        let n_outputs = 8;
        for (window, n_inputs) in [(1, 320), (3, 160)] {
            let n_columns = n_inputs * window * window;
            let join = |value: &dyn Fn(usize) -> usize| {
                let values = (0..n_outputs * n_columns).map(|i| value(i).to_string());
                values.collect::<Vec<_>>().join(", ")
            };
            let (weights, pad) = (join(&|i| i % 2 + 1), window / 2);
            // A fifth of the columns in the head, which another fifth joins in the tail.
            let levels = join(&|i| [0, 2, 1, 2, 2][(i % n_columns + i / n_columns / 4) % 5]);
            for (levels, title) in [(levels, "three levels"), (join(&|_| 0), "all at L0")] {
                for residual in [false, true] {
                    let (operand, flag) = match residual {
                        true => (", %r", ", residual"),
                        false => ("", ""),
                    };
                    let graph = parse_graph(&format!(
                        "graph @layer levels(3) (%x: f32[2, {n_inputs}, 6, 7]) -> (%z) {{
                           tensor @v : f32[{n_outputs}, {n_inputs}, {window}, {window}] = [{weights}]
                           tensor @w : f32[{n_outputs}, {n_inputs}, {window}, {window}] = [{weights}] \
                             level [{levels}] block [4, 1, 1, 1]
                           tensor @b : f32[{n_outputs}] = [1, 2, 3, 4, 5, 6, 7, 8]
                           %r = conv2d %x {{weight=@v, pads=[{pad}, {pad}, {pad}, {pad}]}} \
                             : f32[2, {n_outputs}, 6, 7]
                           %y = conv2d %x{operand} {{weight=@w, bias=@b{flag}, activation=relu, \
                             pads=[{pad}, {pad}, {pad}, {pad}]}} : f32[2, {n_outputs}, 6, 7]
                           %z = unary %y {{kind=relu}} : f32[2, {n_outputs}, 6, 7]
                         }}"
                    ))
                    .unwrap_or_else(|e| panic!("{window}, {title}: {e:?}"));
                    check_graph(&graph, PIPELINE);
                }
            }
        }
    }
}
