//! First and second moments of a layer's inputs over samples and positions, and with its targets.

use crate::layers::Layer;
use crate::patches;
use crate::results::ResultLayout;
use condensec_ir::Graph;
use condensec_ir::eval::Array;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;
use std::sync::Arc;

/// Columns that are multiplied at a time: bounds the memory beside the moments themselves.
const CHUNK: usize = 8192;

/// Columns of the moments that one thread takes at a time.
const PANEL: usize = 128;

/// Centred moments of the inputs `x [K]` of one channel group and, if asked for, its targets `t [R]`.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    /// `E[(x - E x)(x - E x)']`, `[K, K]`
    pub covariance: Mat<f32>,
    /// `E[(x - E x)(t - E t)']`, `[K, R]`; no columns without targets.
    pub cross: Mat<f32>,
}

impl Moments {
    /// Moments over `n_positions` positions of every sample of `inputs`. `targets` are arrays of the
    /// shape of the layer's result.
    pub fn of(
        graph: &Graph,
        layer: &Layer,
        channel_group: usize,
        inputs: &[Arc<Array>],
        targets: Option<&[Array]>,
        n_positions: usize,
    ) -> Self {
        let k = layer.columns;
        let r = targets.map_or(0, |_| layer.rows_per_group());
        let layout = ResultLayout::new(graph, layer);
        let all = patches::n_positions(graph, layer);
        let per_sample = n_positions.min(all);
        let samples_per_chunk = (CHUNK / per_sample).max(1);
        let mut covariance = Mat::<f32>::zeros(k, k);
        let mut cross = Mat::<f32>::zeros(k, r);
        // Sums of x and t less an estimate of their means, so that squares do not drown differences.
        let mut sums = vec![0.0f64; k + r];
        let mut shift: Option<Vec<f32>> = None;
        for (number, chunk) in inputs.chunks(samples_per_chunk).enumerate() {
            let first = number * samples_per_chunk;
            let n = chunk.len() * per_sample;
            let mut x = vec![0.0; n * k];
            x.par_chunks_exact_mut(per_sample * k)
                .zip(chunk)
                .enumerate()
                .for_each(|(at, (out, sample))| {
                    let positions = spread(first + at, per_sample, all);
                    patches::gather(graph, layer, channel_group, sample, positions, out);
                });
            let mut t = vec![0.0; n * r];
            if let Some(targets) = targets {
                t.par_chunks_exact_mut(per_sample * r)
                    .zip(&targets[first..first + chunk.len()])
                    .enumerate()
                    .for_each(|(at, (out, target))| {
                        let rows = channel_group * r;
                        for (position, out) in
                            spread(first + at, per_sample, all).zip(out.chunks_exact_mut(r))
                        {
                            for (row, value) in out.iter_mut().enumerate() {
                                *value = layout.at(target, rows + row, position);
                            }
                        }
                    });
            }
            let shift = shift.get_or_insert_with(|| {
                let mut means = column_means(&x, k);
                means.extend(column_means(&t, r));
                means
            });
            subtract(&mut x, &shift[..k]);
            subtract(&mut t, &shift[k..]);
            for (sum, mean) in sums[..k].iter_mut().zip(column_means(&x, k)) {
                *sum += f64::from(mean) * n as f64;
            }
            for (sum, mean) in sums[k..].iter_mut().zip(column_means(&t, r)) {
                *sum += f64::from(mean) * n as f64;
            }
            let x = MatRef::from_row_major_slice(&x, n, k);
            let t = MatRef::from_row_major_slice(&t, n, r);
            // Of the covariance what is below the diagonal of each panel will do.
            covariance
                .par_col_chunks_mut(PANEL)
                .enumerate()
                .for_each(|(at, panel)| {
                    let (first, width) = (at * PANEL, panel.ncols());
                    let rows = panel.subrows_mut(first, k - first);
                    let left = x.subcols(first, k - first).transpose();
                    let right = x.subcols(first, width);
                    matmul(rows, Accum::Add, left, right, 1.0, Par::Seq);
                });
            cross
                .par_col_chunks_mut(PANEL)
                .enumerate()
                .for_each(|(at, panel)| {
                    let t = t.subcols(at * PANEL, panel.ncols());
                    matmul(panel, Accum::Add, x.transpose(), t, 1.0, Par::Seq);
                });
        }
        let n = (inputs.len() * per_sample) as f64;
        let means: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
        centre(&mut covariance, n, &means[..k], &means[..k]);
        mirror(&mut covariance);
        centre(&mut cross, n, &means[..k], &means[k..]);
        Self { covariance, cross }
    }

    /// Mean of the variances.
    pub fn mean_variance(&self) -> f64 {
        let k = self.covariance.nrows();
        (0..k)
            .map(|i| f64::from(self.covariance[(i, i)]))
            .sum::<f64>()
            / k as f64
    }
}

/// `n` of `all` positions, evenly spread, others in every sample: the fractional parts of multiples of
/// the golden ratio fill the unit interval evenly.
fn spread(sample: usize, n: usize, all: usize) -> impl Iterator<Item = usize> {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let first = (sample * n) as f64;
    (0..n).map(move |i| match n == all {
        true => i,
        false => (((first + i as f64) * GOLDEN).fract() * all as f64) as usize % all,
    })
}

fn column_means(rows: &[f32], n_columns: usize) -> Vec<f32> {
    if n_columns == 0 {
        return Vec::new();
    }
    let mut sums = vec![0.0f64; n_columns];
    for row in rows.chunks_exact(n_columns) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let n = (rows.len() / n_columns) as f64;
    sums.iter().map(|sum| (sum / n) as f32).collect()
}

fn subtract(rows: &mut [f32], shift: &[f32]) {
    if shift.is_empty() {
        return;
    }
    for row in rows.chunks_exact_mut(shift.len()) {
        for (value, shift) in row.iter_mut().zip(shift) {
            *value -= shift;
        }
    }
}

/// Sums of products to centred moments.
fn centre(sums: &mut Mat<f32>, n: f64, a: &[f64], b: &[f64]) {
    for (j, b) in b.iter().enumerate() {
        for (value, a) in sums.col_as_slice_mut(j).iter_mut().zip(a) {
            *value = (f64::from(*value) / n - a * b) as f32;
        }
    }
}

/// Copies the lower triangle to the upper one.
fn mirror(matrix: &mut Mat<f32>) {
    for j in 1..matrix.ncols() {
        for i in 0..j {
            matrix[(i, j)] = matrix[(j, i)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_spread() {
        let seen: std::collections::BTreeSet<usize> =
            (0..32).flat_map(|sample| spread(sample, 4, 64)).collect();
        assert!(seen.len() > 56, "{}", seen.len());
        let all: Vec<usize> = spread(3, 5, 5).collect();
        assert_eq!(all, [0, 1, 2, 3, 4]);
    }
}
