//! Runs that end in time: the level falls in the middle of a run as soon as what is left of it would take too long.
//!
//! ```text
//! before step i of a run at level k, t ns after the start:
//!     pace     ns per unit of `remaining`: what was expected, corrected by the steps done so far
//!     rest   = step i at level j, all others at level j - 1
//!     level  = the highest j <= k with  t + rest * pace * (1 + reserve) <= deadline,  or L0
//! ```
//! So a run may begin one level above what it could afford as a whole, and falls when it has to: what a run may take
//! is not bound to the times that levels have. Where it turns out to have more time than was thought, the level rises
//! again, up to that of the run. The pace to expect is that of the runs before, or a governor's; a core that was just
//! slowed down shows within a few steps.

use core::ffi::c_void;
use core::ptr;

use crate::abi::{ABI_VERSION, Model};
use crate::governor::{Governor, Profile};

/// Share of a run after which what was measured counts as much as what was expected.
const TRUST: f32 = 0.1;

/// A clock, in nanoseconds from any start.
pub type Clock = unsafe extern "C" fn(context: *mut c_void) -> u64;

/// A deadline, and how far the run is: with [`cnd_deadline_choose`] the arguments of a `run_adaptive`.
#[repr(C)]
pub struct Deadline {
    /// The model.
    pub model: *const Model,
    /// What is left of a run from each step on, `n_levels` rows, L0 first, of `n_steps`, in any unit of time; null stands
    /// for [`Model::remaining_cycles`].
    pub remaining: *const f32,
    /// How long a unit of `remaining` is expected to take.
    pub ns_per_unit: f32,
    /// How long a run may take.
    pub deadline_ns: f32,
    /// Time to keep free, as a share of what is left to do: the surer the pace, the less is needed. 0.02 is careful.
    pub reserve: f32,
    /// Tells the time; called before every step.
    pub clock: Clock,
    /// What the clock gets.
    pub clock_context: *mut c_void,
    /// One byte per step for the level it ran at, or null.
    pub levels: *mut u8,
    /// Of the clock, set by [`Deadline::start`].
    pub start_ns: u64,
    /// Units of the steps so far.
    pub done: f32,
    /// The lowest level of a step so far; `u32::MAX` before the first.
    pub lowest_level: u32,
    /// The level that the run was started at.
    pub highest_level: u32,
}

/// What is left of a run from each step on, at every level.
#[derive(Debug, Clone, Copy)]
pub struct Remaining<'a> {
    /// `[n_levels, n_steps]`, L0 first, in any unit of time.
    pub table: &'a [f32],
    /// Steps of a run.
    pub n_steps: usize,
}

impl Remaining<'_> {
    fn n_levels(self) -> u32 {
        (self.table.len() / self.n_steps.max(1)) as u32
    }

    /// From the beginning of a step on, to the end.
    fn from(self, level: u32, step: usize) -> f32 {
        let is_step = step < self.n_steps;
        let at = level as usize * self.n_steps + step;
        self.table
            .get(at)
            .filter(|_| is_step)
            .map_or(0.0, |left| *left)
    }

    /// One step.
    fn of(self, level: u32, step: usize) -> f32 {
        self.from(level, step) - self.from(level, step + 1)
    }
}

impl Default for Deadline {
    /// Without a model, a clock, or time: for [`Deadline::choose_at`], or to be filled in.
    fn default() -> Self {
        unsafe extern "C" fn no_clock(_: *mut c_void) -> u64 {
            0
        }
        Self {
            model: ptr::null(),
            remaining: ptr::null(),
            ns_per_unit: 0.0,
            deadline_ns: 0.0,
            reserve: 0.0,
            clock: no_clock,
            clock_context: ptr::null_mut(),
            levels: ptr::null_mut(),
            start_ns: 0,
            done: 0.0,
            lowest_level: u32::MAX,
            highest_level: 0,
        }
    }
}

impl Deadline {
    /// Starts a run now.
    ///
    /// # Safety
    /// The clock may be called with its context.
    pub unsafe fn start(&mut self) {
        // SAFETY: the caller's.
        let now_ns = unsafe { (self.clock)(self.clock_context) };
        self.start_at(now_ns);
    }

    /// Starts a run at a moment.
    pub fn start_at(&mut self, now_ns: u64) {
        self.start_ns = now_ns;
        self.done = 0.0;
        self.lowest_level = u32::MAX;
    }

