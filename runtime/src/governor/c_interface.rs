//! The governor for C, as `runtime/include/cnd_governor.h` declares it.
//!
//! The header is made from this file and the types that it uses, see `tests/runtime_headers.rs`.

use super::{Config, Governor, LevelTiming, Profile, timings_of_model};
use crate::abi::Model;

/// Makes a governor in memory that the caller gives. `profile` and its timings are read as long as
/// the governor is used; `config` may be null for the default. Nothing to free.
///
/// # Safety
/// `governor` leads to memory for one; `profile` to one whose timings exist; `config` is null or leads to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_governor_init(
    governor: *mut Governor<'static>,
    profile: *const Profile<'static>,
    config: *const Config,
) {
    // SAFETY: the caller's.
    unsafe {
        let config = config.as_ref().copied().unwrap_or_default();
        governor.write(Governor::new(*profile, config));
    }
}

/// The level for a run that has `deadline_us` microseconds from now and begins at the clock frequency
/// `khz`, 0 if that is unknown. Level 0 where none is fast enough.
///
/// # Safety
/// `governor` was initialised, and nobody else uses it now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_governor_choose(
    governor: *mut Governor<'static>,
    deadline_us: f32,
    khz: u32,
) -> u32 {
    // SAFETY: the caller's.
    unsafe { (*governor).choose(deadline_us, khz) }
}

/// Takes in how long the run at the chosen level took. Leave out runs that were cut short or used another level.
///
/// # Safety
/// As [`cnd_governor_choose`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_governor_observe(governor: *mut Governor<'static>, run_us: f32) {
    // SAFETY: the caller's.
    unsafe { (*governor).observe(run_us) }
}

/// How much longer runs take than the profile says, as far as they have been observed: 1 is as it says.
///
/// # Safety
/// As [`cnd_governor_choose`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_governor_slow_down(governor: *const Governor<'static>) -> f32 {
    // SAFETY: the caller's.
    unsafe { (*governor).slow_down().mean() }
}

/// How many microseconds a run at the chosen level is expected to take.
///
/// # Safety
/// As [`cnd_governor_choose`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_governor_expected_us(governor: *const Governor<'static>) -> f32 {
    // SAFETY: the caller's.
    unsafe { (*governor).expected_us() }
}

/// The default configuration, to change single fields of.
#[unsafe(no_mangle)]
pub extern "C" fn cnd_governor_default_config() -> Config {
    Config::default()
}

/// Fills `timings`, which has room for `n_timings` levels, with the predictions in a model's descriptor; for a
/// model that has no profile. Returns the number of levels, or 0 where there is no room or the descriptor
/// is of another interface version. The first runs tell the governor what the predictions are worth.
///
/// # Safety
/// `model` is what `<name>_model()` returns; `timings` has room for `n_timings`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_timings_of_model(
    model: *const Model,
    timings: *mut LevelTiming,
    n_timings: usize,
) -> usize {
    if model.is_null() || timings.is_null() {
        return 0;
    }
    // SAFETY: the caller's.
    unsafe {
        let timings = core::slice::from_raw_parts_mut(timings, n_timings);
        timings_of_model(&*model, timings)
    }
}
