//! Profiles: how long every level of a compiled model takes on a machine, for the governor.
//!
//! ```json
//! {
//!   "condensec_profile": 1,
//!   "model": "resnet50", "target": "x86_64", "cpu": "native", "backend": "llvm",
//!   "source": "measured", "clock": "held", "threads": 1, "reference_khz": 2400000,
//!   "levels": [ { "level": 0, "name": "L0", "density": 0.1, "macs": 412000000,
//!                 "cycles": 26400000, "memory_us": 310, "step_shares": [0.11, ..], "jitter": 0.008, "quality": 0.71,
//!                 "measured": [ { "khz": 2400000, "runs": 60, "min_us": .., "median_us": .., "p95_us": .. } ] } ]
//! }
//! ```
//! A run at frequency `f` takes `cycles / f + memory_us`; `jitter` is the standard deviation of run times over their
//! median. `step_shares` says which share of a run each step takes. `source` is `predicted` where the cost model has the word instead of a clock. `quality` is what `eval` found
//! (top-1 accuracy), or null. `reference_khz` is the highest frequency measured, which counts where a caller knows none;
//! `clock` says where frequencies are from.

use std::path::Path;

use condensec_ir::Diagnostic;
use condensec_runtime::governor::LevelTiming;
use serde::{Deserialize, Serialize};

use crate::driver::read_bytes;
use crate::report::Failure;

const VERSION: u32 = 1;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    condensec_profile: u32,
    /// Name of the model.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// CPU that the code is for.
    pub cpu: String,
    /// Name of the back end.
    pub backend: String,
    /// Where the numbers are from.
    pub source: Source,
    /// Where the frequencies are from.
    pub clock: ClockSource,
    /// Threads of a run.
    pub threads: usize,
    /// The highest frequency that the numbers are for.
    pub reference_khz: u32,
    /// Levels, L0 first.
    pub levels: Vec<LevelProfile>,
}

/// Where a profile's numbers are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A clock, on the machine.
    Measured,
    /// The cost model of the compiler.
    Predicted,
}

/// Where a profile's frequencies are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// Condensec set them.
    Held,
    /// The system told them while levels ran.
    Observed,
    /// The user named one.
    Given,
    /// The processor's description has one.
    Nominal,
    /// Nothing is known; 1 GHz stands in, and cycles are nanoseconds.
    Assumed,
}

/// A level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelProfile {
    /// Number.
    pub level: usize,
    /// Name.
    pub name: String,
    /// Kept share of the maskable layers' weights, in [0, 1].
    pub density: f64,
    /// Multiply-adds of one run.
    pub macs: u64,
    /// The part of a run that the clock scales.
    pub cycles: f64,
    /// The part that it does not.
    pub memory_us: f64,
    /// Share of a run that each step takes; empty in profiles of older versions.
    #[serde(default)]
    pub step_shares: Vec<f32>,
    /// Standard deviation of run times over their median.
    pub jitter: f64,
    /// How good its results are; the unit is the user's, top-1 accuracy by default.
    pub quality: Option<f64>,
    /// Times that `cycles` and `memory_us` were fitted to.
    pub measured: Vec<Measurement>,
}

/// Times of a level at one frequency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The frequency.
    pub khz: u32,
    /// Number of runs.
    pub runs: usize,
    /// The fastest.
    pub min_us: f64,
    /// The middle one.
    pub median_us: f64,
    /// 95 % are not slower.
    pub p95_us: f64,
}

/// What a profile is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Name of the model.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// CPU that the code is for.
    pub cpu: String,
    /// Name of the back end.
    pub backend: String,
    /// Threads of a run.
    pub threads: usize,
}

impl LevelProfile {
    /// Microseconds of a run at a frequency, without jitter.
    pub fn time_us(&self, khz: f64) -> f64 {
        self.cycles * 1000.0 / khz + self.memory_us
    }
}

impl Profile {
    /// A profile of `levels`.
    pub fn new(
        subject: Subject,
        (source, clock): (Source, ClockSource),
        reference_khz: u32,
        levels: Vec<LevelProfile>,
    ) -> Self {
        Self {
            condensec_profile: VERSION,
            model: subject.model,
            target: subject.target,
            cpu: subject.cpu,
            backend: subject.backend,
            source,
            clock,
            threads: subject.threads,
            reference_khz,
            levels,
        }
    }

    /// What it is of.
    pub fn subject(&self) -> Subject {
        Subject {
            model: self.model.clone(),
            target: self.target.clone(),
            cpu: self.cpu.clone(),
            backend: self.backend.clone(),
            threads: self.threads,
        }
    }

    /// The table that the governor reads.
    pub fn timings(&self) -> Vec<LevelTiming> {
        let timing = |level: &LevelProfile| LevelTiming {
            cycles: level.cycles as f32,
            memory_us: level.memory_us as f32,
        };
        self.levels.iter().map(timing).collect()
    }

