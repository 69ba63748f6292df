//! The one weight that serves all levels best.
//!
//! Level `l` computes `D_l v x_l` where the dense network has the target `t`, with `D_l` the level's mask
//! and `x_l` its own inputs. The row `v` that has the least squared error over all levels, drawn a little
//! towards the trained row `w`, solves
//! ```text
//! (sum_l D_l A_l D_l + e I) v = sum_l D_l c_l + e w      A_l = cov(x_l), c_l = cov(x_l, t_l)
//! ```
//! Every row has masks of its own and so a matrix of its own, which no row's share of the time allows to
//! factor where rows are long. Conjugate gradients from `w` on only need products with the `A_l`, which are the
//! same for all rows.
//!
//! A level's errors count by the inverse of its density (in `A_l` and `c_l`): where fewer weights are left
//! they can make up for less.

use crate::moments::Moments;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Steps of the conjugate gradients, at most.
const MAX_STEPS: usize = 40;

/// Rows that one thread takes at a time.
const PANEL: usize = 64;

/// A row is solved when its residual has fallen to this share of the first one. Accuracy of ResNet-20 on
/// CIFAR-10 (one draw) was the same to a few hundredths of a point at a tenth and at twice of it.
pub(crate) const TOLERANCE: f64 = 1e-2;

/// The repaired rows of one channel group, `[rows, columns]`. `moments` are those of the levels, L0
/// first, of `densities`; `level_of [rows, columns]` counts in them; `weights` are the trained rows.
pub(crate) fn repair(
    moments: &[Moments],
    densities: &[f64],
    level_of: &[u8],
    weights: &[f32],
    ridge: f64,
    tolerance: f64,
) -> Vec<f32> {
    let k = moments[0].covariance.nrows();
    let importance: Vec<f32> = densities
        .iter()
        .map(|d| (densities[0] / d) as f32)
        .collect();
    let pull = (ridge * moments[0].mean_variance()).max(1e-12) as f32;
    let mut repaired = weights.to_vec();
    repaired
        .par_chunks_mut(PANEL * k)
        .zip(level_of.par_chunks(PANEL * k))
        .enumerate()
        .for_each(|(at, (rows, level_of))| {
            let system = System {
                moments,
                importance: &importance,
                level_of,
                pull,
                n_columns: k,
            };
            let mut right = system.right(at * PANEL, rows);
            system.solve(rows, &mut right, tolerance);
        });
    repaired
}

/// The equations of some rows; vectors are `[rows, columns]`.
struct System<'a> {
    moments: &'a [Moments],
    /// Per level.
    importance: &'a [f32],
    level_of: &'a [u8],
    pull: f32,
    n_columns: usize,
}

impl System<'_> {
    /// Conjugate gradients with the diagonal as preconditioner: `v` from a first guess to the solution,
    /// `residual` from the right side to what is left of it, by `tolerance` or less of what it was with `v`.
    fn solve(&self, v: &mut [f32], residual: &mut [f32], tolerance: f64) {
        let n_columns = self.n_columns;
        let mut image = self.product(v);
        residual
            .iter_mut()
            .zip(&image)
            .for_each(|(b, image)| *b -= image);
        let diagonal = self.diagonal();
        let precondition = |residual: &[f32]| -> Vec<f32> {
            residual.iter().zip(&diagonal).map(|(r, d)| r / d).collect()
        };
        let mut step = precondition(residual);
        let mut sizes = dots(residual, &step, n_columns);
        let goals: Vec<f64> = sizes.iter().map(|s| s * tolerance * tolerance).collect();
        for _ in 0..MAX_STEPS {
            if sizes.iter().zip(&goals).all(|(size, goal)| size <= goal) {
                break;
            }
            image = self.product(&step);
            let lengths = ratios(&sizes, &dots(&step, &image, n_columns));
            add_rows(v, &step, n_columns, |row| lengths[row]);
            add_rows(residual, &image, n_columns, |row| -lengths[row]);
            let mut next = precondition(residual);
            let new_sizes = dots(residual, &next, n_columns);
            let turns = ratios(&new_sizes, &sizes);
            add_rows(&mut next, &step, n_columns, |row| turns[row]);
            (step, sizes) = (next, new_sizes);
        }
    }

    /// The left side: `sum_l D_l A_l D_l v + e v`.
    fn product(&self, v: &[f32]) -> Vec<f32> {
        let (k, n_rows) = (self.n_columns, v.len() / self.n_columns);
        let mut out: Vec<f32> = v.iter().map(|v| self.pull * v).collect();
        let mut image = vec![0.0; v.len()];
        for (level, moments) in self.moments.iter().enumerate() {
            let kept = self.kept(level, v);
            matmul(
                MatMut::from_column_major_slice_mut(&mut image, k, n_rows),
                Accum::Replace,
                &moments.covariance,
                MatRef::from_column_major_slice(&kept, k, n_rows),
                self.importance[level],
                Par::Seq,
            );
            self.add_kept(level, &mut out, &image);
        }
        out
    }

    /// The right side: `sum_l D_l c_l + e w`; `weights` from `first_row` on.
    fn right(&self, first_row: usize, weights: &[f32]) -> Vec<f32> {
        let rows = first_row..first_row + weights.len() / self.n_columns;
        let mut out: Vec<f32> = weights.iter().map(|w| self.pull * w).collect();
        for (level, moments) in self.moments.iter().enumerate() {
            let cross = rows.clone().flat_map(|row| moments.cross.col_as_slice(row));
            let cross: Vec<f32> = cross.map(|c| c * self.importance[level]).collect();
            self.add_kept(level, &mut out, &cross);
        }
        out
    }

    /// Diagonal of the left side.
    fn diagonal(&self) -> Vec<f32> {
        let n_rows = self.level_of.len() / self.n_columns;
        let mut out = vec![self.pull; self.level_of.len()];
        for (level, moments) in self.moments.iter().enumerate() {
            let diagonal = moments.covariance.diagonal();
            let diagonal = diagonal.column_vector().iter();
            let row: Vec<f32> = diagonal.map(|a| a * self.importance[level]).collect();
            self.add_kept(level, &mut out, &row.repeat(n_rows));
        }
        out
    }

    /// `D_l v`
    fn kept(&self, level: usize, v: &[f32]) -> Vec<f32> {
        let pairs = v.iter().zip(self.level_of);
        let keep = |(&v, &first): (&f32, &u8)| if usize::from(first) <= level { v } else { 0.0 };
        pairs.map(keep).collect()
    }

    /// `out += D_l v`
    fn add_kept(&self, level: usize, out: &mut [f32], v: &[f32]) {
        for ((out, v), &first) in out.iter_mut().zip(v).zip(self.level_of) {
            if usize::from(first) <= level {
                *out += v;
            }
        }
    }
}

