//! Rows of a convolution's weight with equal masks next to each other.
//!
//! Kernels take the rows of a weight in groups that share their lists, so they want rows that follow each
//! other to keep the same columns. A mask may be made of such rows in any order (`condensec nest` groups
//! channels by what they need, not by number); then the rows are stored group by group, and
//! `channel_order` says which output channel each of them is. Values keep their channels, so nothing else changes.
//!
//! ```text
//! tensor @w : f32[4, 2, 1, 1] = [..] level [0, 1, 1, 0, 0, 1, 1, 0]
//! %y = conv2d %x {weight=@w} : f32[1, 4, 4, 4]
//! ; becomes
//! tensor @w.grouped : f32[4, 2, 1, 1] = [..] level [0, 1, 0, 1, 1, 0, 1, 0]
//! %y = conv2d %x {weight=@w.grouped, channel_order=[0, 2, 1, 3]} : f32[1, 4, 4, 4]
//! ```

use crate::lower::{ListTile, list_rows};
use condensec_ir::ops::Conv2d;
use condensec_ir::sparsity::LevelMask;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::tensor::{LevelRule, Tensor};
use condensec_ir::{Graph, Op, TensorId};
use indexmap::IndexMap;
use std::sync::Arc;

/// Name of the pass.
pub(crate) const NAME: &str = "group-rows";

/// Runs the pass; returns whether anything changed.
pub(crate) fn run(graph: &mut Graph, _: &TargetInfo) -> bool {
    let mut changed = false;
    for id in graph.order() {
        let Op::Conv2d(conv) = &graph.node(id).op else {
            continue;
        };
        let Some((size, order)) = find_order(graph, conv) else {
            continue;
        };
        let conv = conv.clone();
        let reordered = Conv2d {
            weight: reorder(graph, conv.weight, &order, size),
            scale: conv.scale.map(|scale| reorder(graph, scale, &order, 1)),
            bias: conv.bias.map(|bias| reorder(graph, bias, &order, 1)),
            channel_order: order,
            ..conv
        };
        graph.node_mut(id).op = Op::from(reordered);
        changed = true;
    }
    changed
}

/// Rows per group and an order of rows that makes such groups, where the order in the file makes smaller ones.
fn find_order(graph: &Graph, conv: &Conv2d) -> Option<(usize, Vec<usize>)> {
    let weight = graph.tensor(conv.weight);
    let LevelRule::Masked(mask) = &weight.rule else {
        return None;
    };
    let is_free = conv.channel_order.is_empty()
        && weight.shape[1] > 1
        && weight.shape[0] <= usize::from(u16::MAX);
    let now = list_rows(graph, conv.weight, conv.groups);
    if !is_free || now == ListTile::ROWS[0] {
        return None;
    }
    let (m, columns) = (weight.shape[0], weight.n_elems() / weight.shape[0]);
    let row = |r: usize| &mask.values()[r * columns..][..columns];
    let order = |size: usize| {
        let per = m / conv.groups;
        if per < size {
            return None;
        }
        let mut order = Vec::with_capacity(m);
        for first in (0..m).step_by(per) {
            order.extend(group_rows(first..first + per, size, &row)?);
        }
        Some(order)
    };
    // Fewer rows per group than they form as they are would be no gain.
    let sizes = ListTile::ROWS.iter();
    sizes
        .take_while(|&&size| size > now)
        .find_map(|&size| Some((size, order(size)?)))
}

/// The rows of one channel group in groups of `size` with equal masks; `None` if some are left alone.
fn group_rows<'m>(
    rows: std::ops::Range<usize>,
    size: usize,
    mask: &dyn Fn(usize) -> &'m [u8],
) -> Option<Vec<usize>> {
    let mut alike: IndexMap<&[u8], Vec<usize>> = IndexMap::new();
    for row in rows.clone() {
        alike.entry(mask(row)).or_default().push(row);
    }
    let mut order = Vec::with_capacity(rows.len());
    let mut rest = Vec::new();
    for rows in alike.values() {
        let (full, tail) = rows.split_at(rows.len() / size * size);
        order.extend_from_slice(full);
        rest.extend_from_slice(tail);
    }
    // Rows that are left over make the last group if they are alike.
    let fits = rest.len() < size && rest.iter().all(|&row| mask(row) == mask(rest[0]));
    order.extend(rest);
    fits.then_some(order)
}

/// A tensor whose first axis goes by rows, in another order; its mask has blocks of `size` rows there.
fn reorder(graph: &mut Graph, id: TensorId, order: &[usize], size: usize) -> TensorId {
    let tensor = graph.tensor(id);
    let n = tensor.n_elems() / order.len();
    let data: Arc<[f32]> = tensor
        .data
        .chunks_exact(tensor.n_elems())
        .flat_map(|level| in_order(level, n, order))
        .collect();
    let rule = match &tensor.rule {
        LevelRule::Masked(mask) => {
            let values: Vec<u8> = in_order(mask.values(), n, order).collect();
            let mut block = mask.block().to_vec();
            block[0] = size;
            LevelRule::Masked(LevelMask::new(values, &block))
        }
        rule => rule.clone(),
    };
    let reordered = Tensor {
        name: format!("{}.grouped", tensor.name),
        shape: tensor.shape.clone(),
        data,
        rule,
    };
    graph.add_tensor(reordered)
}

fn in_order<'a, T: Copy>(
    values: &'a [T],
    n: usize,
    order: &'a [usize],
) -> impl Iterator<Item = T> + 'a {
    order
        .iter()
        .flat_map(move |&row| values[row * n..][..n].iter().copied())
}