    /// What is left of a run from each step on, in microseconds at the reference frequency, `[levels, steps]`; empty
    /// where nothing is known of steps.
    pub fn remaining_us(&self) -> Vec<f32> {
        let mut table = Vec::new();
        for level in &self.levels {
            let us = level.time_us(f64::from(self.reference_khz)) as f32;
            let mut left = level.step_shares.iter().sum::<f32>();
            for share in &level.step_shares {
                table.push(left.max(0.0) * us);
                left -= share;
            }
        }
        table
    }

    /// Steps of a run; 0 where nothing is known of them.
    pub fn n_steps(&self) -> usize {
        self.levels[0].step_shares.len()
    }

    /// Microseconds of a run at the highest level and the reference frequency.
    pub fn top_us(&self) -> f64 {
        let top = self.levels.last().expect("a profile has levels");
        top.time_us(f64::from(self.reference_khz))
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// `file-not-found` and others of [`read_bytes`], `bad-profile`.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bad = |what: String| -> Failure {
            Diagnostic::error("bad-profile", format!("not a profile: {what}"))
                .at_file(path.display().to_string())
                .with_help("condensec profile MODEL -o FILE writes one")
                .into()
        };
        let profile: Self =
            serde_json::from_slice(&read_bytes(path)?).map_err(|error| bad(error.to_string()))?;
        profile.check().map_err(bad)?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), String> {
        let found = self.condensec_profile;
        if found != VERSION {
            return Err(format!("version {found}, expected {VERSION}"));
        }
        if self.levels.is_empty() {
            return Err("it has no levels".into());
        }
        if self.reference_khz == 0 {
            return Err("reference_khz is 0".into());
        }
        for (number, level) in self.levels.iter().enumerate() {
            if level.level != number {
                return Err(format!("level {} stands at place {number}", level.level));
            }
            let n_steps = self.levels[0].step_shares.len();
            let is_share = |share: &f32| (0.0..=1.0).contains(share);
            // Rounded, and none where nothing is known of steps.
            let whole: f32 = level.step_shares.iter().sum();
            let is_whole = n_steps == 0 || (whole - 1.0).abs() < 0.01;
            let is_right = level.step_shares.len() == n_steps && is_whole;
            if !is_right || !level.step_shares.iter().all(is_share) {
                return Err(format!(
                    "the step_shares of L{number} are not shares of L0's steps"
                ));
            }
            let us = level.time_us(f64::from(self.reference_khz));
            let is_time = level.cycles >= 0.0 && level.memory_us >= 0.0 && us > 0.0;
            if !is_time || !us.is_finite() {
                let LevelProfile {
                    cycles, memory_us, ..
                } = level;
                return Err(format!(
                    "L{number} takes {cycles} cycles and {memory_us} us, which is no time"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let subject = Subject {
            model: "m".into(),
            target: "x86_64".into(),
            cpu: "native".into(),
            backend: "llvm".into(),
            threads: 1,
        };
        let level = LevelProfile {
            level: 0,
            name: "L0".into(),
            density: 0.5,
            macs: 7,
            cycles: 2e6,
            memory_us: 10.0,
            step_shares: vec![0.25, 0.75],
            jitter: 0.01,
            quality: None,
            measured: vec![],
        };
        let source = (Source::Measured, ClockSource::Given);
        Profile::new(subject, source, 1_000_000, vec![level])
    }

    #[test]
    fn a_file_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        std::fs::write(&path, serde_json::to_vec(&profile()).unwrap()).unwrap();
        assert_eq!(Profile::read(&path).unwrap(), profile());
        assert!((profile().top_us() - 2010.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_profile_is_told() {
        let refused = |change: fn(&mut Profile)| {
            let mut changed = profile();
            change(&mut changed);
            changed.check().unwrap_err()
        };
        assert_eq!(
            refused(|p| p.condensec_profile = 2),
            "version 2, expected 1"
        );
        assert_eq!(refused(|p| p.levels.clear()), "it has no levels");
        assert_eq!(refused(|p| p.reference_khz = 0), "reference_khz is 0");
        assert_eq!(
            refused(|p| p.levels[0].level = 3),
            "level 3 stands at place 0"
        );
        assert_eq!(
            refused(|p| p.levels[0].memory_us = -10.0),
            "L0 takes 2000000 cycles and -10 us, which is no time"
        );
        let no_shares = "the step_shares of L0 are not shares of L0's steps";
        assert_eq!(refused(|p| p.levels[0].step_shares[0] = -1.0), no_shares);
        assert_eq!(refused(|p| p.levels[0].step_shares[0] = 0.5), no_shares);
    }
}
