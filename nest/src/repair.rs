//! The one weight that serves all levels best.
//!
//! Level `l` computes `D_l v x_l` where the dense network has the target `t_l`, with `D_l` the level's mask
//! and `x_l` its own inputs. The row `v` that has the least squared error over all levels, drawn a little towards
//! the trained row `w`, solves
//! ```text
//! (sum_l D_l A_l D_l + e I) v = sum_l D_l c_l + e w      A_l = cov(x_l), c_l = cov(x_l, t_l)
//! ```
//! Levels may be scaled afterwards, by `s_l = deviation / sqrt(v' D_l A_l D_l v)` to the deviation of the dense
//! network's results (see [`crate::statistics`]). Then the length of `D_l v` is nobody's concern, and it is the error
//! of `s_l D_l v x_l` that counts. `s_l` depends on `v`: that error is least where its derivative
//! ```text
//! sum_l s_l (q_l D_l A_l D_l v - D_l c_l)      q_l = v' D_l c_l / v' D_l A_l D_l v
//! ```
//! vanishes. So the equations are solved once more with factors `s_l q_l` of `A_l` and `s_l` of `c_l`, which the first
//! solution tells. Levels count alike otherwise. (To count sparse ones by a root of their inverse density brought ResNet-20
//! on CIFAR-10, in blocks of 4, 0.2 points at density 0.2 and took 0.1 from the others.)
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
                let ones = vec![1.0; self.moments.len() * n_rows];
                let mut system = System {
                    moments: self.moments,
                    level_of,
                    first_row: first,
                    of_results: ones.clone(),
                    of_targets: ones,
                    pull,
                    n_columns: k,
                };
                let trained = &self.weights[first * k..][..rows.len()];
                system.solve(rows, system.right(trained), tolerance);
                if let Some(deviations) = self.deviations {
                    system.expect_scales(rows, &deviations[first..][..n_rows]);
                    system.solve(rows, system.right(trained), tolerance);
                }
            });
        repaired
    }
}

/// The equations of some rows; vectors are `[rows, columns]`.
struct System<'a> {
    moments: &'a [Moments],
    level_of: &'a [u8],
    /// The first of these rows among those of the moments' targets.
    first_row: usize,
    /// Factors of `D_l A_l D_l`, `[levels, rows]`.
    of_results: Vec<f32>,
    /// Factors of `D_l c_l`, `[levels, rows]`.
    of_targets: Vec<f32>,
    pull: f32,
    n_columns: usize,
}