/// Scalar product per row.
fn dots(a: &[f32], b: &[f32], n_columns: usize) -> Vec<f64> {
    let dot = |(a, b): (&[f32], &[f32])| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    a.chunks_exact(n_columns)
        .zip(b.chunks_exact(n_columns))
        .map(dot)
        .collect()
}

/// `a / b`, zero where rounding has left nothing to divide by.
fn ratios(a: &[f64], b: &[f64]) -> Vec<f32> {
    let ratio = |(a, b): (&f64, &f64)| if *b > 0.0 { (a / b) as f32 } else { 0.0 };
    a.iter().zip(b).map(ratio).collect()
}

/// `a += factor * b` per row.
fn add_rows(a: &mut [f32], b: &[f32], n_columns: usize, factor: impl Fn(usize) -> f32) {
    let rows = a.chunks_exact_mut(n_columns).zip(b.chunks_exact(n_columns));
    for (row, (a, b)) in rows.enumerate() {
        let factor = factor(row);
        a.iter_mut().zip(b).for_each(|(a, b)| *a += factor * b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;
    use faer::linalg::solvers::Solve;

    /// With one level and a full mask the repair is linear regression.
    #[test]
    fn regression() {
        let covariance = Mat::from_fn(2, 2, |i, j| if i == j { 2.0f32 } else { 1.0 });
        let cross = Mat::from_fn(2, 1, |i, _| [4.0f32, 5.0][i]);
        let moments = [Moments { covariance, cross }];
        let v = repair(&moments, &[1.0], &[0, 0], &[9.0, 9.0], 1e-9, 1e-6);
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
        let moments = [
            Moments {
                covariance: identity(),
                cross: cross(1.0, 100.0),
            },
            Moments {
                covariance: identity(),
                cross: cross(3.0, 7.0),
            },
        ];
        let v = repair(&moments, &[0.5, 1.0], &[0, 1], &[0.0, 0.0], 1e-9, 1e-6);
        assert!(
            (v[0] - 5.0 / 3.0).abs() < 1e-4 && (v[1] - 7.0).abs() < 1e-4,
            "{v:?}"
        );
    }

    /// Three levels and rows with masks of their own, against the matrix of every row.
    #[test]
    fn equals_the_definition() {
        let (k, n_rows, densities) = (24, 3, [0.25, 0.5, 1.0]);
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as f32 / (1u32 << 31) as f32 - 0.5
        };
        let moments: Vec<Moments> = (0..3)
            .map(|_| {
                let x = Mat::from_fn(k, 2 * k, |_, _| random());
                Moments {
                    covariance: &x * x.transpose(),
                    cross: Mat::from_fn(k, n_rows, |_, _| random()),
                }
            })
            .collect();
        // Some weights are at no level.
        let level_of: Vec<u8> = (0..k * n_rows).map(|i| (i * 7 % 11 % 4) as u8).collect();
        let weights: Vec<f32> = (0..k * n_rows).map(|_| random()).collect();
        let ridge = 0.1;
        let found = repair(&moments, &densities, &level_of, &weights, ridge, 1e-6);

        let pull = ridge * moments[0].mean_variance();
        for row in 0..n_rows {
            let levels = &level_of[row * k..][..k];
            let trained = &weights[row * k..][..k];
            let sum = |a: usize, b: usize, value: &dyn Fn(&Moments) -> f32| -> f64 {
                let first = usize::from(levels[a].max(levels[b])).min(3);
                let term = |l: usize| 0.25 / densities[l] * f64::from(value(&moments[l]));
                (first..3).map(term).sum()
            };
            let left = Mat::from_fn(k, k, |i, j| {
                sum(i, j, &|m| m.covariance[(i, j)]) + if i == j { pull } else { 0.0 }
            });
            let right = Mat::from_fn(k, 1, |i, _| {
                sum(i, i, &|m| m.cross[(i, row)]) + pull * f64::from(trained[i])
            });
            let expected = left.partial_piv_lu().solve(&right);
            for (i, found) in found[row * k..][..k].iter().enumerate() {
                let expected = expected[(i, 0)];
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-3,
                    "{row} {i}: {found} {expected}"
                );
            }
        }
    }
}
