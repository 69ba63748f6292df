//! The governor: which level the next run can afford.
//!
//! Feed-forward from the profile and the frequency, so that a change of the clock that is known before a
//! run spoils none; feedback from measured run times for everything that is not known ([`SlowDown`]).
//! It steps down at once; up at once where a frequency or deadline has grown or the last runs were far
//! quicker than predicted, and with patience where noise would do. A decision is a few passes over
//! the levels; nothing allocates, panics, or needs an operating system.
//!
//! ```
//! use condensec_runtime::governor::{Config, Governor, LevelTiming, Profile};
//! # const fn level(cycles: f32, memory_us: f32) -> LevelTiming { LevelTiming { cycles, memory_us } }
//! // As `condensec profile --emit rust` writes it.
//! static LEVELS: [LevelTiming; 2] = [level(2.4e6, 100.0), level(12.0e6, 500.0)];
//! static PROFILE: Profile<'static> = Profile::new(&LEVELS, 1_200_000);
//!
//! let mut governor = Governor::new(PROFILE, Config::default());
//! // 20 ms are enough for 12 M cycles at 1.2 GHz, but not at 600 MHz.
//! assert_eq!(governor.choose(20_000.0, 1_200_000), 1);
//! governor.observe(10_480.0);
//! assert_eq!(governor.choose(20_000.0, 600_000), 0);
//! ```

pub mod c_interface;
mod profile;
mod slow_down;
#[cfg(test)]
mod tests;

pub use profile::{LevelTiming, Profile, timings_of_model};
pub use slow_down::SlowDown;

/// A frequency or deadline has grown if it is larger by this share: readings of a clock waver.
const GROWTH: f32 = 1.01;

/// Standard deviations of the run time that a higher level must leave, on top of the others, for a step
/// up at once: chance does not make as much room.
const CLEAR_ROOM: f32 = 2.0;

/// A step up that is taken back within as many runs was a mistake.
const MISTAKE_WITHIN: u32 = 3;

/// After a mistake twice as many good runs are asked for, up to this many doublings.
const MOST_DOUBLINGS: u32 = 3;

/// Runs without a mistake after which all mistakes are forgotten.
const FORGOTTEN_AFTER: u32 = 32;

/// How careful a governor is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Standard deviations of the run time between prediction and deadline.
    pub deviations: f32,
    /// Share of the deadline that must be left, on top of that, for a step up.
    pub margin: f32,
    /// Runs in sequence that must have left it, before a step up that nothing but run times suggests.
    pub good_runs: u32,
    /// Standard deviation of run times relative to their length, until the governor has seen some.
    pub jitter: f32,
}

impl Default for Config {
    /// Few misses at little cost in density, on the traces of `condensec simulate`.
    fn default() -> Self {
        Self {
            deviations: 1.25,
            margin: 0.005,
            good_runs: 3,
            jitter: 0.01,
        }
    }
}

/// Chooses levels for one model on one core, or one set of equal cores.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Governor<'a> {
    profile: Profile<'a>,
    config: Config,
    slow_down: SlowDown,
    level: u32,
    /// Frequency and deadline that `level` was chosen for; 0 before the first choice.
    khz: u32,
    deadline_us: f32,
    /// Time of the run at `level`, until the next choice tells the frequency that it ended at; 0 for none.
    run_us: f32,
    /// Choices in sequence that had room for a higher level.
    n_good: u32,
    /// Steps up that had to be taken back, lately.
    n_mistakes: u32,
    /// Choices since the last step up that only run times suggested.
    n_since_step_up: u32,
}

impl<'a> Governor<'a> {
    /// A governor that has not seen a run.
    pub fn new(profile: Profile<'a>, config: Config) -> Self {
        Self {
            profile,
            config,
            slow_down: SlowDown::new(config.jitter),
            level: 0,
            khz: 0,
            deadline_us: 0.0,
            run_us: 0.0,
            n_good: 0,
            n_mistakes: 0,
            n_since_step_up: FORGOTTEN_AFTER,
        }
    }

