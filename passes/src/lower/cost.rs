//! The cost model of the list kernels: cycles of one run on one core of the target.
//!
//! A list costs its stores and its epilogue whatever its length, plus a constant per entry; measured
//! on Zen 3 for a tile of 4 rows x 3 vectors: 15 + 6.1 cycles per entry. To that comes the time in which
//! the core waits for weights that lie beyond its first caches.

use super::list_gemv;
use super::schedule::EntryOrder;
use super::tiles::ListTile;
use condensec_ir::target_info::TargetInfo;

/// Cycles that a core waits for the beginning of a list nobody asked for. It finds other work for a
/// part of a memory access (about 100 ns); fitted to ResNet-50 at density 0.1 on Zen 4.
const CYCLES_PER_UNEXPECTED_LIST: f64 = 60.0;
/// The same where the list waits in the last private cache; fitted to ResNet-50 at density 0.1 on Zen 3.
const CYCLES_PER_UNEXPECTED_LIST_IN_L2: f64 = 4.0;
/// Bytes per cycle from beyond the last private cache.
const BYTES_PER_CYCLE: f64 = 8.0;
/// Prefetch instructions of a list, in cycles.
const CYCLES_PER_LOOK_AHEAD: f64 = 2.0;

/// Instructions of a list's entry that neither load nor multiply: two addresses, the loop.
const OTHER_PER_ENTRY: f64 = 4.0;
/// Instructions around the entries of a list: its bounds, addresses, the loop over groups.
const OTHER_PER_LIST: f64 = 15.0;
/// Instructions per sum of a list: its start, two of epilogue, the store.
const OTHER_PER_SUM: f64 = 4.0;

/// Instructions of a straight piece of code.
struct Work {
    /// Multiply-adds of vectors.
    multiply_adds: f64,
    vector_loads: f64,
    scalar_loads: f64,
    others: f64,
}

impl Work {
    fn cycles(&self, target: &TargetInfo) -> f64 {
        let core = &target.throughput;
        let registers = target.registers_per_vector as f64;
        let multiplying = self.multiply_adds * registers / core.multiply_adds;
        let loading = (self.vector_loads * registers + self.scalar_loads) / core.loads;
        let around = self.vector_loads + self.scalar_loads + self.others;
        match core.is_in_order {
            true => multiplying + loading.max(around / core.instructions),
            false => multiplying
                .max(loading)
                .max((self.multiply_adds + around) / core.instructions),
        }
    }
}

/// How the weights of a layer pass through the caches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WeightTraffic {
    /// Values and indices that the level runs.
    pub kept_bytes: usize,
    /// Values and indices between which these lie.
    pub stored_bytes: usize,
    /// All weights of the network.
    pub network_bytes: usize,
    /// Lists that a tile runs.
    pub n_lists: usize,
    /// Of all images.
    pub n_tiles: usize,
    pub prefetches: bool,
}

