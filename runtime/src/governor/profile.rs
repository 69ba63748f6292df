//! What the governor knows of a model in advance: how long a run takes at each level and frequency.
//!
//! A run is work that the clock scales and waiting that it does not: `t(l, f) = C_l / f + M_l`.
//! `condensec profile` measures both parts and writes them as a constant table, for C and Rust, that
//! a program carries in flash; a descriptor's predictions do for a start ([`timings_of_model`]).

use core::marker::PhantomData;

use crate::abi::{ABI_VERSION, Model};

/// Frequency that is assumed where a profile has none: cycles are nanoseconds then.
const ONE_GHZ_IN_KHZ: u32 = 1_000_000;

/// How long a run at one level takes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelTiming {
    /// Cycles of the core's clock: the part of a run that a higher frequency shortens.
    pub cycles: f32,
    /// Microseconds that no frequency changes, spent waiting for memory.
    pub memory_us: f32,
}

impl LevelTiming {
    /// Microseconds of a run at a frequency.
    pub fn time_us(&self, khz: u32) -> f32 {
        self.time_us_at(us_per_cycle(khz))
    }

    fn time_us_at(&self, us_per_cycle: f32) -> f32 {
        self.cycles * us_per_cycle + self.memory_us
    }
}

fn us_per_cycle(khz: u32) -> f32 {
    1000.0 / khz as f32
}

/// The timings of all levels, L0 first.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Profile<'a> {
    /// `n_levels` timings; null where there are none.
    levels: *const LevelTiming,
    n_levels: u32,
    /// Frequency to assume where a caller gives none: the highest that was measured. 0 stands for 1 GHz.
    reference_khz: u32,
    timings: PhantomData<&'a [LevelTiming]>,
}

// SAFETY: a `Profile` is a shared reference to constants.
unsafe impl Send for Profile<'_> {}
// SAFETY: as above.
unsafe impl Sync for Profile<'_> {}

impl<'a> Profile<'a> {
    /// A profile of the levels in `timings`; those after the first 2^32 - 1 are left out.
    pub const fn new(timings: &'a [LevelTiming], reference_khz: u32) -> Self {
        let n_levels = if timings.len() > u32::MAX as usize {
            u32::MAX
        } else {
            timings.len() as u32
        };
        Self {
            levels: timings.as_ptr(),
            n_levels,
            reference_khz,
            timings: PhantomData,
        }
    }

    /// The timings, L0 first.
    pub fn levels(&self) -> &'a [LevelTiming] {
        if self.levels.is_null() {
            return &[];
        }
        // SAFETY: `new` took both from a slice; from C they come with that promise.
        unsafe { core::slice::from_raw_parts(self.levels, self.n_levels as usize) }
    }

    /// The frequency that counts where none is known.
    pub fn reference_khz(&self) -> u32 {
        match self.reference_khz {
            0 => ONE_GHZ_IN_KHZ,
            khz => khz,
        }
    }

    /// The highest level whose run takes at most `limit_us`; L0 where none does.
    pub(super) fn largest_within(&self, limit_us: f32, khz: u32) -> u32 {
        let us_per_cycle = us_per_cycle(khz);
        let levels = self.levels();
        // From the top: times usually grow with the level, but a measured table need not.
        let found = levels
            .iter()
            .rposition(|timing| timing.time_us_at(us_per_cycle) <= limit_us);
        found.unwrap_or(0) as u32
    }
}

/// Fills `timings` with a descriptor's predictions, for a model that nobody has measured; returns
/// the number of levels, or 0 where the descriptor is of another interface version or `timings` is too
/// short. Times between levels are in proportion; what their unit is worth on this machine the governor
/// learns from the first run.
pub fn timings_of_model(model: &Model, timings: &mut [LevelTiming]) -> usize {
    let n_levels = model.n_levels as usize;
    if model.abi_version != ABI_VERSION || model.levels.is_null() {
        return 0;
    }
    let Some(timings) = timings.get_mut(..n_levels) else {
        return 0;
    };
    // SAFETY: a descriptor of this version has `n_levels` levels.
    let levels = unsafe { core::slice::from_raw_parts(model.levels, n_levels) };
    for (timing, level) in timings.iter_mut().zip(levels) {
        *timing = LevelTiming {
            cycles: level.predicted_cycles as f32,
            memory_us: 0.0,
        };
    }
    n_levels
}
