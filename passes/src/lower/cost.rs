//! The cost model of the list kernels: cycles of one run on one core with two multiply-adds and two
//! loads per cycle.
//!
//! A list costs its stores and its epilogue whatever its length, plus a constant per entry; measured
//! on Zen 3 for a tile of 4 rows x 3 vectors: 15 + 6.1 cycles per entry. To that comes the time in which
//! the core waits for weights that lie beyond its last private cache.

use super::tiles::ListTile;
use condensec_ir::target_info::TargetInfo;

/// Cycles that a core waits for the beginning of a list nobody asked for. It finds other work for a
/// part of a memory access (about 100 ns); fitted to ResNet-50 at density 0.1 on Zen 4.
const CYCLES_PER_UNEXPECTED_LIST: f64 = 60.0;
/// Bytes per cycle from beyond the last private cache, where they are asked for in time.
const BYTES_PER_CYCLE: f64 = 8.0;
/// Bytes per cycle from the last private cache: 26 measured on Zen 3.
const BYTES_PER_CYCLE_OF_L2: f64 = 26.0;
/// Prefetch instructions of a list, in cycles.
const CYCLES_PER_LOOK_AHEAD: f64 = 2.0;

/// How the weights of a layer, and its input, pass through the caches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WeightTraffic {
    /// Values and indices that the level runs.
    pub kept_bytes: usize,
    /// Values and indices of all levels.
    pub stored_bytes: usize,
    /// One image of the input.
    pub x_bytes: usize,
    /// Lists that a tile runs.
    pub n_lists: usize,
    pub n_tiles: usize,
    /// Parts of the rows, each with all tiles in turn.
    pub n_parts: usize,
    pub prefetches: bool,
    /// Whether kernels read the input from the first cache, block by block, as single rows do.
    pub blocks_x: bool,
}

impl WeightTraffic {
    /// Cycles of waiting for one image.
    pub fn cycles(&self, target: &TargetInfo) -> u64 {
        let cache = target.l2_bytes / 2;
        let is_cached = self.stored_bytes <= cache;
        let passes = match self.stored_bytes.div_ceil(self.n_parts) <= cache {
            true => 1,
            false => self.n_tiles,
        } as f64;
        let lists = self.n_lists as f64 * passes;
        let look_ahead = match self.prefetches {
            true => self.n_lists as f64 * self.n_tiles as f64 * CYCLES_PER_LOOK_AHEAD,
            false => 0.0,
        };
        let weights = match (is_cached, self.prefetches) {
            (true, _) => 0.0,
            (false, true) => self.kept_bytes as f64 * passes / BYTES_PER_CYCLE,
            (false, false) => {
                self.kept_bytes as f64 * passes / BYTES_PER_CYCLE
                    + lists * CYCLES_PER_UNEXPECTED_LIST
            }
        };
        // Every further part reads the input again.
        let x_bytes = (self.n_parts - 1) as f64 * self.x_bytes as f64;
        let x = match (self.x_bytes <= target.l2_bytes, self.blocks_x) {
            (false, _) => x_bytes / BYTES_PER_CYCLE,
            (true, true) => x_bytes / BYTES_PER_CYCLE_OF_L2,
            (true, false) => 0.0,
        };
        (weights + look_ahead + x) as u64
    }
}

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

    /// Cycles that one list of `n_entries` takes of them.
    pub fn list_cycles(&self, n_entries: u32) -> u64 {
        (self.runs * (self.per_list + f64::from(n_entries) * self.per_entry)) as u64
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