    /// The level for `step`; the first call of a run gives the highest that it may have.
    ///
    /// # Safety
    /// The fields are what their documentation says, and the model has a step of this number.
    pub unsafe fn choose(&mut self, step: usize, level: u32) -> u32 {
        // SAFETY: the caller's; tables have a row of `n_steps` numbers for every level, and there is a byte for every
        // step.
        unsafe {
            let model = &*self.model;
            let table = match self.remaining.is_null() {
                true => model.remaining_cycles,
                false => self.remaining,
            };
            let n_steps = model.n_steps as usize;
            let table = core::slice::from_raw_parts(table, model.n_levels as usize * n_steps);
            let now_ns = (self.clock)(self.clock_context);
            let chosen = self.choose_at(now_ns, Remaining { table, n_steps }, step, level);
            if !self.levels.is_null() {
                // Levels are at most 64.
                *self.levels.add(step) = chosen as u8;
            }
            chosen
        }
    }

    /// The level for `step` at a moment; the first call of a run gives the highest that it may have. Takes no notice of
    /// the fields that lead elsewhere.
    pub fn choose_at(&mut self, now_ns: u64, work: Remaining<'_>, step: usize, level: u32) -> u32 {
        let elapsed_ns = now_ns.saturating_sub(self.start_ns) as f32;
        let left_ns = self.deadline_ns - elapsed_ns;
        if self.lowest_level == u32::MAX {
            self.highest_level = level.min(work.n_levels().saturating_sub(1));
        }
        let highest = self.highest_level;
        let pace = self.pace(elapsed_ns, work.from(highest, step)) * (1.0 + self.reserve);
        let fits = |&level: &u32| {
            let rest = work.from(level.saturating_sub(1), step + 1);
            (work.of(level, step) + rest) * pace <= left_ns
        };
        let chosen = (0..=highest).rev().find(fits).unwrap_or(0);
        self.done += work.of(chosen, step);
        self.lowest_level = self.lowest_level.min(chosen);
        chosen
    }

    /// Expects of the next run what a governor does, and gives it `deadline_us` microseconds. `remaining` is in
    /// microseconds at the reference frequency of the governor's profile, as `condensec profile` writes it or
    /// [`remaining_us`] computes it; the governor's last choice was for this run.
    pub fn expect(&mut self, governor: &Governor<'_>, deadline_us: f32) {
        let chance = governor.chance();
        self.ns_per_unit = 1000.0 * governor.us_per_reference_us();
        self.deadline_ns = 1000.0 * deadline_us / (1.0 + chance);
        // Beyond that only for what the last steps cannot make up for.
        self.reserve = 0.5 * chance;
    }

    /// Tells a governor how long the run took that just ended, at whatever levels it ran.
    pub fn observe(&self, governor: &mut Governor<'_>, run_us: f32) {
        governor.observe_as(run_us, self.done);
    }

    /// Nanoseconds per unit, from what was expected and what was seen.
    fn pace(&self, elapsed_ns: f32, remaining: f32) -> f32 {
        let expected = TRUST * (self.done + remaining);
        match self.done > 0.0 {
            true => (expected * self.ns_per_unit + elapsed_ns) / (expected + self.done),
            false => self.ns_per_unit,
        }
    }
}

/// What is left of a run from each step on, at every level, in microseconds at the profile's reference frequency:
/// `[n_levels, n_steps]`, for [`Deadline::remaining`] where no profile has it. Steps have the shares of a run that the
/// compiler predicted. Returns
/// the length, or 0 where `table` is too short, the profile has other levels, or the descriptor is of another interface
/// version.
pub fn remaining_us(model: &Model, profile: &Profile<'_>, table: &mut [f32]) -> usize {
    let (n_levels, n_steps) = (model.n_levels as usize, model.n_steps as usize);
    let timings = profile.levels();
    let length = n_levels * n_steps;
    if model.abi_version != ABI_VERSION || timings.len() != n_levels || n_steps == 0 {
        return 0;
    }
    let Some(table) = table.get_mut(..length) else {
        return 0;
    };
    // SAFETY: a descriptor of this version has a table of that size.
    let cycles = unsafe { core::slice::from_raw_parts(model.remaining_cycles, length) };
    let rows = cycles
        .chunks_exact(n_steps)
        .zip(table.chunks_exact_mut(n_steps));
    for ((cycles, row), timing) in rows.zip(timings) {
        let us_per_cycle = timing.time_us(profile.reference_khz()) / cycles[0].max(1.0);
        for (us, cycles) in row.iter_mut().zip(cycles) {
            *us = cycles * us_per_cycle;
        }
    }
    length
}

