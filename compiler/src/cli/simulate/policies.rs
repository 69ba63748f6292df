//! Policies: who chooses the level of a frame, and what came of it.
//!
//! Three use the runtime crate as an application would: the governor with the clock's frequency, the same with runs whose
//! level changes on their way (`mixed`), and the governor by run times alone. The others are what they are compared with:
//! two fixed levels, and an oracle that knows what each frame is going to take, jitter included, but runs whole levels.

use condensec_runtime::deadline::{Deadline, Remaining};
use condensec_runtime::governor::{self, Config, Governor};
use serde::Serialize;

use super::replay::{Frame, Replay};

/// Who chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The governor.
    Governor,
    /// The governor, with runs that use all their time: see [`Deadline`]. Where nothing is known of a run's steps, as
    /// the governor.
    Mixed,
    /// Always the highest level.
    FixedTop,
    /// Always L0.
    FixedL0,
    /// The governor, without the frequency.
    Reactive,
    /// The highest level that meets the deadline, by a look ahead.
    Oracle,
}

/// All of them.
pub const POLICIES: &[Policy] = &[
    Policy::Governor,
    Policy::Mixed,
    Policy::FixedTop,
    Policy::FixedL0,
    Policy::Reactive,
    Policy::Oracle,
];

impl Policy {
    /// As tables and JSON call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Governor => "governor",
            Self::Mixed => "mixed",
            Self::FixedTop => "fixed-top",
            Self::FixedL0 => "fixed-L0",
            Self::Reactive => "reactive",
            Self::Oracle => "oracle",
        }
    }

    /// What every frame's run did.
    pub fn play(self, replay: &Replay<'_>, config: Config) -> Vec<Run> {
        let timings = replay.profile().timings();
        let profile = governor::Profile::new(&timings, replay.profile().reference_khz);
        let mut governor = Governor::new(profile, config);
        let deadline_us = (replay.deadline_ms() * 1e3) as f32;
        let top = timings.len() - 1;
        let mut mixer = Mixer::new(replay);
        let frames = replay.frames().iter();
        let play = frames.map(|frame| {
            let level = match self {
                Self::Governor | Self::Mixed => {
                    governor.choose(deadline_us, frame.khz as u32) as usize
                }
                Self::Reactive => governor.choose(deadline_us, 0) as usize,
                Self::FixedTop => top,
                Self::FixedL0 => 0,
                Self::Oracle => (0..=top)
                    .rev()
                    .find(|&level| replay.run_ms(level, frame) <= replay.deadline_ms())
                    .unwrap_or(0),
            };
            if self == Self::Mixed && mixer.n_steps > 0 {
                return mixer.run(replay, frame, &mut governor);
            }
            let ms = replay.run_ms(level, frame);
            governor.observe((ms * 1e3) as f32);
            let level = level as f64;
            Run { level, ms }
        });
        play.collect()
    }
}

/// Runs whose steps have levels of their own.
struct Mixer {
    remaining_us: Vec<f32>,
    n_steps: usize,
    /// Of a step in the weights of the network, as the time of the highest level has it.
    weight_of_step: Vec<f32>,
    deadline: Deadline,
}

impl Mixer {
    fn new(replay: &Replay<'_>) -> Self {
        let profile = replay.profile();
        let top = profile.levels.last().expect("a profile has levels");
        Self {
            remaining_us: profile.remaining_us(),
            n_steps: profile.n_steps(),
            weight_of_step: top.step_shares.clone(),
            deadline: Deadline::default(),
        }
    }

    /// A run of a frame, after the governor's choice for it, which learns from it.
    fn run(&mut self, replay: &Replay<'_>, frame: &Frame, governor: &mut Governor<'_>) -> Run {
        let work = Remaining {
            table: &self.remaining_us,
            n_steps: self.n_steps,
        };
        let levels = &replay.profile().levels;
        self.deadline
            .expect(governor, (replay.deadline_ms() * 1e3) as f32);
        self.deadline.start_at(0);
        let (mut ms, mut level, mut mean_level) = (0.0, levels.len() - 1, 0.0);
        for step in 0..self.n_steps {
            let now_ns = (ms * 1e6) as u64;
            level = self.deadline.choose_at(now_ns, work, step, level as u32) as usize;
            let share = f64::from(levels[level].step_shares[step]);
            ms = replay.part_ms(level, frame, share, ms);
            mean_level += level as f64 * f64::from(self.weight_of_step[step]);
        }
        self.deadline.observe(governor, (ms * 1e3) as f32);
        // Shares add up to 1 but for rounding.
        let level = mean_level.min((levels.len() - 1) as f64);
        Run { level, ms }
    }
}

