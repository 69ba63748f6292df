//! Prefix-nested lists: one value buffer and one index buffer serve all levels.
//!
//! The rows (output channels) of a weight are taken in groups of `R`; the kept columns of a group
//! form lists, one per block. A list is sorted by the level at which an entry
//! appears, sparsest first, so level `l` runs the first `lengths[l][list]` entries of every list,
//! and switching level means reading another column of one small table:
//!
//! ```text
//! values   f32 [entries][R]        list after list: block major, then group
//! indices  u16|u32 [entries]       address of the column's activation, relative to the block
//! starts   u32 [lists]             first entry of the list
//! lengths  u16 [level][lists]      entries that the level runs
//! ```
//! A block is a range of input channels, and of the levels at which its entries appear: sparse levels want few long
//! lists, dense ones lists whose activations fit a cache, and so the entries that only the latter run may have
//! smaller blocks of their own.
//!
//! Entries that no level keeps, and those whose values are all zero, are dropped. Rows of a group
//! share an entry only if they agree on its level wherever they are not zero (the buffer holds the
//! non-zero values of pruned weights, so running a row "by the way" would change the result).

use crate::tensor::{LevelId, LevelRule, Tensor};
use std::ops::Range;
use thiserror::Error;

/// How a weight is cut into lists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListShape {
    /// Rows per group, `R`.
    pub rows: usize,
    /// Channel groups of a grouped convolution; lists never cross them.
    pub channel_groups: usize,
    /// Blocks, in the order in which they are stored. Together they have every channel at every level once.
    pub blocks: Vec<ListBlock>,
}

/// The entries of one list of every group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListBlock {
    /// Input channels (of one channel group).
    pub channels: Range<usize>,
    /// First levels that keep the entries.
    pub levels: Range<u32>,
}

impl ListBlock {
    /// Blocks of `most` channels that cover `channels`, at least one, for entries that appear at `levels`.
    pub fn cover(channels: usize, most: usize, levels: Range<u32>) -> Vec<Self> {
        let block = |first: usize| Self {
            channels: first..(first + most).min(channels),
            levels: levels.clone(),
        };
        let n_blocks = channels.div_ceil(most.max(1)).max(1);
        (0..n_blocks).map(|number| block(number * most)).collect()
    }
}

/// A weight `[M, C, taps..]` stored as prefix-nested lists.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefixLists {
    /// Rows per group.
    pub rows: usize,
    /// Groups of rows over all channel groups; the last of a channel group may be partly empty.
    pub n_groups: usize,
    /// Blocks.
    pub n_blocks: usize,
    /// `[entries][rows]`
    pub values: Vec<f32>,
    /// `[entries]`: column `c * taps + tap` relative to the first channel of the block.
    pub columns: Vec<u32>,
    /// `[n_blocks][n_groups]`
    pub starts: Vec<u32>,
    /// `[level][n_blocks][n_groups]`
    pub lengths: Vec<Vec<u32>>,
}

/// Why a weight cannot be stored with this many rows per group.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ListError {
    /// Rows of one group are kept from different levels on.
    #[error("rows of a group of {rows} disagree on the level of column {column}")]
    MixedLevels {
        /// Rows per group.
        rows: usize,
        /// Column `c * taps + tap`.
        column: usize,
    },
}

/// First level that keeps the entry, or `None` if no level needs it.
fn entry_level(
    weight: &Tensor,
    n_levels: u32,
    rows: std::ops::Range<usize>,
    column: usize,
    n_columns: usize,
) -> Result<Option<u32>, ()> {
    let mut found = None;
    for row in rows {
        let at = row * n_columns + column;
        if weight.data[at] == 0.0 {
            continue;
        }
        let level = match &weight.rule {
            LevelRule::Masked(mask) => u32::from(mask.values()[at]).min(n_levels),
            _ => 0,
        };
        match found {
            None => found = Some(level),
            Some(other) if other == level => {}
            Some(_) => return Err(()),
        }
    }
    Ok(found.filter(|&level| level < n_levels))
}

