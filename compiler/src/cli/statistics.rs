//! Summaries of measured times.

/// What is told of a series of times, in the unit that it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary {
    pub min: f64,
    pub median: f64,
    /// 95 % of the times are not longer.
    pub p95: f64,
}

/// Summarizes `times`, at least one.
pub(super) fn summarize(times: &[f64]) -> Summary {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    Summary {
        min: sorted[0],
        median: quantile(&sorted, 0.5),
        p95: quantile(&sorted, 0.95),
    }
}

/// The quantile `q` in [0, 1] of sorted values, linear between two of them (as `numpy.quantile` does it).
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let low = sorted[at.floor() as usize];
    let high = sorted[at.ceil() as usize];
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        let times = [4.0, 1.0, 3.0, 2.0];
        let Summary { min, median, p95 } = summarize(&times);
        assert_eq!((min, median), (1.0, 2.5));
        assert!((p95 - 3.85).abs() < 1e-12);
        assert_eq!(
            summarize(&[7.0]),
            Summary {
                min: 7.0,
                median: 7.0,
                p95: 7.0
            }
        );
    }
}
