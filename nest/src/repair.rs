//! The one weight that serves all levels best.
//!
//! Level `l` computes `D_l v x_l` where the dense network has the target `t`, with `D_l` the level's mask
//! and `x_l` its own inputs. The row `v` that has the least squared error over all levels, drawn a little
//! towards the trained row `w`, solves
//! ```text
//! (sum_l D_l A_l D_l + e I) v = sum_l D_l c_l + e w      A_l = cov(x_l), c_l = cov(x_l, t_l)
//! ```
//! Every row has masks of its own and so a matrix of its own, which no row's share of the time allows to
//! factor where rows are long. Products with the `A_l` are the same for all rows: conjugate gradients from `w`
//! on, one per row and all in step, need nothing else.
//!
//! A level's errors count by the inverse of its density (in `A_l` and `c_l`): where fewer weights are left
//! they can make up for less.

use crate::moments::Moments;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Steps of the conjugate gradients, at most.
const MAX_STEPS: usize = 40;

/// A row is solved when its residual has fallen to this share of the first one.
const TOLERANCE: f64 = 1e-3;

/// The repaired rows of one channel group, `[rows, columns]`. `moments` are those of the levels, L0
/// first, of `densities`; `level_of [rows, columns]` counts in them; `weights` are the trained rows.
pub(crate) fn repair(
    moments: &[Moments],
    densities: &[f64],
    level_of: &[u8],
    weights: &[f32],
    ridge: f64,
) -> Vec<f32> {
    let n_columns = moments[0].covariance.nrows();
    let system = System {
        moments,
        importance: densities
            .iter()
            .map(|d| (densities[0] / d) as f32)
            .collect(),
        level_of,
        pull: (ridge * moments[0].mean_variance()).max(1e-12) as f32,
        n_columns,
    };
    let mut v = weights.to_vec();
    let mut image = system.product(&v);
    let mut residual = system.right(weights);
    residual
        .iter_mut()
        .zip(&image)
        .for_each(|(b, image)| *b -= image);
    let diagonal = system.diagonal();
    let precondition = |residual: &[f32]| -> Vec<f32> {
        residual.iter().zip(&diagonal).map(|(r, d)| r / d).collect()
    };
    let mut step = precondition(&residual);
    let mut sizes = dots(&residual, &step, n_columns);
    let goals: Vec<f64> = sizes
        .iter()
        .map(|size| size * TOLERANCE * TOLERANCE)
        .collect();
    for _ in 0..MAX_STEPS {
        if sizes.iter().zip(&goals).all(|(size, goal)| size <= goal) {
            break;
        }
        image = system.product(&step);
        let curvatures = dots(&step, &image, n_columns);
        let lengths: Vec<f32> = (sizes.iter().zip(&curvatures).zip(&goals))
            .map(
                |((size, curvature), goal)| match size > goal && *curvature > 0.0 {
                    true => (size / curvature) as f32,
                    false => 0.0,
                },
            )
            .collect();
        add_rows(&mut v, &step, n_columns, &lengths);
        let back: Vec<f32> = lengths.iter().map(|length| -length).collect();
        add_rows(&mut residual, &image, n_columns, &back);
        let mut next = precondition(&residual);
        let new_sizes = dots(&residual, &next, n_columns);
        let turns: Vec<f32> = (new_sizes.iter().zip(&sizes))
            .map(|(new, old)| match *old > 0.0 {
                true => (new / old) as f32,
                false => 0.0,
            })
            .collect();
        add_rows(&mut next, &step, n_columns, &turns);
        (step, sizes) = (next, new_sizes);
    }
    v
}

/// The equations of all rows; vectors are `[rows, columns]`.
struct System<'a> {
    moments: &'a [Moments],
    /// Per level.
    importance: Vec<f32>,
    level_of: &'a [u8],
    pull: f32,
    n_columns: usize,
}

impl System<'_> {
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
                Par::rayon(0),
            );
            self.add_kept(level, &mut out, &image);
        }
        out
    }

    /// The right side: `sum_l D_l c_l + e w`.
    fn right(&self, weights: &[f32]) -> Vec<f32> {
        let mut out: Vec<f32> = weights.iter().map(|w| self.pull * w).collect();
        for (level, moments) in self.moments.iter().enumerate() {
            let cross: &Mat<f32> = &moments.cross;
            let cross = (0..cross.ncols()).flat_map(|row| cross.col_as_slice(row));
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
    a.par_chunks_exact(n_columns)
        .zip(b.par_chunks_exact(n_columns))
        .map(dot)
        .collect()
}

/// `a += factor * b` per row.
fn add_rows(a: &mut [f32], b: &[f32], n_columns: usize, factors: &[f32]) {
    a.par_chunks_exact_mut(n_columns)
        .zip(b.par_chunks_exact(n_columns))
        .zip(factors)
        .for_each(|((a, b), factor)| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += factor * b);
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::linalg::solvers::Solve;

    /// With one level and a full mask the repair is linear regression.
    #[test]
    fn regression() {
        let covariance = Mat::from_fn(2, 2, |i, j| if i == j { 2.0f32 } else { 1.0 });
        let cross = Mat::from_fn(2, 1, |i, _| [4.0f32, 5.0][i]);
        let moments = [Moments { covariance, cross }];
        let v = repair(&moments, &[1.0], &[0, 0], &[9.0, 9.0], 1e-9);
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
        let v = repair(&moments, &[0.5, 1.0], &[0, 1], &[0.0, 0.0], 1e-9);
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
        let found = repair(&moments, &densities, &level_of, &weights, ridge);

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
                    (f64::from(*found) - expected).abs() < 5e-3,
                    "{row} {i}: {found} {expected}"
                );
            }
        }
    }
}
