//! The optimal brain surgeon, exactly: which block of columns costs least to remove next, after what
//! has been removed before and the remaining weights have made up for it.
//!
//! With `G` the inverse of the second moments `H`, removing column `j` of the rows `w` adds
//! `sum_r w_rj^2 / G_jj` to the squared error of the result, the other weights move by
//! `-w_rj / G_jj * G_j`, and `G` becomes the inverse without `j`: `G - G_j G_j' / G_jj`
//! (Hassibi and Stork, 1993). The rank-one updates are delayed and applied many at a time, for a large `G`
//! does not fit the cache.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Updates of the inverse that wait before they are applied together.
const MAX_PENDING: usize = 32;

/// The loss at which each block of columns goes, running maximum over the order of elimination;
/// `[n_blocks]`. `inverse` is `[K, K]`, `rows` the weights `[R, K]` of one group, `block_of [K]` the block
/// of every column.
pub(crate) fn losses(
    inverse: &[f32],
    rows: &[Vec<f32>],
    block_of: &[usize],
    n_blocks: usize,
) -> Vec<f32> {
    let mut state = Elimination::new(inverse, rows);
    let mut columns_of = vec![Vec::new(); n_blocks];
    for (column, &block) in block_of.iter().enumerate() {
        columns_of[block].push(column);
    }
    let mut losses = vec![f32::INFINITY; n_blocks];
    let mut left: Vec<usize> = (0..n_blocks).collect();
    let mut highest = 0.0f32;
    while !left.is_empty() {
        let cost = |block: usize| -> f32 { columns_of[block].iter().map(|&c| state.loss(c)).sum() };
        let mut best = (0, f32::INFINITY);
        for (at, &block) in left.iter().enumerate() {
            let loss = cost(block);
            if loss < best.1 {
                best = (at, loss);
            }
        }
        let block = left.swap_remove(best.0);
        highest = highest.max(best.1);
        losses[block] = highest;
        for &column in &columns_of[block] {
            state.remove(column);
        }
    }
    losses
}

struct Elimination {
    /// Number of columns of `inverse`.
    n: usize,
    /// Inverse without the pending updates, `[n, n]`.
    inverse: Vec<f32>,
    /// Diagonal with them.
    diagonal: Vec<f32>,
    /// `[R][n]`, with them.
    rows: Vec<Vec<f32>>,
    /// Vectors `u` of pending updates `-u u'`, `[pending][n]`.
    pending: Vec<f32>,
    n_pending: usize,
    /// Where a column of the weight is now; `usize::MAX` if it is gone.
    place: Vec<usize>,
    /// Column of the weight at every place.
    column: Vec<usize>,
}

impl Elimination {
    fn new(inverse: &[f32], rows: &[Vec<f32>]) -> Self {
        let n = rows[0].len();
        Self {
            n,
            inverse: inverse.to_vec(),
            diagonal: (0..n).map(|i| inverse[i * n + i]).collect(),
            rows: rows.to_vec(),
            pending: Vec::with_capacity(MAX_PENDING * n),
            n_pending: 0,
            place: (0..n).collect(),
            column: (0..n).collect(),
        }
    }

    fn loss(&self, column: usize) -> f32 {
        let at = self.place[column];
        let squares: f32 = self.rows.iter().map(|row| row[at] * row[at]).sum();
        squares / self.diagonal[at].max(f32::MIN_POSITIVE)
    }

    fn remove(&mut self, column: usize) {
        let n = self.n;
        let at = std::mem::replace(&mut self.place[column], usize::MAX);
        let mut g = self.inverse[at * n..][..n].to_vec();
        for u in self.pending.chunks_exact(n) {
            let factor = u[at];
            g.iter_mut().zip(u).for_each(|(g, u)| *g -= factor * u);
        }
        let pivot = g[at].max(f32::MIN_POSITIVE);
        for row in &mut self.rows {
            let factor = row[at] / pivot;
            row.iter_mut().zip(&g).for_each(|(w, g)| *w -= factor * g);
        }
        let root = pivot.sqrt().recip();
        g.iter_mut().for_each(|g| *g *= root);
        self.diagonal
            .iter_mut()
            .zip(&g)
            .for_each(|(d, u)| *d -= u * u);
        self.pending.extend_from_slice(&g);
        self.n_pending += 1;
        if self.n_pending == MAX_PENDING {
            self.apply();
        }
    }

