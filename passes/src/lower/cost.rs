//! The cost model of the list kernels: cycles of one run on one core with two multiply-adds and two
//! loads per cycle, everything in the L1 or L2 cache.
//!
//! A list costs its stores and its epilogue whatever its length, plus a constant per entry; measured
//! on Zen 3 for a tile of 4 rows x 3 vectors: 15 + 6.1 cycles per entry.

use super::tiles::ListTile;

/// Cycles of a layer as a function of its kept entries: `runs * (lists * per_list + entries *
/// per_entry)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ListCost {
    runs: f64,
    n_lists: f64,
    per_list: f64,
    per_entry: f64,
}

impl ListCost {
    /// A convolution of `n_tasks` tiles, each over `n_lists` lists.
    pub fn conv(tile: ListTile, n_tasks: usize, n_lists: usize) -> Self {
        let accumulators = (tile.rows * tile.vectors) as f64;
        // Loads: the activations, the weights, the index.
        let loads = (tile.vectors + tile.rows + 1) as f64;
        Self {
            runs: n_tasks as f64,
            n_lists: n_lists as f64,
            per_list: accumulators + 3.0,
            per_entry: (accumulators / 2.0).max(loads / 2.0) + 0.1,
        }
    }

    /// A fully connected layer of `n_images` vectors and `n_groups` groups of `rows` rows.
    pub fn gemv(n_images: usize, rows: usize, lanes: usize, n_groups: usize) -> Self {
        let width = if rows.is_multiple_of(lanes) { lanes } else { 1 };
        let vectors = (rows / width) as f64;
        Self {
            runs: n_images as f64,
            n_lists: n_groups as f64,
            per_list: 20.0,
            // Loads: the index, the activation, the weights.
            per_entry: (2.0 + vectors) / 2.0,
        }
    }

    /// Cycles for `n_entries` kept entries.
    pub fn cycles(&self, n_entries: usize) -> u64 {
        (self.runs * (self.n_lists * self.per_list + n_entries as f64 * self.per_entry)) as u64
    }
}

/// A depthwise convolution without lists: every task computes `n_vectors` vectors of `n_multiply_adds`
/// each.
pub(super) fn depthwise_cycles(n_tasks: usize, n_vectors: usize, n_multiply_adds: usize) -> u64 {
    // Bound by loads, one per multiply-add, many of which cross a cache line; then the store and
    // the epilogue.
    let per_vector = 0.75 * n_multiply_adds as f64 + 2.0;
    (n_tasks as f64 * (n_vectors as f64 * per_vector + 20.0)) as u64
}