impl WeightTraffic {
    /// Cycles of waiting.
    pub fn cycles(&self, target: &TargetInfo) -> u64 {
        let cache = target.l2_bytes / 2;
        let is_cached = self.stored_bytes <= cache;
        // Where nothing is left out a list begins where the one before ends, as hardware foresees.
        let n_left_out = self.stored_bytes - self.kept_bytes;
        let left_out = n_left_out as f64 / self.stored_bytes.max(1) as f64;
        let lists = self.n_lists as f64;
        let look_ahead = match self.prefetches {
            true => lists * self.n_tiles as f64 * CYCLES_PER_LOOK_AHEAD,
            false => 0.0,
        };
        let weights = match (is_cached, self.prefetches) {
            // Those asked for in time arrive while the core computes, which takes longer: a block of four rows brings
            // 3 bytes per cycle.
            (_, true) => 0.0,
            (true, false) => {
                // Other layers have used the cache since the last run.
                let first_tile = match self.network_bytes <= cache {
                    true => 0.0,
                    false => CYCLES_PER_UNEXPECTED_LIST,
                };
                let others = match self.stored_bytes <= target.l1_bytes / 2 {
                    true => 0.0,
                    false => CYCLES_PER_UNEXPECTED_LIST_IN_L2,
                };
                lists * left_out * (first_tile + (self.n_tiles - 1) as f64 * others)
            }
            (false, false) => {
                let passes = self.n_tiles as f64;
                let bytes = self.kept_bytes as f64 * passes;
                bytes / BYTES_PER_CYCLE + lists * passes * CYCLES_PER_UNEXPECTED_LIST
            }
        };
        (weights + look_ahead) as u64
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
    pub fn conv(
        target: &TargetInfo,
        order: EntryOrder,
        tile: ListTile,
        n_tasks: usize,
        n_lists: usize,
    ) -> Self {
        let core = &target.throughput;
        let sums = (tile.rows * tile.vectors) as f64;
        let n_places = match order {
            EntryOrder::Stored => 0,
            EntryOrder::ByColumn => tile.rows,
        };
        let entry = entry(tile.rows, tile.vectors, n_places);
        // Nobody stores more than one register per cycle.
        let storing = sums * target.registers_per_vector as f64 / core.loads.min(1.0) + 3.0;
        let others = sums * OTHER_PER_SUM + OTHER_PER_LIST;
        Self {
            runs: n_tasks as f64,
            n_lists: n_lists as f64,
            per_list: storing.max(others / core.instructions),
            per_entry: entry.cycles(target) + 0.1,
        }
    }

    /// A fully connected layer of `n_images` vectors and `n_groups` groups of `rows` rows.
    pub fn gemv(target: &TargetInfo, n_images: usize, rows: usize, n_groups: usize) -> Self {
        let lanes = target.lanes;
        let width = if rows.is_multiple_of(lanes) { lanes } else { 1 };
        let vectors = (rows / width) as f64;
        let entry = Work {
            multiply_adds: vectors,
            vector_loads: vectors,
            // The index and the activation.
            scalar_loads: 2.0,
            others: 2.0,
        };
        let others = list_gemv::UNROLL as f64 * OTHER_PER_SUM * vectors + OTHER_PER_LIST;
        Self {
            runs: n_images as f64,
            n_lists: n_groups as f64,
            per_list: (others / target.throughput.instructions).max(20.0),
            per_entry: entry.cycles(target),
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

/// What a list's entry takes of a tile; `n_places` values are looked up.
fn entry(rows: usize, vectors: usize, n_places: usize) -> Work {
    Work {
        multiply_adds: (rows * vectors) as f64,
        vector_loads: vectors as f64,
        // The weights and the index, and by columns where each weight is.
        scalar_loads: (rows + 1 + n_places) as f64,
        others: OTHER_PER_ENTRY + n_places as f64,
    }
}

/// Cycles that an entry takes a tile of `rows` rows and `vectors` vectors.
pub(super) fn cycles_per_entry(target: &TargetInfo, rows: usize, vectors: usize) -> f64 {
    entry(rows, vectors, 0).cycles(target)
}

/// A depthwise convolution without lists: every task computes `n_vectors` vectors of `n_multiply_adds`
/// each.
pub(super) fn depthwise_cycles(
    target: &TargetInfo,
    n_tasks: usize,
    n_vectors: usize,
    n_multiply_adds: usize,
) -> u64 {
    let n_multiply_adds = n_multiply_adds as f64;
    let work = Work {
        multiply_adds: n_multiply_adds,
        // One per multiply-add, many of which cross a cache line.
        vector_loads: 1.5 * n_multiply_adds,
        scalar_loads: 0.0,
        others: 0.0,
    };
    // Then the store and the epilogue.
    let per_vector = work.cycles(target) + 2.0;
    (n_tasks as f64 * (n_vectors as f64 * per_vector + 20.0)) as u64
}
