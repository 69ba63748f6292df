//! From times at some frequencies to `t(f) = C / f + M`.

use crate::profile::Measurement;

/// Frequencies that are closer than this say nothing of what does not depend on them.
const LEAST_RANGE: f64 = 1.05;

/// Cycles, and microseconds that no frequency changes, of the line through the median times; each time weighs as its
/// error, which is in proportion to it. At a single frequency all of the time counts as cycles. That is on the safe
/// side: at a lower one, the run is faster than predicted.
pub fn fit(measured: &[Measurement]) -> (f64, f64) {
    let khz = || measured.iter().map(|m| f64::from(m.khz));
    let range = khz().fold(0.0, f64::max) / khz().fold(f64::INFINITY, f64::min);
    // Sums of a weighted least-squares fit of t over x = 1000 / f.
    let (mut w, mut wx, mut wt, mut wxx, mut wxt) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for m in measured {
        let (x, t) = (1e3 / f64::from(m.khz), m.median_us);
        let weight = 1.0 / (t * t);
        w += weight;
        wx += weight * x;
        wt += weight * t;
        wxx += weight * x * x;
        wxt += weight * x * t;
    }
    let only_cycles = (wxt / wxx, 0.0);
    if range < LEAST_RANGE {
        return only_cycles;
    }
    let cycles = (w * wxt - wx * wt) / (w * wxx - wx * wx);
    let memory_us = (wt - cycles * wx) / w;
    // Neither part of a run takes less than no time.
    match (cycles > 0.0, memory_us > 0.0) {
        (true, true) => (cycles, memory_us),
        (true, false) => only_cycles,
        (false, _) => (0.0, wt / w),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(points: &[(u32, f64)]) -> Vec<Measurement> {
        let measurement = |&(khz, median_us): &(u32, f64)| Measurement {
            khz,
            runs: 9,
            min_us: median_us,
            median_us,
            p95_us: median_us,
        };
        points.iter().map(measurement).collect()
    }

    fn check(points: &[(u32, f64)], (cycles, memory_us): (f64, f64)) {
        let (found_cycles, found_us) = fit(&times(points));
        assert!(
            (found_cycles - cycles).abs() <= 1e-6 * cycles,
            "{found_cycles}"
        );
        assert!((found_us - memory_us).abs() < 1e-6, "{found_us}");
    }

    #[test]
    fn two_frequencies_tell_both_parts() {
        check(&[(1_000_000, 1200.0), (2_000_000, 700.0)], (1e6, 200.0));
        check(
            &[(1_000_000, 1200.0), (2_000_000, 700.0), (500_000, 2200.0)],
            (1e6, 200.0),
        );
    }

    #[test]
    fn one_frequency_counts_as_cycles() {
        check(&[(2_000_000, 700.0)], (1.4e6, 0.0));
        // Wavering of one clock.
        let (_, memory_us) = fit(&times(&[(2_000_000, 700.0), (2_010_000, 690.0)]));
        assert_eq!(memory_us, 0.0);
    }

    #[test]
    fn no_part_is_negative() {
        // Faster than the clock alone could make it; and slower at a higher clock.
        let (cycles, memory_us) = fit(&times(&[(1_000_000, 1000.0), (2_000_000, 400.0)]));
        assert!(cycles > 0.0 && memory_us == 0.0);
        let (cycles, memory_us) = fit(&times(&[(1_000_000, 400.0), (2_000_000, 500.0)]));
        assert!(cycles == 0.0 && (400.0..=500.0).contains(&memory_us));
    }
}
