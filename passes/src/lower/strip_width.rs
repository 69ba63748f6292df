//! Pixels per strip: as many as the tile that does most of a model's 1x1 convolutions computes, so
//! that such a tile reads each channel from consecutive cache lines.

use super::conv2d::list_rows;
use super::tiles::ListTile;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, Op};

/// The strip width for `graph` on `target`.
pub fn strip_width(graph: &Graph, target: &TargetInfo) -> usize {
    let work = |rows: usize| -> usize {
        graph
            .order()
            .into_iter()
            .filter_map(|id| match &graph.node(id).op {
                Op::Conv2d(conv) => Some((graph.tensor(conv.weight), conv, id)),
                _ => None,
            })
            .filter(|(weight, conv, _)| weight.shape[2..] == [1, 1] && conv.groups == 1)
            .filter(|(_, conv, _)| list_rows(graph, conv.weight, 1) == rows)
            .map(|(weight, _, id)| {
                weight.n_elems() * graph.node(id).shape[2..].iter().product::<usize>()
            })
            .sum()
    };
    let most = ListTile::ROWS
        .iter()
        .copied()
        .max_by_key(|&rows| (work(rows), rows))
        .expect("there are tiles");
    ListTile::choose(target, most).width()
}
