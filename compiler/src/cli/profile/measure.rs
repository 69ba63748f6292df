//! Run times of all levels, each with the frequency that it was measured at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use condensec_ir::Diagnostic;

use super::super::measuring::{empty_outputs, pseudo_random_inputs};
use super::super::progress::Progress;
use super::super::statistics::{Summary, quantile, summarize};
use super::clock::Clock;
use crate::engine::Engine;
use crate::profile::Measurement;
use crate::report::Failure;

/// Runs of a turn whose times count, after the first.
const RUNS_PER_TURN: usize = 3;

/// Frequencies within this share of each other are one: readings waver.
const SAME: f64 = 0.02;

/// Fewer runs at a frequency say nothing of their scatter.
const FEWEST_RUNS: usize = 5;

/// From a median absolute deviation to the standard deviation of a normal distribution.
const NORMAL: f64 = 1.4826;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub enum Effort {
    /// Runs per level.
    Runs(usize),
    /// For all levels together.
    Time(Duration),
}

/// What was found of a level.
pub struct LevelTimes {
    /// By frequency, rising; at least one.
    pub measured: Vec<Measurement>,
    /// Standard deviation of run times over their median, at the highest of them.
    pub jitter: f64,
    /// Share of a run that each step takes on one thread.
    pub step_shares: Vec<f32>,
}

impl LevelTimes {
    /// These and those of another frequency.
    pub fn and(mut self, other: Self) -> Self {
        let highest = |times: &Self| times.measured.last().map(|m| m.khz);
        if highest(&other) > highest(&self) {
            self.jitter = other.jitter;
            self.step_shares = other.step_shares;
        }
        self.measured.extend(other.measured);
        self.measured.sort_by_key(|measurement| measurement.khz);
        self
    }
}

/// A run.
#[derive(Debug, Clone, Copy)]
struct Sample {
    khz: f64,
    us: f64,
    /// A run across a change of the clock is of neither frequency.
    is_steady: bool,
}

/// Runs all levels in turns, so that whatever else the machine does meets all alike.
///
/// # Errors
/// Those of the engine.
pub fn measure(
    engine: &mut Engine,
    clock: &Clock,
    effort: Effort,
) -> Result<Vec<LevelTimes>, Failure> {
    let inputs = pseudo_random_inputs(engine);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs = empty_outputs(engine);
    let mut step_outputs = empty_outputs(engine);
    let n_levels = engine.levels().len();
    let mut run = |engine: &mut Engine| {
        let before = f64::from(clock.khz());
        let start = Instant::now();
        engine.run_into(&inputs, &mut outputs)?;
        let us = start.elapsed().as_secs_f64() * 1e6;
        let after = f64::from(clock.khz());
        Ok::<_, Failure>(Sample {
            khz: 0.5 * (before + after),
            us,
            is_steady: (after / before - 1.0).abs() <= SAME,
        })
    };

    let mut warm_up_us = 0.0;
    for level in 0..n_levels {
        engine.set_level(level)?;
        run(engine)?;
        let start = Instant::now();
        run(engine)?;
        warm_up_us += start.elapsed().as_secs_f64() * 1e6;
    }
    let turn_us = warm_up_us * (1 + RUNS_PER_TURN) as f64;
    let n_turns = match effort {
        Effort::Runs(n) => n.div_ceil(RUNS_PER_TURN),
        Effort::Time(time) => (time.as_secs_f64() * 1e6 / turn_us.max(1.0)) as usize + 1,
    };
    let n_turns = n_turns.max(FEWEST_RUNS.div_ceil(RUNS_PER_TURN));
    let mut progress = Progress::new("measuring", n_turns as u64);
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); n_levels];
    // Of every level, in every turn: the seconds of each step.
    let mut steps: Vec<Vec<Vec<f64>>> = vec![Vec::new(); n_levels];
    for turn in 0..n_turns {
        for (level, (samples, steps)) in samples.iter_mut().zip(&mut steps).enumerate() {
            if clock.is_interrupted() {
                let message = "the measurement was interrupted";
                return Err(Diagnostic::error("interrupted", message)
                    .with_note("the clock has its limits back; nothing was written")
                    .into());
            }
            engine.set_level(level)?;
            // The first run finds the caches as another level left them.
            run(engine)?;
            for _ in 0..RUNS_PER_TURN {
                samples.push(run(engine)?);
            }
            let times = engine.run_steps(&inputs, &mut step_outputs)?;
            steps.push(times.iter().map(|step| step.seconds).collect());
        }
        progress.set(turn as u64 + 1);
    }
    let levels = samples.iter().zip(&steps);
    Ok(levels
        .map(|(samples, steps)| of_level(samples, shares(steps)))
        .collect())
}