    /// Applies the pending updates to the columns that are left, and forgets the others.
    fn apply(&mut self) {
        let n = self.n;
        let left: Vec<usize> = (0..n)
            .filter(|&at| self.place[self.column[at]] != usize::MAX)
            .collect();
        let m = left.len();
        for (to, &from) in left.iter().enumerate() {
            for (k, &column) in left.iter().enumerate() {
                self.inverse[to * m + k] = self.inverse[from * n + column];
            }
        }
        self.inverse.truncate(m * m);
        let mut u = Vec::with_capacity(self.n_pending * m);
        for pending in self.pending.chunks_exact(n) {
            u.extend(left.iter().map(|&at| pending[at]));
        }
        let u = MatRef::from_row_major_slice(&u, self.n_pending, m);
        let inverse = MatMut::from_row_major_slice_mut(&mut self.inverse, m, m);
        matmul(inverse, Accum::Add, u.transpose(), u, -1.0, Par::Seq);
        let keep = |values: &mut Vec<f32>| *values = left.iter().map(|&at| values[at]).collect();
        keep(&mut self.diagonal);
        self.rows.iter_mut().for_each(keep);
        self.column = left.iter().map(|&at| self.column[at]).collect();
        for (at, &column) in self.column.iter().enumerate() {
            self.place[column] = at;
        }
        self.pending.clear();
        self.n_pending = 0;
        self.n = m;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;
    use faer::linalg::solvers::DenseSolveCore;

    /// The definition: the least squared error that a support allows, for every next candidate.
    fn by_definition(h: &Mat<f64>, w: &[f64]) -> Vec<f32> {
        let n = w.len();
        let mut w = w.to_vec();
        let mut left: Vec<usize> = (0..n).collect();
        let mut losses = vec![0.0f32; n];
        let mut highest = 0.0f32;
        while !left.is_empty() {
            let m = left.len();
            let g = Mat::from_fn(m, m, |i, j| h[(left[i], left[j])])
                .partial_piv_lu()
                .inverse();
            let loss = |i: usize| w[left[i]] * w[left[i]] / g[(i, i)];
            let best = (0..m).min_by(|&a, &b| loss(a).total_cmp(&loss(b))).unwrap();
            highest = highest.max(loss(best) as f32);
            losses[left[best]] = highest;
            let factor = w[left[best]] / g[(best, best)];
            for i in 0..m {
                w[left[i]] -= factor * g[(i, best)];
            }
            left.remove(best);
        }
        losses
    }

    #[test]
    fn equals_the_definition() {
        let n = 70;
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as f64 / f64::from(1u32 << 31) - 0.5
        };
        let x = Mat::from_fn(n, 2 * n, |_, _| random());
        let h = &x * x.transpose() + Mat::<f64>::identity(n, n);
        let w: Vec<f64> = (0..n).map(|_| random()).collect();
        let g = h.partial_piv_lu().inverse();
        let inverse: Vec<f32> = (0..n * n).map(|i| g[(i / n, i % n)] as f32).collect();
        let rows = vec![w.iter().map(|&w| w as f32).collect::<Vec<f32>>()];
        let block_of: Vec<usize> = (0..n).collect();
        let found = losses(&inverse, &rows, &block_of, n);
        for (found, expected) in found.iter().zip(by_definition(&h, &w)) {
            assert!(
                (found - expected).abs() <= 1e-3 * expected + 1e-6,
                "{found} {expected}"
            );
        }
    }
}
