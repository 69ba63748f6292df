//! Rows that want the same columns share blocks.
//!
//! A block is worth the sum of its rows. Groups start from rows whose saliencies point in the same
//! direction; then pairs of rows change places while that raises what the groups keep at the levels'
//! densities. Every layer is free to choose its own groups: rows keep their channel numbers.

use crate::sums;
use rayon::prelude::*;

/// Rows in groups of `size` in order; the last may be smaller.
pub(crate) fn consecutive(n_rows: usize, size: usize) -> Vec<Vec<usize>> {
    let rows: Vec<usize> = (0..n_rows).collect();
    rows.chunks(size).map(<[usize]>::to_vec).collect()
}

/// Passes over all pairs of rows, at most.
const MAX_PASSES: usize = 12;

/// Rows that a row is tried against in a pass, at most.
const MAX_PARTNERS: usize = 256;

/// Groups of `size` rows. `saliencies` is `[rows][blocks]`; the last group may be smaller.
pub(crate) fn by_similarity(
    saliencies: &[Vec<f32>],
    size: usize,
    densities: &[f64],
) -> Vec<Vec<usize>> {
    let mut groups = greedy(saliencies, size);
    let mut sums: Vec<Vec<f32>> = groups.iter().map(|group| sum(saliencies, group)).collect();
    let n = saliencies.len();
    let step = n.div_ceil(MAX_PARTNERS).max(1);
    let mut new_g = sums[0].clone();
    let mut new_h = sums[0].clone();
    for pass in 0..MAX_PASSES {
        let thresholds = quantiles(&sums, densities);
        let mut kept: Vec<f64> = sums.iter().map(|sum| above(sum, &thresholds)).collect();
        let total: f64 = kept.iter().sum();
        let mut gained = 0.0;
        for g in 0..groups.len() {
            for a in 0..groups[g].len() {
                for h in (g + 1 + pass % step..groups.len()).step_by(step) {
                    for b in 0..groups[h].len() {
                        let (ra, rb) = (&saliencies[groups[g][a]], &saliencies[groups[h][b]]);
                        swap(&sums[g], ra, rb, &mut new_g);
                        swap(&sums[h], rb, ra, &mut new_h);
                        let (kept_g, kept_h) =
                            (above(&new_g, &thresholds), above(&new_h, &thresholds));
                        let gain = kept_g + kept_h - kept[g] - kept[h];
                        if gain > 1e-9 * total {
                            let row = groups[g][a];
                            groups[g][a] = groups[h][b];
                            groups[h][b] = row;
                            sums[g].copy_from_slice(&new_g);
                            sums[h].copy_from_slice(&new_h);
                            (kept[g], kept[h]) = (kept_g, kept_h);
                            gained += gain;
                        }
                    }
                }
            }
        }
        if gained < 1e-4 * total {
            break;
        }
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups.sort_unstable_by_key(|group| (group.len() < size, group[0]));
    groups
}

/// The first free row, and those most like it.
fn greedy(saliencies: &[Vec<f32>], size: usize) -> Vec<Vec<usize>> {
    let unit: Vec<Vec<f32>> = saliencies
        .iter()
        .map(|row| {
            let length = row.iter().sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            row.iter().map(|s| s.sqrt() / length).collect()
        })
        .collect();
    let mut free: Vec<usize> = (0..saliencies.len()).collect();
    let mut groups = Vec::new();
    while !free.is_empty() {
        let mut group = vec![free.remove(0)];
        // How much like the rows of the group each free row is.
        let mut likenesses = vec![0.0f32; free.len()];
        while group.len() < size && !free.is_empty() {
            let newest = &unit[group[group.len() - 1]];
            likenesses
                .par_iter_mut()
                .zip(&free)
                .for_each(|(sum, &row)| {
                    let products = newest.iter().zip(&unit[row]).map(|(a, b)| a * b);
                    *sum += products.sum::<f32>();
                });
            let mut best = 0;
            for (at, likeness) in likenesses.iter().enumerate() {
                if *likeness > likenesses[best] {
                    best = at;
                }
            }
            group.push(free.remove(best));
            likenesses.remove(best);
        }
        groups.push(group);
    }
    groups
}

fn sum(saliencies: &[Vec<f32>], group: &[usize]) -> Vec<f32> {
    let mut total = vec![0.0; saliencies[0].len()];
    for &row in group {
        total
            .iter_mut()
            .zip(&saliencies[row])
            .for_each(|(t, s)| *t += s);
    }
    total
}

/// What a group is worth with the row `new` in place of `old`.
fn swap(sum: &[f32], old: &[f32], new: &[f32], out: &mut [f32]) {
    for (out, ((sum, old), new)) in out.iter_mut().zip(sum.iter().zip(old).zip(new)) {
        *out = sum - old + new;
    }
}

/// Saliency above the thresholds, summed over them.
fn above(sum: &[f32], thresholds: &[f32]) -> f64 {
    let over = |&t: &f32| f64::from(sums::sum(sum, |s| (s - t).max(0.0)));
    thresholds.iter().map(over).sum()
}

/// Block values that the densities below 1 cut at.
fn quantiles(sums: &[Vec<f32>], densities: &[f64]) -> Vec<f32> {
    let mut all: Vec<f32> = sums.iter().flatten().copied().collect();
    all.sort_unstable_by(|a, b| b.total_cmp(a));
    let cut = |density: &f64| all[((density * all.len() as f64) as usize).min(all.len() - 1)];
    densities.iter().filter(|&&d| d < 1.0).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_rows_meet() {
        let odd = vec![4.0, 0.0, 4.0, 0.0];
        let even = vec![0.0, 3.0, 0.0, 3.0];
        let saliencies: Vec<Vec<f32>> = (0..8)
            .map(|r| {
                if r % 2 == 0 {
                    even.clone()
                } else {
                    odd.clone()
                }
            })
            .collect();
        let groups = by_similarity(&saliencies, 4, &[0.5, 1.0]);
        assert_eq!(groups, [[0, 2, 4, 6], [1, 3, 5, 7]]);
    }

    #[test]
    fn every_row_once() {
        let saliencies: Vec<Vec<f32>> = (0..10)
            .map(|r| (0..6).map(|c| ((r * 7 + c * 5) % 11) as f32).collect())
            .collect();
        let groups = by_similarity(&saliencies, 4, &[0.25, 0.5, 1.0]);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        let mut rows: Vec<usize> = groups.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..10).collect::<Vec<_>>());
    }
}
