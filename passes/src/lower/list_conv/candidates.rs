//! The schedules that a layer can run by, and the cost model's choice among them.

use super::ListConv;
use crate::lower::cost::{ListCost, WeightTraffic};
use crate::lower::schedule::{EntryOrder, Schedule};
use crate::lower::tiles::ListTile;
use condensec_ir::LevelId;
use condensec_ir::sparsity::formats::prefix_lists::PrefixLists;
use condensec_ir::target_info::TargetInfo;

/// Rows of a tile that takes single-row lists by columns.
pub(in crate::lower) const COLUMN_ROWS: usize = 4;

/// Tasks that keep a few threads busy to the end.
const MANY_TASKS: usize = 16;
/// Tasks for a few threads, where every further one costs 1 % or more on one thread: kernels of single
/// rows bring the input to the first cache again in each (ResNet-50, Zen 4).
const FEW_TASKS: usize = 4;

/// A layer and what decides how fast its schedules are.
pub(in crate::lower) struct Candidates<'a> {
    pub target: &'a TargetInfo,
    /// The kernel as of `stored/1`.
    pub stored: &'a ListConv,
    pub lists: &'a PrefixLists,
    /// All weights of the network.
    pub network_bytes: usize,
    /// Whether every list holds every column, so that columns can lead.
    pub has_places: bool,
}

impl Candidates<'_> {
    /// The cheapest schedule for `level`, or `wanted` if the layer can run so.
    pub fn choose(&self, level: LevelId, wanted: Option<Schedule>) -> Schedule {
        if let Some(wanted) = wanted.filter(|&wanted| self.is_possible(level, wanted)) {
            return wanted;
        }
        let cycles = |schedule: &Schedule| self.cycles(level, *schedule);
        let candidates = self.candidates(level);
        candidates
            .into_iter()
            .min_by_key(cycles)
            .expect("stored order is always possible")
    }

    fn candidates(&self, level: LevelId) -> Vec<Schedule> {
        let mut found = Vec::new();
        for order in [EntryOrder::Stored, EntryOrder::ByColumn] {
            for prefetches in [false, true] {
                let schedule = Schedule {
                    order,
                    prefetches,
                    n_parts: self.fewest_parts(order),
                };
                if self.is_possible(level, schedule) {
                    found.push(schedule);
                }
            }
        }
        found
    }

    fn is_possible(&self, level: LevelId, schedule: Schedule) -> bool {
        let rows = self.stored.rows_per_channel_group;
        let has_order = match schedule.order {
            EntryOrder::Stored => true,
            EntryOrder::ByColumn => {
                self.has_places
                    && schedule.prefetches
                    && self.stored.channel_groups == 1
                    && rows.is_multiple_of(COLUMN_ROWS)
                    && self.lists.n_entries_at(level) == self.lists.n_entries()
            }
        };
        has_order && (1..=self.most_parts(schedule.order)).contains(&schedule.n_parts)
    }

    /// Parts of at least one whole group of rows.
    fn most_parts(&self, order: EntryOrder) -> usize {
        let rows = self.stored.rows_per_channel_group;
        let n_rows = self.tile(order).rows;
        match self.stored.channel_groups {
            _ if self.stored.is_banded => 1,
            1 if rows.is_multiple_of(n_rows) => (rows / n_rows).max(1),
            _ => 1,
        }
    }

    /// Parts that give threads enough tasks.
    fn fewest_parts(&self, order: EntryOrder) -> usize {
        let tiles = self.stored.n_images * self.stored.tiles_per_image();
        let n_tasks = match self.tile(order).rows {
            1 => FEW_TASKS,
            _ => MANY_TASKS,
        };
        n_tasks.div_ceil(tiles).clamp(1, self.most_parts(order))
    }

    /// Entries between which a level that runs the tail, or does not, finds its own.
    fn stored_entries(&self, runs_tail: bool) -> usize {
        match self.stored.blocks.tail_level.checked_sub(1) {
            Some(last) if !runs_tail => self.lists.n_entries_at(LevelId(last)),
            _ => self.lists.n_entries(),
        }
    }

    fn entry_bytes(&self) -> usize {
        self.lists.rows * 4 + self.stored.index.bytes()
    }

    fn tile(&self, order: EntryOrder) -> ListTile {
        match order {
            EntryOrder::Stored => self.stored.tile,
            EntryOrder::ByColumn => ListTile::choose(self.target, COLUMN_ROWS),
        }
    }

    /// The kernel for a possible schedule, of levels that run the tail or not.
    pub fn kernel(&self, schedule: Schedule, runs_tail: bool) -> ListConv {
        let tile = self.tile(schedule.order);
        let n_groups = self.stored.rows_per_channel_group.div_ceil(tile.rows);
        ListConv {
            tile,
            order: schedule.order,
            prefetches: schedule.prefetches,
            groups_per_task: n_groups.div_ceil(schedule.n_parts),
            runs_tail,
            ..self.stored.clone()
        }
    }

    /// Predicted cycles of a run at `level`.
    pub fn cycles(&self, level: LevelId, schedule: Schedule) -> u64 {
        let tile = self.tile(schedule.order);
        let n_tiles = self.stored.n_images * tile.cut(self.stored.n_pixels).n_tiles();
        let runs_tail = self.stored.blocks.runs_tail(level);
        let n_blocks = self.stored.blocks.n_blocks(runs_tail);
        let n_lists = self.lists.n_groups * n_blocks * self.lists.rows / tile.rows;
        let n_entries = self.lists.n_entries_at(level) * self.lists.rows / tile.rows;
        let computing = ListCost::conv(self.target, schedule.order, tile, n_tiles, n_lists);
        let traffic = WeightTraffic {
            kept_bytes: self.lists.n_entries_at(level) * self.entry_bytes(),
            stored_bytes: self.stored_entries(runs_tail) * self.entry_bytes(),
            network_bytes: self.network_bytes,
            n_lists,
            n_tiles,
            prefetches: schedule.prefetches,
        };
        computing.cycles(n_entries) + traffic.cycles(self.target)
    }

    /// Name of the kernel.
    pub fn kernel_name(&self, schedule: Schedule) -> String {
        let order = match (schedule.order, schedule.prefetches) {
            (EntryOrder::Stored, false) => "",
            (EntryOrder::Stored, true) => "_prefetch",
            (EntryOrder::ByColumn, _) => "_by_column",
        };
        let tile = self.tile(schedule.order);
        format!("conv2d_lists{order}_{}x{}", tile.rows, tile.width())
    }
}

