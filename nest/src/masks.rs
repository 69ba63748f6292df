//! From ranked blocks to the level of every weight: a level keeps a prefix of the ranking.

use crate::layers::Layer;
use crate::ranking::RankedBlocks;

/// First level that keeps each weight, `[rows, columns]`; `densities.len()` where none does.
pub(crate) fn levels(layer: &Layer, ranked: &RankedBlocks, densities: &[f64]) -> Vec<u8> {
    let n_blocks = ranked.scores.len();
    let mut order: Vec<usize> = (0..n_blocks).collect();
    // Equal scores keep their order, so that the result does not depend on the sort.
    order.sort_by(|&a, &b| ranked.scores[b].total_cmp(&ranked.scores[a]));
    let never = densities.len() as u8;
    let mut level_of = vec![never; n_blocks];
    let mut kept = 0;
    for (level, density) in densities.iter().enumerate() {
        let n = ((density * n_blocks as f64).round() as usize).clamp(1, n_blocks);
        for &block in &order[kept.min(n)..n] {
            level_of[block] = level as u8;
        }
        kept = kept.max(n);
    }
    let mut values = vec![never; layer.rows * layer.columns];
    for (group, rows) in ranked.groups.iter().enumerate() {
        for &row in rows {
            let row = &mut values[row * layer.columns..][..layer.columns];
            for (value, block) in row.iter_mut().zip(&ranked.block_of) {
                *value = level_of[group * ranked.n_block_columns + block];
            }
        }
    }
    values
}
