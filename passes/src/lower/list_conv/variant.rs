//! Which kernel runs a layer at a level. All of them read the same values and lists.

use super::{EntryOrder, ListConv};
use crate::lower::tiles::ListTile;
use condensec_ir::LevelId;
use condensec_ir::sparsity::formats::prefix_lists::PrefixLists;
use condensec_ir::target_info::TargetInfo;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lower) enum Variant {
    /// Entries as they are stored.
    Plain,
    /// The same, asking for the next lists: for weights that come from afar. Sparse levels jump from
    /// prefix to prefix, which hardware does not foresee; but a dense level of ResNet-50 gains 1 % too,
    /// one at density 0.5 4 % (Zen 4).
    Prefetching,
    /// [`EntryOrder::ByColumn`] with [`Variant::COLUMN_ROWS`] rows.
    ByColumn,
}

impl Variant {
    /// Rows of a tile that takes single-row lists by columns.
    pub const COLUMN_ROWS: usize = 4;

    /// The best for the layer that `spec` describes, whose weights are `lists`, at `level`.
    pub fn choose(
        target: &TargetInfo,
        spec: &ListConv,
        lists: &PrefixLists,
        level: LevelId,
    ) -> Self {
        let keeps_all = lists.n_entries_at(level) == lists.n_entries();
        if keeps_all && can_run_by_column(spec, lists) {
            return Self::ByColumn;
        }
        let bytes_per_entry = lists.rows * 4 + 2;
        let is_cached = lists.n_entries() * bytes_per_entry <= target.l2_bytes / 2;
        match is_cached {
            true => Self::Plain,
            false => Self::Prefetching,
        }
    }

    /// The kernel for the layer that `stored` describes as if it were [`Variant::Plain`].
    pub fn apply(self, target: &TargetInfo, stored: &ListConv) -> ListConv {
        let stored = stored.clone();
        match self {
            Self::Plain => stored,
            Self::Prefetching => ListConv {
                prefetches: true,
                ..stored
            },
            Self::ByColumn => ListConv {
                order: EntryOrder::ByColumn,
                tile: ListTile::choose(target, Self::COLUMN_ROWS),
                ..stored
            },
        }
    }

    /// Name of the kernel for tiles like `tile`.
    pub fn kernel_name(self, tile: ListTile) -> String {
        let suffix = match self {
            Self::Plain => "",
            Self::Prefetching => "_prefetch",
            Self::ByColumn => "_by_column",
        };
        format!("conv2d_lists{suffix}_{}x{}", tile.rows, tile.width())
    }
}

/// Whether every row keeps every column at the densest level, so that columns can lead.
fn can_run_by_column(spec: &ListConv, lists: &PrefixLists) -> bool {
    let rows = spec.rows_per_channel_group;
    lists.rows == 1
        && spec.channel_groups == 1
        && rows.is_multiple_of(Variant::COLUMN_ROWS)
        && lists.is_full()
}
