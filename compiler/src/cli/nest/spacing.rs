//! Levels that are evenly spaced.

use condensec_backends::Texts;
use condensec_ir::Graph;
use condensec_nest::{Calibration, Ranking, Recipe};

use super::super::watch::Watch;
use super::Args;
use crate::driver;
use crate::report::Failure;

/// `n` values from `low` to `high`.
pub(super) fn spread(low: f64, high: f64, n: u32) -> Vec<f64> {
    let at = |i: u32| match i + 1 == n {
        true => high,
        false => low + (high - low) * f64::from(i) / f64::from(n - 1),
    };
    (0..n).map(at).collect()
}

/// `n` values from `low`, positive, to `high`, each the same factor above the one before.
pub(super) fn spread_by_ratio(low: f64, high: f64, n: u32) -> Vec<f64> {
    let exponents = spread(low.ln(), high.ln(), n);
    let last = exponents.len() - 1;
    let inner = exponents[1..last].iter().map(|x| x.exp());
    [low].into_iter().chain(inner).chain([high]).collect()
}

/// Densities at which the cost model predicts `n` latencies that are spaced as `spread` does it.
pub(super) fn spread_in_latency(
    args: &Args,
    graph: &Graph,
    recipe: &Recipe,
    n: u32,
    spread_out: fn(f64, f64, u32) -> Vec<f64>,
) -> Result<Vec<f64>, Failure> {
    /// Densities that are looked at; latency is nearly linear between two of them.
    const N_TRIALS: u32 = 17;

    let trials = spread(args.min_density, 1.0, N_TRIALS);
    let by_magnitude = Recipe {
        densities: trials.clone(),
        ranking: Ranking::Magnitude,
        groups_rows: false,
        repairs: false,
        matches_statistics: false,
        ..recipe.clone()
    };
    let refused = |error| super::refused(&error, &args.model);
    let nested = condensec_nest::nest(graph, Calibration::default(), &by_magnitude, &mut |_| {})
        .map_err(refused)?;
    let settings = args.codegen.settings(None, Texts::Skip)?;
    let mut watch = Watch::new(args.format.form(), None);
    let (_, program) = driver::to_program(nested.graph, &args.model, &settings, &mut watch)?;
    let cycles = program
        .levels
        .iter()
        .map(|level| level.predicted_cycles as f64);
    let cycles: Vec<f64> = cycles.collect();
    Ok(densities_at(&cycles, &trials, n, spread_out))
}

/// `n` of the range of `densities`, so spaced that their cycles are as `spread_out` has it. The ends are those of
/// `densities`, whatever they cost: a level that prunes nothing may be cheaper than one that prunes little.
fn densities_at(
    cycles: &[f64],
    densities: &[f64],
    n: u32,
    spread_out: fn(f64, f64, u32) -> Vec<f64>,
) -> Vec<f64> {
    let mut highest = 0.0f64;
    let growing = cycles.iter().map(|&cycles| {
        highest = highest.max(cycles);
        highest
    });
    let growing: Vec<f64> = growing.collect();
    let wanted = spread_out(growing[0], highest, n);
    let inner = wanted[1..wanted.len() - 1].iter();
    let inner = inner.map(|&cycles| interpolate(&growing, densities, cycles));
    let ends = (densities[0], densities[densities.len() - 1]);
    [ends.0].into_iter().chain(inner).chain([ends.1]).collect()
}

/// The value at `x` of the line through `(xs, ys)`; `xs` do not fall.
fn interpolate(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    let right = xs
        .partition_point(|&other| other < x)
        .clamp(1, xs.len() - 1);
    let (x0, x1) = (xs[right - 1], xs[right]);
    let part = ((x - x0) / (x1 - x0).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
    ys[right - 1] + (ys[right] - ys[right - 1]) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_hit() {
        assert_eq!(spread(0.5, 1.0, 3), [0.5, 0.75, 1.0]);
        let by_ratio = spread_by_ratio(0.25, 4.0, 5);
        for (found, expected) in by_ratio.iter().zip([0.25, 0.5, 1.0, 2.0, 4.0]) {
            assert!((found - expected).abs() < 1e-12, "{by_ratio:?}");
        }
        assert_eq!(spread_by_ratio(0.1, 0.7, 2), [0.1, 0.7]);
    }

    #[test]
    fn the_ends_are_kept_where_the_densest_is_not_the_slowest() {
        let (densities, cycles) = ([0.1, 0.4, 0.7, 1.0], [10.0, 40.0, 70.0, 65.0]);
        let found = densities_at(&cycles, &densities, 4, spread);
        let expected = [0.1, 0.3, 0.5, 1.0];
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12),
            "{found:?}"
        );
        let flat = densities_at(&[5.0; 4], &densities, 3, spread);
        assert!(flat.iter().all(|density| density.is_finite()), "{flat:?}");
    }

    #[test]
    fn lines_between_points() {
        let (xs, ys) = ([10.0, 20.0, 40.0], [0.1, 0.5, 1.0]);
        for (x, y) in [(10.0, 0.1), (15.0, 0.3), (30.0, 0.75), (40.0, 1.0)] {
            assert!((interpolate(&xs, &ys, x) - y).abs() < 1e-12, "{x}");
        }
    }
}
