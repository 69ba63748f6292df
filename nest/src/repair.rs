//! The one weight that serves all levels best.
//!
//! Level `l` computes `s_l D_l v x_l` where the dense network has the target `t`, with `D_l` the level's mask,
//! `x_l` its own inputs and `s_l` the scale that gives its results the deviation of `t` afterwards (see
//! [`crate::statistics`]; 1 where levels get no scale). The row `v` that has the least squared error over all
//! levels, weighted by `a_l` and drawn a little towards the trained row `w`, solves
//! ```text
//! (sum_l a_l s_l^2 D_l A_l D_l + e I) v = sum_l a_l s_l D_l c_l + e w      A_l = cov(x_l), c_l = cov(x_l, t_l)
//! ```
//! The scales follow from `v` in turn: they are taken from the solution with scales of 1, and the equations are
//! solved once more. A level that makes up for lost weights by its scale then asks less of the weights that it
//! shares. (Accuracy of ResNet-20 on CIFAR-10, blocks of 4, density 0.2: half a point more; three more turns
//! brought nothing.)
//!
//! Every row has masks of its own and so a matrix of its own, which no row's share of the time allows to
//! factor where rows are long. Conjugate gradients from `w` on only need products with the `A_l`, which are the
//! same for all rows.

use crate::moments::Moments;
use crate::statistics::matching_scale;
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

/// What the rows of one channel group are fitted to.
pub(crate) struct Fit<'a> {
    /// Of the levels, L0 first.
    pub moments: &'a [Moments],
    /// How much the errors of each level count.
    pub importance: &'a [f32],
    /// The lowest level of every weight, `[rows, columns]`, counted in `moments`.
    pub level_of: &'a [u8],
    /// The trained rows, `[rows, columns]`.
    pub weights: &'a [f32],
    /// Deviation that every level's results are scaled to afterwards, per row; `None` if they are not.
    pub deviations: Option<&'a [f64]>,
    /// Pull towards the trained rows, as a share of the mean variance of L0's inputs.
    pub ridge: f64,
}

impl Fit<'_> {
    /// The repaired rows, `[rows, columns]`.
    pub fn solve(&self, tolerance: f64) -> Vec<f32> {
        let k = self.moments[0].covariance.nrows();
        let pull = (self.ridge * self.moments[0].mean_variance()).max(1e-12) as f32;
        let mut repaired = self.weights.to_vec();
        repaired
            .par_chunks_mut(PANEL * k)
            .zip(self.level_of.par_chunks(PANEL * k))
            .enumerate()
            .for_each(|(at, (rows, level_of))| {
                let first = at * PANEL;
                let n_rows = rows.len() / k;
                let mut system = System {
                    moments: self.moments,
                    importance: self.importance,
                    level_of,
                    scales: vec![1.0; self.moments.len() * n_rows],
                    pull,
                    n_columns: k,
                };
                let trained = rows.to_vec();
                system.solve(rows, system.right(first, &trained), tolerance);
                if let Some(deviations) = self.deviations {
                    system.match_deviations(rows, &deviations[first..first + n_rows]);
                    system.solve(rows, system.right(first, &trained), tolerance);
                }
            });
        repaired
    }
}

/// The equations of some rows; vectors are `[rows, columns]`.
struct System<'a> {
    moments: &'a [Moments],
    /// Per level.
    importance: &'a [f32],
    level_of: &'a [u8],
    /// `[levels, rows]`
    scales: Vec<f32>,
    pull: f32,
    n_columns: usize,
}