impl System<'_> {
    /// Conjugate gradients with the diagonal as preconditioner: takes `v` from a first guess to the solution, until
    /// the residual has fallen to `tolerance` of what it was.
    fn solve(&self, v: &mut [f32], right: Vec<f32>, tolerance: f64) {
        let n_columns = self.n_columns;
        let mut residual = right;
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

    /// The left side: `sum_l D_l A_l D_l v + e v`.
    fn product(&self, v: &[f32]) -> Vec<f32> {
        let mut out: Vec<f32> = v.iter().map(|v| self.pull * v).collect();
        for level in 0..self.moments.len() {
            let image = self.image(level, &self.kept(level, v));
            self.add_kept(level, &mut out, &image, &self.of_results);
        }
        out
    }

    /// The right side: `sum_l D_l c_l + e w`, with the trained rows.
    fn right(&self, trained: &[f32]) -> Vec<f32> {
        let mut out: Vec<f32> = trained.iter().map(|w| self.pull * w).collect();
        for level in 0..self.moments.len() {
            self.add_kept(level, &mut out, &self.cross(level), &self.of_targets);
        }
        out
    }

    /// Diagonal of the left side.
    fn diagonal(&self) -> Vec<f32> {
        let n_rows = self.level_of.len() / self.n_columns;
        let mut out = vec![self.pull; self.level_of.len()];
        for (level, moments) in self.moments.iter().enumerate() {
            let diagonal = moments.covariance.diagonal();
            let row: Vec<f32> = diagonal.column_vector().iter().copied().collect();
            self.add_kept(level, &mut out, &row.repeat(n_rows), &self.of_results);
        }
        out
    }

    /// Sets the factors for levels that are scaled to the deviations `wanted` of every row, taking the scales from `v`.
    fn expect_scales(&mut self, v: &[f32], wanted: &[f64]) {
        let n_rows = wanted.len();
        for level in 0..self.moments.len() {
            let kept = self.kept(level, v);
            let variances = dots(&kept, &self.image(level, &kept), self.n_columns);
            let agreements = dots(&kept, &self.cross(level), self.n_columns);
            for (row, wanted) in wanted.iter().enumerate() {
                let scale = matching_scale(variances[row].max(0.0).sqrt(), *wanted);
                // Within the bounds of scales: a level that misses its target altogether counts a little still.
                let regression = matching_scale(variances[row], agreements[row]);
                self.of_targets[level * n_rows + row] = scale as f32;
                self.of_results[level * n_rows + row] = (scale * regression) as f32;
            }
        }
    }

    /// `A_l v`
    fn image(&self, level: usize, v: &[f32]) -> Vec<f32> {
        let (k, n_rows) = (self.n_columns, v.len() / self.n_columns);
        let mut image = vec![0.0; v.len()];
        matmul(
            MatMut::from_column_major_slice_mut(&mut image, k, n_rows),
            Accum::Replace,
            &self.moments[level].covariance,
            MatRef::from_column_major_slice(v, k, n_rows),
            1.0,
            Par::Seq,
        );
        image
    }

    /// `c_l` of every row.
    fn cross(&self, level: usize) -> Vec<f32> {
        let n_rows = self.level_of.len() / self.n_columns;
        let rows = self.first_row..self.first_row + n_rows;
        let cross = &self.moments[level].cross;
        rows.flat_map(|row| cross.col_as_slice(row))
            .copied()
            .collect()
    }

    /// `D_l v`
    fn kept(&self, level: usize, v: &[f32]) -> Vec<f32> {
        let pairs = v.iter().zip(self.level_of);
        let keep = |(&v, &first): (&f32, &u8)| if usize::from(first) <= level { v } else { 0.0 };
        pairs.map(keep).collect()
    }

    /// `out += f D_l v` with a factor per level and row.
    fn add_kept(&self, level: usize, out: &mut [f32], v: &[f32], factors: &[f32]) {
        let k = self.n_columns;
        let n_rows = out.len() / k;
        let rows = out.chunks_exact_mut(k).zip(v.chunks_exact(k));
        let rows = rows.zip(self.level_of.chunks_exact(k));
        for (((out, v), level_of), factor) in rows.zip(&factors[level * n_rows..]) {
            for ((out, v), &first) in out.iter_mut().zip(v).zip(level_of) {
                if usize::from(first) <= level {
                    *out += factor * v;
                }
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

    fn fit<'a>(moments: &'a [Moments], level_of: &'a [u8], weights: &'a [f32]) -> Fit<'a> {
        Fit {
            moments,
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

    /// A row of one level may have any length if it is scaled afterwards: the regression stays.
    #[test]
    fn a_scale_that_follows_changes_nothing_for_one_level() {
        let v = Fit {
            deviations: Some(&[7.0]),
            ..fit(&[regression()], &[0, 0], &[9.0, 9.0])
        }
        .solve(1e-6);
        assert_close(&v, &[1.0, 2.0]);
    }

    /// A column that only the upper level has is fitted to that level alone.
    #[test]
    fn two_levels() {
        let moments = |a: f32, b: f32| Moments {
            covariance: Mat::from_fn(2, 2, |i, j| if i == j { 1.0f32 } else { 0.0 }),
            cross: Mat::from_fn(2, 1, |i, _| [a, b][i]),
        };
        let moments = [moments(1.0, 100.0), moments(3.0, 7.0)];
        let v = fit(&moments, &[0, 1], &[0.0, 0.0]).solve(1e-6);
        assert_close(&v, &[2.0, 7.0]);
    }

    const K: usize = 24;
    const N_ROWS: usize = PANEL + 6;

    /// Three levels, and more rows than one thread takes, with masks of their own.
    struct Example {
        moments: Vec<Moments>,
        level_of: Vec<u8>,
        weights: Vec<f32>,
        deviations: Vec<f64>,
    }

    impl Example {
        fn new() -> Self {
            let mut seed = 1u64;
            let mut random = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as f32 / (1u32 << 31) as f32 - 0.5
            };
            let weights: Vec<f32> = (0..K * N_ROWS).map(|_| random()).collect();
            let moments = (0..3).map(|_| {
                let x = Mat::from_fn(K, 2 * K, |_, _| random());
                let covariance = &x * x.transpose();
                let noise = Mat::from_fn(K, N_ROWS, |_, _| random());
                let rows = MatRef::from_column_major_slice(&weights, K, N_ROWS);
                let cross = &covariance * rows + noise;
                Moments { covariance, cross }
            });
            Self {
                moments: moments.collect(),
                // Some weights are at no level.
                level_of: (0..K * N_ROWS).map(|i| (i * 7 % 11 % 4) as u8).collect(),
                deviations: (0..N_ROWS).map(|row| 1.0 + (row % 5) as f64).collect(),
                weights,
            }
        }

        fn solve(&self, deviations: Option<&[f64]>, ridge: f64) -> Vec<f32> {
            Fit {
                ridge,
                deviations,
                ..fit(&self.moments, &self.level_of, &self.weights)
            }
            .solve(1e-6)
        }

        /// The solution of one row by its own matrix, with these factors of every level.
        fn solution(
            &self,
            row: usize,
            of_results: &[f64],
            of_targets: &[f64],
            ridge: f64,
        ) -> Vec<f64> {
            let pull = ridge * self.moments[0].mean_variance();
            let levels = &self.level_of[row * K..][..K];
            let left = Mat::from_fn(K, K, |i, j| {
                let first = usize::from(levels[i].max(levels[j]));
                let covariance = |l: usize| f64::from(self.moments[l].covariance[(i, j)]);
                let sum: f64 = (first..3).map(|l| of_results[l] * covariance(l)).sum();
                sum + if i == j { pull } else { 0.0 }
            });
            let right = Mat::from_fn(K, 1, |i, _| {
                let cross = |l: usize| f64::from(self.moments[l].cross[(i, row)]);
                let levels = usize::from(levels[i])..3;
                let sum: f64 = levels.map(|l| of_targets[l] * cross(l)).sum();
                sum + pull * f64::from(self.weights[row * K + i])
            });
            let solution = left.partial_piv_lu().solve(&right);
            (0..K).map(|i| solution[(i, 0)]).collect()
        }

        /// Variance of a row's results at a level, and their covariance with its target.
        fn results(&self, row: usize, level: usize, v: &[f64]) -> (f64, f64) {
            let is_kept = |i: &usize| usize::from(self.level_of[row * K + i]) <= level;
            let kept: Vec<usize> = (0..K).filter(is_kept).collect();
            let Moments { covariance, cross } = &self.moments[level];
            let along = |i: usize| -> f64 {
                let products = kept.iter().map(|&j| f64::from(covariance[(i, j)]) * v[j]);
                products.sum()
            };
            let variance = kept.iter().map(|&i| v[i] * along(i)).sum();
            let agreement = kept.iter().map(|&i| v[i] * f64::from(cross[(i, row)]));
            (variance, agreement.sum())
        }
    }

    #[test]
    fn equals_the_definition() {
        let example = Example::new();
        let ridge = 0.1;
        let plain = example.solve(None, ridge);
        let scaled = example.solve(Some(&example.deviations), ridge);
        for row in 0..N_ROWS {
            let assert_row = |found: &[f32], expected: &[f64]| {
                for (found, expected) in found[row * K..].iter().zip(expected) {
                    let difference = (f64::from(*found) - expected).abs();
                    assert!(difference < 1e-3, "{row}: {found} {expected}");
                }
            };
            let first = example.solution(row, &[1.0; 3], &[1.0; 3], ridge);
            assert_row(&plain, &first);
            let (mut of_results, mut of_targets) = ([1.0; 3], [1.0; 3]);
            for level in 0..3 {
                let (variance, agreement) = example.results(row, level, &first);
                let scale = (example.deviations[row] / variance.sqrt()).clamp(0.25, 4.0);
                of_targets[level] = scale;
                of_results[level] = scale * (agreement / variance).clamp(0.25, 4.0);
            }
            let second = example.solution(row, &of_results, &of_targets, ridge);
            assert_row(&scaled, &second);
        }
    }

    /// What the second solution is for: less error once every level has the wanted deviation.
    #[test]
    fn scaled_results_are_closer_to_their_targets() {
        let example = Example::new();
        let error = |rows: &[f32]| -> f64 {
            let mut error = 0.0;
            for row in 0..N_ROWS {
                let v: Vec<f64> = rows[row * K..][..K].iter().map(|&v| v.into()).collect();
                for level in 0..3 {
                    let (variance, agreement) = example.results(row, level, &v);
                    // Up to a constant: the scaled results all have the same variance.
                    error -= agreement * example.deviations[row] / variance.sqrt();
                }
            }
            error
        };
        let plain = error(&example.solve(None, 1e-6));
        let scaled = error(&example.solve(Some(&example.deviations), 1e-6));
        assert!(scaled < plain, "{scaled} {plain}");
    }
}