/// [`Deadline::start`] for C.
///
/// # Safety
/// `deadline` is one; the rest as there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_deadline_start(deadline: *mut Deadline) {
    // SAFETY: the caller's.
    unsafe { (*deadline).start() };
}

/// The [`crate::abi::ChooseLevel`] of a [`Deadline`].
///
/// # Safety
/// `deadline` is one, for the model that runs, and has started; `level` is the run's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_deadline_choose(deadline: *mut c_void, step: usize, level: *mut u32) {
    // SAFETY: the caller's.
    unsafe { *level = (*deadline.cast::<Deadline>()).choose(step, *level) };
}

/// [`remaining_us`] for C; `table` has room for `length` numbers. 0 where one of them is null.
///
/// # Safety
/// `model` and `profile` are null or ones, and `table` is null or as long as that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_deadline_remaining_us(
    model: *const Model,
    profile: *const Profile<'static>,
    table: *mut f32,
    length: usize,
) -> usize {
    if model.is_null() || profile.is_null() || table.is_null() {
        return 0;
    }
    // SAFETY: the caller's.
    unsafe {
        let table = core::slice::from_raw_parts_mut(table, length);
        remaining_us(&*model, &*profile, table)
    }
}

/// [`Deadline::expect`] for C.
///
/// # Safety
/// Both are initialised, and nobody else uses them now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_deadline_expect(
    deadline: *mut Deadline,
    governor: *const Governor<'static>,
    deadline_us: f32,
) {
    // SAFETY: the caller's.
    unsafe { (*deadline).expect(&*governor, deadline_us) };
}

/// [`Deadline::observe`] for C.
///
/// # Safety
/// As [`cnd_deadline_expect`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_deadline_observe(
    deadline: *const Deadline,
    governor: *mut Governor<'static>,
    run_us: f32,
) {
    // SAFETY: the caller's.
    unsafe { (*deadline).observe(&mut *governor, run_us) };
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// Two levels of ten steps: a step takes 10 at L1 and 5 at L0.
    const TABLE: [f32; 20] = {
        let mut table = [0.0; 20];
        let mut step = 0;
        while step < 10 {
            table[step] = 5.0 * (10 - step) as f32;
            table[10 + step] = 10.0 * (10 - step) as f32;
            step += 1;
        }
        table
    };

    const WORK: Remaining<'static> = Remaining {
        table: &TABLE,
        n_steps: 10,
    };

    /// Levels of a run in which step `i` takes `slow_down(i)` times as long as expected, and how long it took.
    fn run(deadline_ns: f32, reserve: f32, slow_down: impl Fn(usize) -> f32) -> (Vec<u32>, f32) {
        let mut deadline = Deadline {
            ns_per_unit: 1.0,
            deadline_ns,
            reserve,
            ..Deadline::default()
        };
        deadline.start_at(1000);
        let (mut now, mut level) = (1000.0, 1);
        let mut levels = Vec::new();
        for step in 0..10 {
            level = deadline.choose_at(now as u64, WORK, step, level);
            now += WORK.of(level, step) * slow_down(step);
            levels.push(level);
        }
        assert_eq!(Some(&deadline.lowest_level), levels.iter().min());
        (levels, now - 1000.0)
    }

    #[test]
    fn all_the_time_is_used() {
        assert_eq!(run(100.0, 0.0, |_| 1.0), ([1; 10].to_vec(), 100.0));
        let (levels, time) = run(75.0, 0.0, |_| 1.0);
        assert_eq!(levels, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(time, 75.0);
        assert_eq!(run(20.0, 0.0, |_| 1.0), ([0; 10].to_vec(), 50.0));
    }

    #[test]
    fn a_level_that_fell_may_rise_again() {
        // The first steps are slow, the rest are as expected.
        let (levels, time) = run(90.0, 0.0, |step| if step < 2 { 2.0 } else { 1.0 });
        let first_low = levels.iter().position(|&level| level == 0).unwrap();
        assert!(levels[first_low..].contains(&1), "{levels:?}");
        assert!(time <= 90.0 && time > 80.0, "{levels:?} {time}");
    }

    #[test]
    fn a_reserve_shrinks_with_what_is_left() {
        // A tenth of the whole run would leave it 91.
        let (levels, time) = run(100.0, 0.1, |_| 1.0);
        assert!((92.0..=100.0).contains(&time), "{levels:?} {time}");
    }
}