#[cfg(test)]
mod tests {
    use crate::PIPELINE;
    use crate::lower::Schedules;
    use crate::lower::testing::check_scheduled;
    use condensec_ir::target_info::TargetInfo;
    use condensec_ir::text::parse_graph;

    /// Parts of which the last one is smaller, by tile and in turn, with look-ahead and blocks around the groups.
    #[test]
    fn every_schedule_gives_the_same() {
        let (rows, channels) = (40, 160);
        let join = |n: usize, value: &dyn Fn(usize) -> usize| {
            let values = (0..n).map(|i| value(i).to_string());
            values.collect::<Vec<_>>().join(", ")
        };
        let graph = |block: &str, level: &dyn Fn(usize) -> usize| {
            let n = rows * channels;
            let text = format!(
                "graph @layer levels(2) (%x: f32[2, {channels}, 9, 7]) -> (%z) {{
                   tensor @w : f32[{rows}, {channels}, 1, 1] = [{}] level [{}]{block}
                   %y = conv2d %x {{weight=@w}} : f32[2, {rows}, 9, 7]
                   %z = unary %y {{kind=relu}} : f32[2, {rows}, 9, 7]
                 }}",
                join(n, &|i| i % 7 + 1),
                join(n, level),
            );
            parse_graph(&text).unwrap_or_else(|e| panic!("{e:?}"))
        };
        let graphs = [
            graph(" block [4, 1, 1, 1]", &|i| i % channels % 3 % 2),
            graph("", &|i| (i * 7 + i / 5) % 2),
        ];
        let far = |lanes, registers| TargetInfo {
            l1_bytes: 8 << 10,
            l2_bytes: 8 << 10,
            ..TargetInfo::typical(lanes, registers)
        };
        let targets = [far(4, 16), far(8, 16), far(16, 32)];
        for schedule in ["stored/1", "stored/3", "stored+prefetch/4", "by-column/3"] {
            let schedules = Schedules::uniform(schedule.parse().unwrap());
            for graph in &graphs {
                check_scheduled(graph, PIPELINE, &targets, &schedules);
            }
        }
    }
}