impl System<'_> {
    /// Conjugate gradients with the diagonal as preconditioner: `v` from a first guess to the solution,
    /// `residual` from the right side to what is left of it, by `tolerance` or less of what it was with `v`.
    fn solve(&self, v: &mut [f32], mut residual: Vec<f32>, tolerance: f64) {
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
        let mut step = precondition(&residual);
        let mut sizes = dots(&residual, &step, n_columns);
        let goals: Vec<f64> = sizes.iter().map(|s| s * tolerance * tolerance).collect();
        for _ in 0..MAX_STEPS {
            if sizes.iter().zip(&goals).all(|(size, goal)| size <= goal) {
                break;
            }
            image = self.product(&step);
            let lengths = ratios(&sizes, &dots(&step, &image, n_columns));
            add_rows(v, &step, n_columns, |row| lengths[row]);
            add_rows(&mut residual, &image, n_columns, |row| -lengths[row]);
            let mut next = precondition(&residual);
            let new_sizes = dots(&residual, &next, n_columns);
            let turns = ratios(&new_sizes, &sizes);
            add_rows(&mut next, &step, n_columns, |row| turns[row]);
            (step, sizes) = (next, new_sizes);
        }
    }

    /// The left side: `sum_l a_l s_l^2 D_l A_l D_l v + e v`.
    fn product(&self, v: &[f32]) -> Vec<f32> {
        let mut out: Vec<f32> = v.iter().map(|v| self.pull * v).collect();
        for level in 0..self.moments.len() {
            let image = self.image(level, &self.kept(level, v), self.importance[level]);
            self.add_kept(level, &mut out, &image);
        }
        out
    }

    /// `factor A_l v`
    fn image(&self, level: usize, v: &[f32], factor: f32) -> Vec<f32> {
        let (k, n_rows) = (self.n_columns, v.len() / self.n_columns);
        let mut image = vec![0.0; v.len()];
        matmul(
            MatMut::from_column_major_slice_mut(&mut image, k, n_rows),
            Accum::Replace,
            &self.moments[level].covariance,
            MatRef::from_column_major_slice(v, k, n_rows),
            factor,
            Par::Seq,
        );
        image
    }

    /// Scales every level's rows to these deviations.
    fn match_deviations(&mut self, v: &[f32], wanted: &[f64]) {
        for level in 0..self.moments.len() {
            let kept = self.kept(level, v);
            let variances = dots(&kept, &self.image(level, &kept, 1.0), self.n_columns);
            let scales = self.scales.chunks_exact_mut(wanted.len());
            let scales = scales.skip(level).flatten();
            for ((scale, variance), wanted) in scales.zip(variances).zip(wanted) {
                *scale *= matching_scale(variance.max(0.0).sqrt(), *wanted) as f32;
            }
        }
    }

    /// The right side: `sum_l a_l s_l D_l c_l + e w`; `weights` are the trained rows from `first_row` on.
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
        let mut out = vec![self.pull; self.level_of.len()];
        for (level, moments) in self.moments.iter().enumerate() {
            let diagonal = moments.covariance.diagonal();
            let diagonal = diagonal.column_vector().iter();
            let row: Vec<f32> = diagonal.map(|a| a * self.importance[level]).collect();
            let scales = self.level_scales(level).iter();
            let rows: Vec<f32> = scales
                .flat_map(|s| row.iter().map(move |a| s * a))
                .collect();
            self.add_kept(level, &mut out, &rows);
        }
        out
    }

    /// `s_l D_l v`
    fn kept(&self, level: usize, v: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; v.len()];
        self.add_kept(level, &mut out, v);
        out
    }

    /// `out += s_l D_l v`
    fn add_kept(&self, level: usize, out: &mut [f32], v: &[f32]) {
        let k = self.n_columns;
        let rows = out.chunks_exact_mut(k).zip(v.chunks_exact(k));
        let rows = rows.zip(self.level_of.chunks_exact(k));
        for (((out, v), level_of), scale) in rows.zip(self.level_scales(level)) {
            for ((out, v), &first) in out.iter_mut().zip(v).zip(level_of) {
                if usize::from(first) <= level {
                    *out += scale * v;
                }
            }
        }
    }

    /// Per row.
    fn level_scales(&self, level: usize) -> &[f32] {
        let n_rows = self.level_of.len() / self.n_columns;
        &self.scales[level * n_rows..][..n_rows]
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

    fn fit<'a>(moments: &'a [Moments], level_of: &'a [u8], weights: &'a [f32]) -> Fit<'a> {
        Fit {
            moments,
            importance: &[1.0; 8][..moments.len()],
            level_of,
            weights,
            deviations: None,
            ridge: 1e-9,
        }
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        let pairs = found.iter().zip(expected);
        assert!(
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4),
            "{found:?} {expected:?}"
        );
    }

    fn regression() -> Moments {
        Moments {
            covariance: Mat::from_fn(2, 2, |i, j| if i == j { 2.0f32 } else { 1.0 }),
            cross: Mat::from_fn(2, 1, |i, _| [4.0f32, 5.0][i]),
        }
    }

    /// With one level and a full mask the repair is linear regression.
    #[test]
    fn one_level_is_regression() {
        let v = fit(&[regression()], &[0, 0], &[9.0, 9.0]).solve(1e-6);
        assert_close(&v, &[1.0, 2.0]);
    }

    /// A scale that follows takes part of the length of one level's row, and none of its direction.
    #[test]
    fn a_scale_that_follows_leaves_the_direction() {
        let moments = [regression()];
        // The regression's own deviation is sqrt(14).
        let deviations = [2.0 * 14f64.sqrt()];
        let v = Fit {
            deviations: Some(&deviations),
            ..fit(&moments, &[0, 0], &[9.0, 9.0])
        }
        .solve(1e-6);
        assert_close(&v, &[0.5, 1.0]);
    }

    /// A column that only the upper level has is fitted to that level alone.
    #[test]
    fn two_levels() {
        let moments = |a: f32, b: f32| Moments {
            covariance: Mat::from_fn(2, 2, |i, j| if i == j { 1.0f32 } else { 0.0 }),
            cross: Mat::from_fn(2, 1, |i, _| [a, b][i]),
        };
        let moments = [moments(1.0, 100.0), moments(3.0, 7.0)];
        let v = Fit {
            importance: &[1.0, 0.5],
            ..fit(&moments, &[0, 1], &[0.0, 0.0])
        }
        .solve(1e-6);
        assert_close(&v, &[5.0 / 3.0, 7.0]);
    }

    /// A level that is scaled by two counts four times, for targets of half the size.
    #[test]
    fn scales_weigh_levels() {
        let moments = |variance: f32, cross: f32| Moments {
            covariance: Mat::from_fn(1, 1, |_, _| variance),
            cross: Mat::from_fn(1, 1, |_, _| cross),
        };
        // First (1 + 4) / (1 + 4) = 1: deviations 1 and 2, so scales of 2 and 1.
        let moments = [moments(1.0, 1.0), moments(4.0, 4.0)];
        let v = Fit {
            deviations: Some(&[2.0]),
            ..fit(&moments, &[0], &[0.0])
        }
        .solve(1e-6);
        assert_close(&v, &[(2.0 + 4.0) / (4.0 + 4.0)]);
    }

    /// Three levels and rows with masks of their own, against the matrix of every row.
    #[test]
    fn equals_the_definition() {
        let (k, n_rows, importance) = (24, 3, [1.0, 0.5, 0.25]);
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
        let found = Fit {
            importance: &importance,
            ridge,
            ..fit(&moments, &level_of, &weights)
        }
        .solve(1e-6);

        let pull = ridge * moments[0].mean_variance();
        for row in 0..n_rows {
            let levels = &level_of[row * k..][..k];
            let trained = &weights[row * k..][..k];
            let sum = |a: usize, b: usize, value: &dyn Fn(&Moments) -> f32| -> f64 {
                let first = usize::from(levels[a].max(levels[b])).min(3);
                let term = |l: usize| f64::from(importance[l] * value(&moments[l]));
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