/// Summaries by frequency; where none was held for long enough, of all runs as one.
fn of_level(samples: &[Sample], step_shares: Vec<f32>) -> LevelTimes {
    let mut by_frequency: BTreeMap<i64, Vec<Sample>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.is_steady) {
        let step = (sample.khz.ln() / (1.0 + SAME).ln()).round() as i64;
        by_frequency.entry(step).or_default().push(*sample);
    }
    by_frequency.retain(|_, samples| samples.len() >= FEWEST_RUNS);
    if by_frequency.is_empty() {
        by_frequency.insert(0, samples.to_vec());
    }
    let measured = by_frequency.values().map(|samples| {
        let times: Vec<f64> = samples.iter().map(|sample| sample.us).collect();
        let khz = samples.iter().map(|sample| sample.khz).sum::<f64>() / samples.len() as f64;
        let Summary { min, median, p95 } = summarize(&times);
        Measurement {
            khz: khz.round() as u32,
            runs: times.len(),
            min_us: min,
            median_us: median,
            p95_us: p95,
        }
    });
    let measured: Vec<Measurement> = measured.collect();
    let (_, fastest) = by_frequency.last_key_value().expect("not empty");
    LevelTimes {
        jitter: jitter(fastest),
        measured,
        step_shares,
    }
}

/// Of each step's median time in the sum of them; `runs` are `[runs][steps]`.
fn shares(runs: &[Vec<f64>]) -> Vec<f32> {
    let n_steps = runs.first().map_or(0, Vec::len);
    let medians = (0..n_steps).map(|step| median_of(runs.iter().map(|run| run[step]).collect()));
    let medians: Vec<f64> = medians.collect();
    let whole = medians.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    medians.iter().map(|time| (time / whole) as f32).collect()
}

fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Robust: a few runs that something interrupted do not count.
fn jitter(samples: &[Sample]) -> f64 {
    let median = median_of(samples.iter().map(|sample| sample.us).collect());
    let off = samples.iter().map(|sample| (sample.us - median).abs());
    NORMAL * median_of(off.collect()) / median
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_told_apart_by_frequency() {
        let run = |khz: f64, us: f64| Sample {
            khz,
            us,
            is_steady: true,
        };
        let mut samples: Vec<Sample> = (0..9)
            .map(|i| run(2e6 + 1e3 * f64::from(i), 100.0))
            .collect();
        samples.extend((0..7).map(|i| run(1e6, 190.0 + f64::from(i))));
        samples.push(run(1.5e6, 999.0));
        let LevelTimes {
            measured, jitter, ..
        } = of_level(&samples, Vec::new());
        let found: Vec<(u32, usize, f64)> = measured
            .iter()
            .map(|m| (m.khz, m.runs, m.median_us))
            .collect();
        assert_eq!(found, [(1_000_000, 7, 193.0), (2_004_000, 9, 100.0)]);
        assert_eq!(jitter, 0.0);
    }

    #[test]
    fn a_clock_that_never_holds_still_has_a_mean() {
        let run = |khz: f64, us: f64| Sample {
            khz,
            us,
            is_steady: false,
        };
        let samples = [run(1e6, 100.0), run(3e6, 120.0), run(2e6, 110.0)];
        let LevelTimes { measured, .. } = of_level(&samples, Vec::new());
        assert_eq!((measured.len(), measured[0].khz), (1, 2_000_000));
        assert_eq!((measured[0].runs, measured[0].median_us), (3, 110.0));
    }

    #[test]
    fn shares_are_of_median_times() {
        let runs = [
            vec![1.0, 2.9],
            vec![1.1, 3.0],
            vec![50.0, 60.0],
            vec![1.1, 3.4],
        ];
        let found = shares(&runs);
        assert!(
            (found[0] - 1.1 / 4.3).abs() < 0.01 && (found[0] + found[1] - 1.0).abs() < 1e-6,
            "{found:?}"
        );
        assert!(shares(&[]).is_empty());
    }

    #[test]
    fn scatter_is_that_of_most_runs() {
        let times = [98.0, 99.0, 100.0, 101.0, 102.0, 5000.0, 97.0];
        let samples = times.map(|us| Sample {
            khz: 1e6,
            us,
            is_steady: true,
        });
        assert!((jitter(&samples) - NORMAL * 0.02).abs() < 1e-12);
    }
}
