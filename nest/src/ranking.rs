//! What every block of a layer's weight is worth.

use crate::elimination;
use crate::grouping;
use crate::layers::Layer;
use crate::moments::Moments;
use crate::recipe::{BlockShape, Recipe};
use condensec_ir::Graph;
use faer::Side;
use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, MatRef};
use rayon::prelude::*;

/// The blocks of a weight, and their scores.
#[derive(Debug, Clone)]
pub(crate) struct RankedBlocks {
    /// Rows of every group; each group has one block per block column.
    pub groups: Vec<Vec<usize>>,
    /// Whether groups are not simply rows that follow each other.
    pub is_regrouped: bool,
    /// Block column of every column.
    pub block_of: Vec<usize>,
    /// Number of block columns.
    pub n_block_columns: usize,
    /// `[groups][block columns]`, the larger the longer it is kept.
    pub scores: Vec<f32>,
}

/// Up to this many columns rows are compared by what their own elimination says, which is measurably
/// better; it takes cubic time per row, so wider layers are content with the cost of each block alone.
const MAX_ELIMINATED_COLUMNS: usize = 1200;

/// Block column of every column of a weight `[rows, ..]`, and their number.
fn block_columns(weight_shape: &[usize], block: &BlockShape) -> (Vec<usize>, usize) {
    let sizes = &weight_shape[1..];
    let grid: Vec<usize> = sizes
        .iter()
        .enumerate()
        .map(|(axis, size)| size.div_ceil(block.size(axis + 1)))
        .collect();
    let n_columns: usize = sizes.iter().product();
    let of = (0..n_columns).map(|column| {
        let mut rest = column;
        let mut at = 0;
        let mut stride = 1;
        for axis in (0..sizes.len()).rev() {
            at += rest % sizes[axis] / block.size(axis + 1) * stride;
            rest /= sizes[axis];
            stride *= grid[axis];
        }
        at
    });
    (of.collect(), grid.iter().product())
}

/// Ranks the blocks of `layer`. `moments` are those of the dense network, one per channel group; none
/// for a ranking by magnitude. Rows count as they do behind their batch norm.
pub(crate) fn rank(
    graph: &Graph,
    layer: &Layer,
    recipe: &Recipe,
    moments: Option<&[Moments]>,
) -> RankedBlocks {
    let weight = graph.tensor(layer.weight);
    let (block_of, n_block_columns) = block_columns(&weight.shape, &recipe.block);
    let factors = layer.norm_factors(graph);
    let row = |r: usize| -> Vec<f32> {
        let values = &weight.data[r * layer.columns..][..layer.columns];
        values.iter().map(|w| w * factors[r]).collect()
    };
    let rows: Vec<Vec<f32>> = (0..layer.rows).map(row).collect();
    let mut ranked = RankedBlocks {
        groups: Vec::new(),
        is_regrouped: false,
        block_of,
        n_block_columns,
        scores: Vec::new(),
    };
    for channel_group in 0..layer.channel_groups {
        let per = layer.rows_per_group();
        let first = channel_group * per;
        let inverse =
            moments.map(|moments| damped_inverse(&moments[channel_group], recipe.damping));
        let rows = &rows[first..first + per];
        let blocks = (ranked.block_of.as_slice(), n_block_columns);
        let plain = grouping::consecutive(per, recipe.block.rows());
        // Kernels of fully connected layers store whole vectors of rows that follow each other.
        let may_regroup = recipe.groups_rows && layer.conv(graph).is_some();
        let groups = match may_regroup && recipe.block.rows() > 1 {
            true => {
                let saliencies: Vec<Vec<f32>> = rows
                    .par_iter()
                    .map(|row| match &inverse {
                        Some(inverse) if layer.columns <= MAX_ELIMINATED_COLUMNS => {
                            let row = std::slice::from_ref(row);
                            elimination::losses(inverse, row, blocks.0, blocks.1)
                        }
                        inverse => saliency(row, inverse.as_deref(), blocks),
                    })
                    .collect();
                grouping::by_similarity(&saliencies, recipe.block.rows(), &recipe.densities)
            }
            false => plain.clone(),
        };
        ranked.is_regrouped |= groups != plain;
        let scores: Vec<Vec<f32>> = groups
            .par_iter()
            .map(|group| {
                let rows: Vec<Vec<f32>> = group.iter().map(|&r| rows[r].clone()).collect();
                match &inverse {
                    Some(inverse) => elimination::losses(inverse, &rows, blocks.0, blocks.1),
                    None => {
                        let mut scores = vec![0.0; n_block_columns];
                        for row in &rows {
                            let row = saliency(row, None, blocks);
                            scores
                                .iter_mut()
                                .zip(row)
                                .for_each(|(score, s)| *score += s);
                        }
                        scores
                    }
                }
            })
            .collect();
        ranked.scores.extend(scores.into_iter().flatten());
        let numbered = |group: Vec<usize>| group.iter().map(|r| first + r).collect();
        ranked.groups.extend(groups.into_iter().map(numbered));
    }
    ranked
}

/// Loss of every block of one row if it alone went: `w_j^2 / G_jj`, or `w_j^2` without moments.
fn saliency(
    row: &[f32],
    inverse: Option<&[f32]>,
    (block_of, n_blocks): (&[usize], usize),
) -> Vec<f32> {
    let n = row.len();
    let mut sums = vec![0.0; n_blocks];
    for (column, (w, block)) in row.iter().zip(block_of).enumerate() {
        let pivot = inverse.map_or(1.0, |inverse| inverse[column * n + column]);
        sums[*block] += w * w / pivot.max(f32::MIN_POSITIVE);
    }
    sums
}

/// Inverse of the second moments plus `damping` times their mean diagonal, `[K, K]`.
fn damped_inverse(moments: &Moments, damping: f64) -> Vec<f32> {
    let k = moments.covariance.nrows();
    // A layer whose inputs never change has no use for any weight; any positive number does.
    let extra = (damping * moments.mean_variance()).max(1e-12);
    let h = Mat::from_fn(k, k, |i, j| {
        f64::from(moments.covariance[(i, j)]) + if i == j { extra } else { 0.0 }
    });
    let inverse = match h.llt(Side::Lower) {
        Ok(llt) => llt.inverse(),
        // Rounding made it indefinite: the diagonal is what is certain.
        Err(_) => Mat::from_fn(k, k, |i, j| if i == j { 1.0 / h[(i, i)] } else { 0.0 }),
    };
    let mut out = vec![0.0; k * k];
    for (j, column) in out.chunks_exact_mut(k).enumerate() {
        let source: MatRef<'_, f64> = inverse.as_ref();
        column
            .iter_mut()
            .enumerate()
            .for_each(|(i, value)| *value = source[(i, j)] as f32);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_blocks() {
        let (of, n) = block_columns(&[8, 3, 1, 2], &BlockShape(vec![4, 2]));
        assert_eq!((of, n), (vec![0, 1, 0, 1, 2, 3], 4));
        let (of, n) = block_columns(&[8, 2, 2, 2], &BlockShape(vec![1, 1, 2, 2]));
        assert_eq!((of, n), (vec![0, 0, 0, 0, 1, 1, 1, 1], 2));
    }
}
