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
use std::ops::Range;

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

/// Columns that are eliminated together, at most, in whole blocks. Elimination takes cubic time, so the columns
/// of wider layers are eliminated in parts that know nothing of each other. That costs accuracy where little is
/// left: ResNet-20 with four parts in its widest layers lost 1.6 points at density 0.2, 0.4 at 0.3 and nothing above (one
/// draw, training images).
const MAX_PART: usize = 1152;

/// The same for single rows, which only choose their groups.
const MAX_ROW_PART: usize = 576;

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
        let parts_of = |max: usize| {
            let channels = recipe.block.size(1).min(weight.shape[1]);
            let unit = channels * weight.shape[2..].iter().product::<usize>();
            moments.map(|moments| parts(&moments[channel_group], unit, max, recipe.damping))
        };
        let rows = &rows[first..first + per];
        let blocks = (ranked.block_of.as_slice(), n_block_columns);
        let plain = grouping::consecutive(per, recipe.block.rows());
        // Kernels of fully connected layers store whole vectors of rows that follow each other.
        let may_regroup = recipe.groups_rows && layer.conv(graph).is_some();
        let groups = match may_regroup && recipe.block.rows() > 1 {
            true => {
                let parts = parts_of(MAX_ROW_PART);
                let saliencies: Vec<Vec<f32>> = rows
                    .par_iter()
                    .map(|row| losses(std::slice::from_ref(row), parts.as_deref(), blocks))
                    .collect();
                grouping::by_similarity(&saliencies, recipe.block.rows(), &recipe.densities)
            }
            false => plain.clone(),
        };
        ranked.is_regrouped |= groups != plain;
        let parts = parts_of(MAX_PART);
        let scores: Vec<Vec<f32>> = groups
            .par_iter()
            .map(|group| {
                let rows: Vec<Vec<f32>> = group.iter().map(|&r| rows[r].clone()).collect();
                losses(&rows, parts.as_deref(), blocks)
            })
            .collect();
        ranked.scores.extend(scores.into_iter().flatten());
        let numbered = |group: Vec<usize>| group.iter().map(|r| first + r).collect();
        ranked.groups.extend(groups.into_iter().map(numbered));
    }
    ranked
}

/// Loss at which every block of a group of rows goes: by elimination, or its sum of squares without moments.
fn losses(
    rows: &[Vec<f32>],
    parts: Option<&[Part]>,
    (block_of, n_blocks): (&[usize], usize),
) -> Vec<f32> {
    let mut losses = vec![0.0; n_blocks];
    let Some(parts) = parts else {
        for row in rows {
            for (w, block) in row.iter().zip(block_of) {
                losses[*block] += w * w;
            }
        }
        return losses;
    };
    for part in parts {
        let columns = part.columns.clone();
        let rows: Vec<Vec<f32>> = rows
            .iter()
            .map(|row| row[columns.clone()].to_vec())
            .collect();
        let (first, last) = (block_of[columns.start], block_of[columns.end - 1]);
        let block_of: Vec<usize> = block_of[columns]
            .iter()
            .map(|block| block - first)
            .collect();
        let n = last - first + 1;
        let found = elimination::losses(&part.inverse, &rows, &block_of, n);
        losses[first..=last].copy_from_slice(&found);
    }
    losses
}

/// Columns that are eliminated together.
struct Part {
    columns: Range<usize>,
    /// Inverse of their second moments, `[K, K]`.
    inverse: Vec<f32>,
}

/// Splits columns into equal parts of at most `max` columns, whole multiples of `unit` if that is less.
fn parts(moments: &Moments, unit: usize, max: usize, damping: f64) -> Vec<Part> {
    let k = moments.covariance.nrows();
    let n_units = k.div_ceil(unit);
    let n_parts = n_units.div_ceil((max / unit).max(1));
    let size = n_units.div_ceil(n_parts) * unit;
    // A layer whose inputs never change has no use for any weight; any positive number does.
    let extra = (damping * moments.mean_variance()).max(1e-12);
    (0..k)
        .step_by(size)
        .map(|first| {
            let columns = first..(first + size).min(k);
            let n = columns.len();
            let covariance = moments.covariance.submatrix(first, first, n, n);
            Part {
                columns,
                inverse: damped_inverse(covariance, extra),
            }
        })
        .collect()
}

/// Inverse of `covariance` with `extra` added to its diagonal, `[K, K]`.
fn damped_inverse(covariance: MatRef<'_, f32>, extra: f64) -> Vec<f32> {
    let k = covariance.nrows();
    let h = Mat::from_fn(k, k, |i, j| {
        f64::from(covariance[(i, j)]) + if i == j { extra } else { 0.0 }
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

    fn diagonal_moments(variances: &[f32]) -> Moments {
        let k = variances.len();
        Moments {
            covariance: Mat::from_fn(k, k, |i, j| if i == j { variances[i] } else { 0.0 }),
            cross: Mat::zeros(k, 0),
        }
    }

    #[test]
    fn parts_are_whole_blocks() {
        let moments = diagonal_moments(&[1.0; 11]);
        let ends = |unit: usize, max: usize| -> Vec<usize> {
            let parts = parts(&moments, unit, max, 0.0);
            parts.into_iter().map(|part| part.columns.end).collect()
        };
        assert_eq!(ends(1, 11), [11]);
        assert_eq!(ends(1, 5), [4, 8, 11]);
        assert_eq!(ends(2, 5), [4, 8, 11]);
        assert_eq!(ends(8, 5), [8, 11]);
    }

    /// Columns that have nothing to do with each other may be eliminated apart.
    #[test]
    fn parts_of_independent_columns() {
        let moments = diagonal_moments(&[4.0, 1.0, 2.0, 3.0, 1.0]);
        let rows = [vec![1.0, -3.0, 0.5, 2.0, 1.5], vec![0.5; 5]];
        let blocks = (&[0, 0, 1, 2, 2][..], 3);
        let whole = losses(&rows, Some(&parts(&moments, 1, 5, 0.0)), blocks);
        let apart = losses(&rows, Some(&parts(&moments, 1, 3, 0.0)), blocks);
        assert_eq!(whole.len(), 3);
        for (block, (whole, apart)) in whole.iter().zip(&apart).enumerate() {
            assert!((whole - apart).abs() < 1e-4, "{block}: {whole} {apart}");
        }
        let sum = 4.0 * 1.25 + 1.0 * 9.25;
        assert!((whole[0] - sum).abs() < 1e-4, "{whole:?}");
    }
}
