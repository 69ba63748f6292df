//! Places every value: in the caller's inputs and outputs, or in the activation arena.
//!
//! Values live from their step to their last reader's, where for a reader whose result is in bands its own reader
//! counts; a value is placed at the lowest offset where it overlaps no value that is alive at the same time, largest
//! values first (greedy by size, as in Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
//! 2020). A reshape shares its operand's storage, and so does a result that may overwrite an operand.
//! Placement does not depend on the level, so a level may change between two steps.

use super::conv2d::stores_partial_sums;
use condensec_ir::layout::Layout;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, NodeId, Op};
use indexmap::{IndexMap, IndexSet};

/// Alignment of every value in the arena, in bytes: a cache line.
const ALIGN: usize = 64;

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Entry of the bases table: 0 is the arena, then inputs, then outputs.
    pub slot: usize,
    /// Offset from that base.
    pub offset_bytes: usize,
}

/// Storage of every value but constants.
pub(super) struct MemoryPlan {
    pub storage: IndexMap<NodeId, Storage>,
    pub arena_bytes: usize,
}

/// A stretch of the arena and the steps during which it is taken.
struct Block {
    bytes: usize,
    first: usize,
    last: usize,
    nodes: Vec<NodeId>,
}

pub(super) fn plan(graph: &Graph, target: &TargetInfo) -> MemoryPlan {
    let order = graph.order();
    let position: IndexMap<NodeId, usize> =
        order.iter().enumerate().map(|(at, &id)| (id, at)).collect();
    let mut storage: IndexMap<NodeId, Storage> = IndexMap::new();
    for (i, &input) in graph.inputs().iter().enumerate() {
        storage.insert(
            input,
            Storage {
                slot: 1 + i,
                offset_bytes: 0,
            },
        );
    }
    for (i, output) in graph.outputs().iter().enumerate() {
        let slot = 1 + graph.inputs().len() + i;
        storage.insert(
            output.node,
            Storage {
                slot,
                offset_bytes: 0,
            },
        );
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut constants: IndexSet<NodeId> = IndexSet::new();
    let mut block_of: IndexMap<NodeId, usize> = IndexMap::new();
    for (at, &id) in order.iter().enumerate() {
        let node = graph.node(id);
        let operands = graph.operands(id);
        let is_constant = match &node.op {
            Op::Constant(_) => true,
            Op::Reshape(_) => constants.contains(&operands[0]),
            _ => false,
        };
        if is_constant {
            constants.insert(id);
        }
        if is_constant || storage.contains_key(&id) {
            continue;
        }
        let last = last_use(graph, &position, id);
        if matches!(node.op, Op::Reshape(_)) && !block_of.contains_key(&operands[0]) {
            let source = storage[&operands[0]];
            storage.insert(id, source);
            continue;
        }
        let shared = reusable_operand(graph, target, &operands, id).and_then(|operand| {
            let block = *block_of.get(&operand)?;
            (blocks[block].last <= at || matches!(node.op, Op::Reshape(_))).then_some(block)
        });
        match shared {
            Some(block) => {
                blocks[block].last = blocks[block].last.max(last);
                blocks[block].nodes.push(id);
                block_of.insert(id, block);
            }
            None => {
                let bytes = (node.layout.n_elems(&node.shape) * 4).next_multiple_of(ALIGN);
                block_of.insert(id, blocks.len());
                blocks.push(Block {
                    bytes,
                    first: at,
                    last,
                    nodes: vec![id],
                });
            }
        }
    }
    let arena_bytes = place(&blocks, &mut storage);
    MemoryPlan {
        storage,
        arena_bytes,
    }
}

fn last_use(graph: &Graph, position: &IndexMap<NodeId, usize>, id: NodeId) -> usize {
    let users = graph.users(id).into_iter().map(|(user, _)| user);
    // What is in bands is computed in its reader's step.
    let steps = users.flat_map(|user| match graph.node(user).layout {
        Layout::Bands(_) => graph
            .users(user)
            .into_iter()
            .map(|(reader, _)| reader)
            .collect(),
        _ => vec![user],
    });
    let uses = steps.filter_map(|user| position.get(&user).copied());
    uses.max().unwrap_or(position[&id]).max(position[&id])
}

/// The operand whose storage the result of `id` takes over, if the operand dies there.
fn reusable_operand(
    graph: &Graph,
    target: &TargetInfo,
    operands: &[NodeId],
    id: NodeId,
) -> Option<NodeId> {
    let node = graph.node(id);
    let same_place = |&&operand: &&NodeId| {
        let other = graph.node(operand);
        other.layout == node.layout && other.shape == node.shape
    };
    match &node.op {
        Op::Reshape(_) => operands.first().copied(),
        // Element by element: each element is read before it is written.
        Op::Unary(_) | Op::Binary(_) => operands.iter().find(same_place).copied(),
        // A tile's residual is read just before the tile is stored, unless sums are stored there before.
        Op::Conv2d(conv) if conv.residual && !stores_partial_sums(graph, target, id, conv) => {
            operands
                .get(1)
                .filter(|o| same_place(o) && operands[0] != **o)
                .copied()
        }
        _ => None,
    }
}

/// Gives every block its offset; returns the size of the arena.
fn place(blocks: &[Block], storage: &mut IndexMap<NodeId, Storage>) -> usize {
    let mut by_size: Vec<usize> = (0..blocks.len()).collect();
    by_size.sort_by_key(|&b| (std::cmp::Reverse(blocks[b].bytes), blocks[b].first));
    let mut placed: Vec<(usize, usize)> = Vec::new();
    let mut arena_bytes = 0;
    for &b in &by_size {
        let block = &blocks[b];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&(_, p)| blocks[p].first <= block.last && block.first <= blocks[p].last)
            .map(|&(offset, p)| (offset, offset + blocks[p].bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (low, high) in taken {
            if offset + block.bytes <= low {
                break;
            }
            offset = offset.max(high);
        }
        placed.push((offset, b));
        arena_bytes = arena_bytes.max(offset + block.bytes);
        for &node in &block.nodes {
            storage.insert(
                node,
                Storage {
                    slot: 0,
                    offset_bytes: offset,
                },
            );
        }
    }
    arena_bytes
}
