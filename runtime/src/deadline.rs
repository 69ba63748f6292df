//! Runs that end in time: the level falls in the middle of a run when what is left of it would take too long.
//!
//! ```text
//! before step i at level k, t ns after the start:
//!     pace     ns per unit of `remaining`: what was expected, corrected by the steps done so far
//!     level  = the highest j <= k with  t + remaining[j][i] * pace <= deadline,  or L0
//! ```
//! A level that fell does not rise again in the same run. The pace to expect is that of the runs before; a core that
//! was just slowed down shows within a few steps.

use core::ffi::c_void;

use crate::abi::Model;

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
}

impl Deadline {
    /// Starts a run now.
    ///
    /// # Safety
    /// The clock may be called with its context.
    pub unsafe fn start(&mut self) {
        // SAFETY: the caller's.
        self.start_ns = unsafe { (self.clock)(self.clock_context) };
        self.done = 0.0;
        self.lowest_level = u32::MAX;
    }

    /// The level for `step`, not above `level`.
    ///
    /// # Safety
    /// The fields are what their documentation says, and the model has a step of this number.
    pub unsafe fn choose(&mut self, step: usize, level: u32) -> u32 {
        // SAFETY: the caller's.
        let model = unsafe { &*self.model };
        let n_steps = model.n_steps as usize;
        let table = match self.remaining.is_null() {
            true => model.remaining_cycles,
            false => self.remaining,
        };
        let remaining = |level: u32, step: usize| match step < n_steps {
            // SAFETY: the table has a row of `n_steps` numbers for every level.
            true => unsafe { *table.add(level as usize * n_steps + step) },
            false => 0.0,
        };
        // SAFETY: the caller's.
        let now_ns = unsafe { (self.clock)(self.clock_context) };
        let elapsed_ns = now_ns.saturating_sub(self.start_ns) as f32;
        let level = level.min(model.n_levels - 1);
        let pace = self.pace(elapsed_ns, remaining(level, step));
        let left_ns = self.deadline_ns - elapsed_ns;
        let fits = |&level: &u32| remaining(level, step) * pace <= left_ns;
        let chosen = (0..=level).rev().find(fits).unwrap_or(0);
        self.done += remaining(chosen, step) - remaining(chosen, step + 1);
        self.lowest_level = self.lowest_level.min(chosen);
        if !self.levels.is_null() {
            // SAFETY: there is a byte for every step; levels are at most 64.
            unsafe { *self.levels.add(step) = chosen as u8 };
        }
        chosen
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