/// Values that lists with groups of `rows` rows would store; `None` if the mask does not allow it.
fn stored_values(
    weight: &Tensor,
    n_levels: u32,
    channel_groups: usize,
    rows: usize,
) -> Option<usize> {
    let per = weight.shape[0] / channel_groups;
    let n_columns: usize = weight.shape[1..].iter().product();
    let mut n_entries = 0;
    for base in (0..channel_groups).map(|g| g * per) {
        for low in (base..base + per).step_by(rows) {
            let high = (low + rows).min(base + per);
            for column in 0..n_columns {
                let level = entry_level(weight, n_levels, low..high, column, n_columns).ok()?;
                n_entries += usize::from(level.is_some());
            }
        }
    }
    Some(n_entries * rows)
}

impl PrefixLists {
    /// Encodes `weight` (`[M, C / channel_groups, taps..]`) for `n_levels` levels.
    ///
    /// `address` gives the sort key inside a level from (channel in the block, tap): entries that
    /// lie close in memory are run close in time.
    ///
    /// # Errors
    /// [`ListError::MixedLevels`] if the mask does not allow groups of `shape.rows` rows.
    pub fn encode(
        weight: &Tensor,
        n_levels: u32,
        shape: &ListShape,
        address: impl Fn(usize, usize) -> u64,
    ) -> Result<Self, ListError> {
        let m = weight.shape[0];
        let taps: usize = weight.shape[2..].iter().product();
        let n_columns = weight.shape[1] * taps;
        let rows_per_channel_group = m / shape.channel_groups;
        let groups_per = rows_per_channel_group.div_ceil(shape.rows);
        let n_groups = groups_per * shape.channel_groups;
        let n_blocks = shape.blocks.len();
        let mut lists = Self {
            rows: shape.rows,
            n_groups,
            n_blocks,
            values: Vec::new(),
            columns: Vec::new(),
            starts: Vec::with_capacity(n_blocks * n_groups),
            lengths: vec![Vec::with_capacity(n_blocks * n_groups); n_levels as usize],
        };
        let mut entries: Vec<(u32, u64, usize)> = Vec::new();
        for block in &shape.blocks {
            let Range {
                start: first,
                end: last,
            } = block.channels;
            for group in 0..n_groups {
                let base = group / groups_per * rows_per_channel_group;
                let low = base + group % groups_per * shape.rows;
                let high = (low + shape.rows).min(base + rows_per_channel_group);
                entries.clear();
                for column in first * taps..last * taps {
                    let level = entry_level(weight, n_levels, low..high, column, n_columns)
                        .map_err(|()| ListError::MixedLevels {
                            rows: shape.rows,
                            column,
                        })?;
                    if let Some(level) = level.filter(|level| block.levels.contains(level)) {
                        let (channel, tap) = (column / taps - first, column % taps);
                        entries.push((level, address(channel, tap), column));
                    }
                }
                entries.sort_unstable();
                lists
                    .starts
                    .push(u32::try_from(lists.columns.len()).expect("fewer than 2^32"));
                for &(_, _, column) in &entries {
                    lists.columns.push((column - first * taps) as u32);
                    for row in low..low + shape.rows {
                        let value = match row < high {
                            true => weight.data[row * n_columns + column],
                            false => 0.0,
                        };
                        lists.values.push(value);
                    }
                }
                for (level, lengths) in lists.lengths.iter_mut().enumerate() {
                    let kept = entries.iter().filter(|e| e.0 as usize <= level).count();
                    lengths.push(kept as u32);
                }
            }
        }
        Ok(lists)
    }

    /// Columns of a list, in the order of its entries.
    fn columns_of(&self, block: usize, group: usize) -> &[u32] {
        let list = block * self.n_groups + group;
        let first = self.starts[list] as usize;
        let end = self.starts.get(list + 1);
        let end = end.map_or(self.columns.len(), |&end| end as usize);
        &self.columns[first..end]
    }