    /// The level for a run that has `deadline_us` from now and begins at the frequency `khz`; 0 stands
    /// for unknown, when the factor of run times has to tell. L0 where no level is fast enough.
    pub fn choose(&mut self, deadline_us: f32, khz: u32) -> u32 {
        let khz = match khz {
            0 => self.profile.reference_khz(),
            khz => khz,
        };
        self.learn(khz);
        let (mean, deviation) = (self.slow_down.mean(), self.slow_down.deviation());
        let limit_us = deadline_us / (mean + self.config.deviations * deviation);
        let fitting = self.profile.largest_within(limit_us, khz);
        // Also true of the first choice, which has nothing before it.
        let has_grown =
            khz as f32 > GROWTH * self.khz as f32 || deadline_us > GROWTH * self.deadline_us;
        let has_shrunk =
            (khz as f32) * GROWTH < self.khz as f32 || deadline_us * GROWTH < self.deadline_us;
        self.n_since_step_up = (self.n_since_step_up + 1).min(FORGOTTEN_AFTER);
        if self.n_since_step_up == FORGOTTEN_AFTER {
            self.n_mistakes = 0;
        }

        if fitting < self.level {
            if !has_shrunk && self.n_since_step_up <= MISTAKE_WITHIN {
                self.n_mistakes = (self.n_mistakes + 1).min(MOST_DOUBLINGS);
            }
            self.level = fitting;
            self.n_good = 0;
        } else if has_grown {
            self.level = fitting;
            self.n_good = 0;
        } else {
            self.step_up_with_patience(limit_us, khz);
        }
        self.khz = khz;
        self.deadline_us = deadline_us;
        self.level
    }

    /// Takes in how long the run at the chosen level took; the next choice makes use of it. A run that was
    /// cut short, or used another level, is better left out.
    pub fn observe(&mut self, run_us: f32) {
        self.run_us = run_us;
    }

    /// Takes in how long a run took that would take `reference_us` by the profile, at its reference frequency:
    /// a run of several levels.
    pub(crate) fn observe_as(&mut self, run_us: f32, reference_us: f32) {
        let level_us = self
            .level_timing()
            .map_or(0.0, |timing| timing.time_us(self.profile.reference_khz()));
        // As long as the machine would have needed for the level that was chosen. Not a number where nothing ran,
        // which is not learnt from.
        self.run_us = run_us * level_us / reference_us;
    }

    /// Factor from the profile's times at its reference frequency to those that are expected of the next run.
    pub(crate) fn us_per_reference_us(&self) -> f32 {
        let here = |timing: &LevelTiming| {
            let reference_us = timing.time_us(self.profile.reference_khz());
            timing.time_us(self.khz) / reference_us
        };
        self.level_timing().map_or(1.0, here) * self.slow_down.mean()
    }

    /// The share of a run's time that is kept for chance.
    pub(crate) fn chance(&self) -> f32 {
        self.config.deviations * self.slow_down.deviation() / self.slow_down.mean()
    }

    /// The level that was chosen last.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// What run times say of the machine.
    pub fn slow_down(&self) -> SlowDown {
        self.slow_down
    }

    /// How long a run at the chosen level is expected to take, in microseconds.
    pub fn expected_us(&self) -> f32 {
        let timing = self.level_timing();
        timing.map_or(0.0, |timing| {
            timing.time_us(self.khz) * self.slow_down.mean()
        })
    }

    fn level_timing(&self) -> Option<&'a LevelTiming> {
        self.profile.levels().get(self.level as usize)
    }

    /// Compares the last run with what was expected of it, now that the frequency at its end is known.
    fn learn(&mut self, khz_at_end: u32) {
        let run_us = core::mem::replace(&mut self.run_us, 0.0);
        let Some(timing) = self.level_timing() else {
            return;
        };
        // Where the frequency changed, it did so at any moment of the run: the time expected is uniformly
        // distributed between that of no change and that of a change at once.
        let (at_begin, at_end) = (timing.time_us(self.khz), timing.time_us(khz_at_end));
        let expected_us = 0.5 * (at_begin + at_end);
        let spread = (at_end - at_begin) / expected_us;
        let ratio = run_us / expected_us;
        // False also if there was no run, no choice before, or a time that makes no sense.
        if !(ratio > 0.0 && ratio.is_finite() && spread.is_finite()) {
            return;
        }
        self.slow_down.observe(ratio, spread * spread / 12.0);
    }

    /// No run-time noise may make levels alternate: a step up waits for several choices in sequence that
    /// have room for it, and for more of them after it has proved wrong.
    fn step_up_with_patience(&mut self, limit_us: f32, khz: u32) {
        let roomy = limit_us / (1.0 + self.config.margin);
        let fitting = self.profile.largest_within(roomy, khz);
        if fitting <= self.level {
            self.n_good = 0;
            return;
        }
        self.n_good = self.n_good.saturating_add(1);
        let clear = roomy / (1.0 + CLEAR_ROOM * self.slow_down.deviation() / self.slow_down.mean());
        let is_clear = self.profile.largest_within(clear, khz) > self.level;
        let needed = match is_clear && self.n_mistakes == 0 {
            true => 1,
            false => self.config.good_runs.saturating_mul(1 << self.n_mistakes),
        };
        if self.n_good >= needed {
            self.level = fitting;
            self.n_good = 0;
            self.n_since_step_up = 0;
        }
    }
}
