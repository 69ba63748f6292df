//! The one weight that serves all levels best.
//!
//! Level `l` computes `D_l v x_l` where the dense network has the target `t`, with `D_l` the level's mask
//! and `x_l` its own inputs. The row `v` that has the least squared error over all levels, drawn a little
//! towards the trained row `w`, solves
//! ```text
//! (sum_l D_l A_l D_l + e I) v = sum_l D_l c_l + e w      A_l = cov(x_l), c_l = cov(x_l, t_l)
//! ```
//! Masks nest, so element `(i, j)` of the left side is a sum over the levels from the higher of the two
//! columns' levels on: a lookup in sums that are made once. Rows of a block share the factors.
//!
//! A level's errors count by the inverse of its density (in `A_l` and `c_l`): where fewer weights are left
//! they can make up for less.

use crate::moments::Moments;
use faer::linalg::solvers::Solve;
use faer::{Mat, Scale, Side};
use rayon::prelude::*;

/// The repaired rows of one channel group, `[rows, columns]`. `moments` are those of the levels, L0
/// first, of `densities`; `level_of [rows, columns]` counts in them; `groups` name rows with equal masks;
/// `weights` are the trained rows.
pub(crate) fn repair(
    mut moments: Vec<Moments>,
    densities: &[f64],
    level_of: &[u8],
    groups: &[Vec<usize>],
    weights: &[f32],
    ridge: f64,
) -> Vec<f32> {
    let columns = moments[0].covariance.nrows();
    let pull = (ridge * moments[0].mean_variance()).max(1e-12);
    for (moments, density) in moments.iter_mut().zip(densities) {
        let importance = Scale((densities[0] / density) as f32);
        moments.covariance *= importance;
        moments.cross *= importance;
    }
    for level in (0..moments.len() - 1).rev() {
        let (low, high) = moments.split_at_mut(level + 1);
        let (low, high) = (&mut low[level], &high[0]);
        low.covariance += &high.covariance;
        low.cross += &high.cross;
    }
    let moments = &moments;
    let solved: Vec<(usize, Vec<f32>)> = groups
        .par_iter()
        .flat_map_iter(|group| {
            let levels = &level_of[group[0] * columns..][..columns];
            let active: Vec<usize> = (0..columns)
                .filter(|&c| usize::from(levels[c]) < moments.len())
                .collect();
            let m = active.len();
            let matrix = Mat::from_fn(m, m, |i, j| {
                let (a, b) = (active[i], active[j]);
                let level = usize::from(levels[a].max(levels[b]));
                let extra = if i == j { pull } else { 0.0 };
                f64::from(moments[level].covariance[(a, b)]) + extra
            });
            let right = Mat::from_fn(m, group.len(), |i, r| {
                let (column, row) = (active[i], group[r]);
                let cross = moments[usize::from(levels[column])].cross[(column, row)];
                f64::from(cross) + pull * f64::from(weights[row * columns + column])
            });
            let solution = matrix.llt(Side::Lower).map(|llt| llt.solve(&right));
            let rows: Vec<(usize, Vec<f32>)> = group
                .iter()
                .enumerate()
                .map(|(r, &row)| {
                    let mut values = weights[row * columns..][..columns].to_vec();
                    // Where rounding left nothing to solve the trained weights stay.
                    if let Ok(solution) = &solution {
                        for (i, &column) in active.iter().enumerate() {
                            values[column] = solution[(i, r)] as f32;
                        }
                    }
                    (row, values)
                })
                .collect();
            rows
        })
        .collect();
    let mut repaired = weights.to_vec();
    for (row, values) in solved {
        repaired[row * columns..][..columns].copy_from_slice(&values);
    }
    repaired
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With one level and a full mask the repair is linear regression.
    #[test]
    fn regression() {
        let covariance = Mat::from_fn(2, 2, |i, j| if i == j { 2.0f32 } else { 1.0 });
        let cross = Mat::from_fn(2, 1, |i, _| [4.0f32, 5.0][i]);
        let moments = vec![Moments { covariance, cross }];
        let v = repair(moments, &[1.0], &[0, 0], &[vec![0]], &[9.0, 9.0], 1e-9);
        assert!(
            (v[0] - 1.0).abs() < 1e-4 && (v[1] - 2.0).abs() < 1e-4,
            "{v:?}"
        );
    }

    /// A column that only the upper level has is fitted to that level alone.
    #[test]
    fn two_levels() {
        let identity = || Mat::from_fn(2, 2, |i, j| if i == j { 1.0f32 } else { 0.0 });
        let cross = |a: f32, b: f32| Mat::from_fn(2, 1, |i, _| [a, b][i]);
        let moments = vec![
            Moments {
                covariance: identity(),
                cross: cross(1.0, 100.0),
            },
            Moments {
                covariance: identity(),
                cross: cross(3.0, 7.0),
            },
        ];
        let v = repair(moments, &[0.5, 1.0], &[0, 1], &[vec![0]], &[0.0, 0.0], 1e-9);
        assert!(
            (v[0] - 5.0 / 3.0).abs() < 1e-4 && (v[1] - 7.0).abs() < 1e-4,
            "{v:?}"
        );
    }
}