/// A frame's run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Its level; between two levels, the mean over the work, for runs of several.
    pub level: f64,
    /// How long it took.
    pub ms: f64,
}

impl Run {
    /// What `of_level` says of the run's level, in proportion between two of them.
    fn interpolate(self, of_level: impl Fn(usize) -> f64) -> f64 {
        let low = self.level.floor();
        let part = self.level - low;
        let low_value = of_level(low as usize);
        match part > 0.0 {
            true => low_value + part * (of_level(low as usize + 1) - low_value),
            false => low_value,
        }
    }
}

/// What came of a policy. Frames that no level could have met the deadline of count in `impossible_rate` only.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub name: &'static str,
    /// Slowest over fastest run, of frames whose machine was as could be known when they began.
    pub max_over_min: f64,
    /// The same of all frames: also those that something overtook.
    pub max_over_min_all: f64,
    /// Standard deviation of run times over their mean.
    pub cv: f64,
    /// Share of runs that took longer than the deadline.
    pub miss_rate: f64,
    /// Share of frames that no level could have made.
    pub impossible_rate: f64,
    /// Share of frames that something overtook, which a policy without foresight cannot be ready for.
    pub surprise_rate: f64,
    pub mean_density: f64,
    /// Mean of the levels' quality, where the profile has it for all.
    pub mean_quality: Option<f64>,
    pub mean_level: f64,
    /// Changes of level from frame to frame, in the middle level of a mixed run rounded.
    pub switches: usize,
}

impl Outcome {
    /// Sums up the runs of a policy.
    pub fn of(policy: Policy, replay: &Replay<'_>, runs: &[Run]) -> Self {
        let levels = &replay.profile().levels;
        let frames = replay.frames();
        let both = || frames.iter().zip(runs);
        let possible: Vec<Run> = both()
            .filter(|(frame, _)| frame.is_possible)
            .map(|(_, run)| *run)
            .collect();
        let foreseeable = both()
            .filter(|(frame, _)| frame.is_possible && frame.is_foreseeable)
            .map(|(_, run)| run.ms);
        let n_late = possible
            .iter()
            .filter(|run| run.ms > replay.deadline_ms())
            .count();
        let n_surprises = both()
            .filter(|(frame, _)| frame.is_possible && !frame.is_foreseeable)
            .count();
        let ms: Vec<f64> = possible.iter().map(|run| run.ms).collect();
        let mean_ms = mean(ms.iter().copied());
        let variance = mean(ms.iter().map(|ms| (ms - mean_ms).powi(2)));
        let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
        Self {
            name: policy.name(),
            max_over_min: max_over_min(foreseeable),
            max_over_min_all: max_over_min(ms.iter().copied()),
            cv: variance.sqrt() / mean_ms.max(f64::MIN_POSITIVE),
            miss_rate: share(n_late, possible.len()),
            impossible_rate: share(frames.len() - possible.len(), frames.len()),
            surprise_rate: share(n_surprises, possible.len()),
            mean_density: mean(
                possible
                    .iter()
                    .map(|run| run.interpolate(|level| levels[level].density)),
            ),
            mean_quality: levels
                .iter()
                .map(|level| level.quality)
                .collect::<Option<Vec<f64>>>()
                .map(|quality| {
                    mean(
                        possible
                            .iter()
                            .map(|run| run.interpolate(|level| quality[level])),
                    )
                }),
            mean_level: mean(possible.iter().map(|run| run.level)),
            switches: runs
                .windows(2)
                .filter(|pair| pair[0].level.round() != pair[1].level.round())
                .count(),
        }
    }
}

/// 1 where there are no values: nothing differs.
fn max_over_min(values: impl Iterator<Item = f64>) -> f64 {
    let (min, max) = values.fold((f64::INFINITY, 0.0_f64), |(min, max), value| {
        (min.min(value), max.max(value))
    });
    if min.is_finite() { max / min } else { 1.0 }
}

/// 0 where there are no values.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1);
    values.sum::<f64>() / n as f64
}