    /// Whether every list holds every column of its block.
    pub fn is_full(&self) -> bool {
        let n_columns = |block: usize| {
            let last =
                (0..self.n_groups).flat_map(|group| self.columns_of(block, group).iter().max());
            last.max().map_or(0, |&column| column as usize + 1)
        };
        (0..self.n_blocks).all(|block| {
            let n_columns = n_columns(block);
            (0..self.n_groups).all(|group| self.columns_of(block, group).len() == n_columns)
        })
    }

    /// Whether [`PrefixLists::places`] exist for `rows` lists at a time.
    pub fn has_places(&self, rows: usize) -> bool {
        let top = self.lengths.last().into_iter().flatten();
        let longest = top.max().map_or(0, |&n| n as usize);
        self.rows == 1
            && self.n_groups.is_multiple_of(rows)
            && rows * longest <= 1 << u16::BITS
            && self.is_full()
    }

    /// For full lists of single rows, `rows` at a time: where each stores each column, as a distance
    /// from the first entry of the first of them. Layout
    /// `[block][list / rows][column of the block][list % rows]`.
    ///
    /// # Panics
    /// If [`PrefixLists::has_places`] does not hold.
    pub fn places(&self, rows: usize) -> Vec<u16> {
        assert!(self.has_places(rows));
        let mut places = vec![0; self.columns.len()];
        for block in 0..self.n_blocks {
            for group in 0..self.n_groups {
                let start = |group: usize| self.starts[block * self.n_groups + group] as usize;
                let first = start(group / rows * rows);
                for (place, &column) in self.columns_of(block, group).iter().enumerate() {
                    places[first + column as usize * rows + group % rows] =
                        u16::try_from(start(group) - first + place).expect("has_places");
                }
            }
        }
        places
    }

    /// Number of entries that the top level may run.
    pub fn n_entries(&self) -> usize {
        self.columns.len()
    }

    /// Entries that `level` runs.
    pub fn n_entries_at(&self, level: LevelId) -> usize {
        self.lengths[level.0 as usize]
            .iter()
            .map(|&n| n as usize)
            .sum()
    }

    /// The dense weight `[M, columns]` that `level` sees: the inverse of [`PrefixLists::encode`].
    pub fn decode(&self, level: LevelId, weight_shape: &[usize], shape: &ListShape) -> Vec<f32> {
        let m = weight_shape[0];
        let taps: usize = weight_shape[2..].iter().product();
        let n_columns = weight_shape[1] * taps;
        let rows_per_channel_group = m / shape.channel_groups;
        let groups_per = rows_per_channel_group.div_ceil(shape.rows);
        let mut dense = vec![0.0; m * n_columns];
        for (block, ListBlock { channels, .. }) in shape.blocks.iter().enumerate() {
            for group in 0..self.n_groups {
                let list = block * self.n_groups + group;
                let base = group / groups_per * rows_per_channel_group;
                let low = base + group % groups_per * shape.rows;
                let high = (low + shape.rows).min(base + rows_per_channel_group);
                let start = self.starts[list] as usize;
                let n = self.lengths[level.0 as usize][list] as usize;
                for entry in start..start + n {
                    let column = channels.start * taps + self.columns[entry] as usize;
                    for row in low..high {
                        dense[row * n_columns + column] =
                            self.values[entry * self.rows + row - low];
                    }
                }
            }
        }
        dense
    }

    /// The most rows per group among `candidates` (largest first) that the mask of `weight` allows
    /// without storing more than `slack` times the values that single rows would take.
    pub fn choose_rows(
        weight: &Tensor,
        n_levels: u32,
        channel_groups: usize,
        candidates: &[usize],
        slack: f64,
    ) -> usize {
        let count = |rows: usize| stored_values(weight, n_levels, channel_groups, rows);
        let singles = count(1).expect("single rows always fit");
        for &rows in candidates {
            if weight.shape[0] / channel_groups < rows {
                continue;
            }
            if let Some(stored) = count(rows)
                && stored as f64 <= slack * singles as f64
            {
                return rows;
            }
        }
        1
    }
}
