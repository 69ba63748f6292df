//! How much slower than its profile the machine is: one factor for all levels, tracked by a Kalman filter.
//!
//! Neighbours on the same memory, a hypervisor, or a clock that nobody reports slow all levels down
//! alike, so every run tells of every level (as in ALERT, Wan et al., USENIX ATC 2020). The filter follows
//! drift, learns how much run times scatter, and takes a change that is no scatter at its word.

/// Standard deviation by which the factor drifts from one run to the next, at least.
const DRIFT: f32 = 0.002;

/// The same as a share of the scatter. What makes run times scatter also makes them drift, and a change that hides in
/// the scatter is followed within some ten runs.
const DRIFT_OF_SCATTER: f32 = 0.1;

/// The least scatter of run times that is believed: what a clock of microseconds shows of short runs.
const LEAST_SCATTER: f32 = 0.005;

/// Deviations, in standard deviations, beyond which an observation is a change and no scatter: less than
/// one run in ten thousand goes as far by chance.
const CHANGE: f32 = 4.0;

/// Share of a new observation in the estimate of the scatter: about the last 30 runs count.
const SCATTER_WEIGHT: f32 = 0.03;

/// Standard deviation of the factor before the first run: profiles of another unit, or of another day.
const AT_FIRST: f32 = 0.02;

/// Bounds of the factor. A profile that is further off is of another machine, and no number helps.
const BOUNDS: (f32, f32) = (1.0 / 1024.0, 1024.0);

/// The factor, how certain it is, and how much run times scatter around it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowDown {
    mean: f32,
    /// Of the factor.
    variance: f32,
    /// Of run times around the factor, relative to the factor.
    scatter: f32,
}

impl SlowDown {
    /// No slow-down; run times scatter by `jitter`, a standard deviation relative to the time.
    pub(super) fn new(jitter: f32) -> Self {
        let jitter = jitter.max(LEAST_SCATTER);
        Self {
            mean: 1.0,
            variance: AT_FIRST * AT_FIRST,
            scatter: jitter * jitter,
        }
    }

    /// The factor: measured over predicted time of a run.
    pub fn mean(&self) -> f32 {
        self.mean
    }

    /// Standard deviation of the next run's factor.
    pub fn deviation(&self) -> f32 {
        sqrt(self.expected_variance())
    }

    fn expected_variance(&self) -> f32 {
        self.variance_after_drift() + self.scatter * self.mean * self.mean
    }

    /// Of the factor at the next run.
    fn variance_after_drift(&self) -> f32 {
        let of_scatter = DRIFT_OF_SCATTER * DRIFT_OF_SCATTER * self.scatter * self.mean * self.mean;
        self.variance + of_scatter.max(DRIFT * DRIFT)
    }

    /// Takes in the measured over the predicted time of a run, a positive number. `doubt` is the variance of
    /// the prediction, relative to itself.
    pub(super) fn observe(&mut self, ratio: f32, doubt: f32) {
        // Not `clamp`, which has a panic in it.
        let ratio = ratio.max(BOUNDS.0).min(BOUNDS.1);
        let predicted = self.variance_after_drift();
        let doubt = doubt * self.mean * self.mean;
        let expected = self.expected_variance() + doubt;
        let off = ratio - self.mean;
        if off * off > CHANGE * CHANGE * expected {
            // All that is known now is this run, which scatters as any other.
            self.mean = ratio;
            self.variance = self.scatter * ratio * ratio + doubt;
            return;
        }
        let gain = predicted / expected;
        self.mean += gain * off;
        self.variance = (1.0 - gain) * predicted;
        // A run of which too little is known says nothing about scatter.
        if doubt <= self.scatter {
            let unexplained = (off * off - predicted - doubt).max(0.0) / (self.mean * self.mean);
            self.scatter += SCATTER_WEIGHT * (unexplained - self.scatter);
            self.scatter = self.scatter.max(LEAST_SCATTER * LEAST_SCATTER);
        }
    }
}

/// The square root, by Newton's method: `core` has none for targets without an operating system.
fn sqrt(x: f32) -> f32 {
    // Halving the exponent is off by at most 6 %; every step doubles the number of right digits.
    let mut root = f32::from_bits((x.to_bits() >> 1) + 0x1fbd_1df5);
    for _ in 0..3 {
        root = 0.5 * (root + x / root);
    }
    root
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    /// Run times that scatter by a tenth hide a change by a third, which must not take hundreds of runs to find.
    #[test]
    fn a_change_within_the_scatter_is_followed() {
        let mut slow_down = SlowDown::new(0.1);
        let mut observe = |n: usize, factor: f32| {
            for run in 0..n {
                let scatter = [0.9, 1.1, 1.0, 1.12, 0.88][run % 5];
                slow_down.observe(factor * scatter, 0.0);
            }
            slow_down.mean()
        };
        assert!((observe(200, 1.3) - 1.3).abs() < 0.05);
        assert!((observe(30, 1.0) - 1.0).abs() < 0.05);
    }

    #[test]
    fn roots_are_those_of_the_standard_library() {
        for exponent in -30..30 {
            for part in [1.0_f32, 1.3, 1.9999] {
                let x = part * 2.0_f32.powi(exponent);
                assert!((sqrt(x) / x.sqrt() - 1.0).abs() < 1e-6, "{x}");
            }
        }
    }
}
