//! Clock frequencies for C, as `runtime/include/cnd_cpufreq.h` declares them.

use super::{Cpufreq, SYSFS};
use core::ffi::{CStr, c_char};
use core::ptr;
use std::boxed::Box;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The clock of core number `cpu`; `sysfs` is null for `/sys`. Null where the system does not tell it.
///
/// # Safety
/// `sysfs` is null or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_cpufreq_open(sysfs: *const c_char, cpu: u32) -> *mut Cpufreq {
    let root = match sysfs.is_null() {
        true => Path::new(SYSFS),
        // SAFETY: the caller's.
        false => Path::new(OsStr::from_bytes(
            unsafe { CStr::from_ptr(sysfs) }.to_bytes(),
        )),
    };
    match Cpufreq::open(root, cpu) {
        Ok(clock) => Box::into_raw(Box::new(clock)),
        Err(_) => ptr::null_mut(),
    }
}

/// The frequency that the next run begins at, in kHz; 0, which a governor takes for unknown, where it
/// cannot be read or `clock` is null. Allocates nothing.
///
/// # Safety
/// `clock` is null or from [`cnd_cpufreq_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_cpufreq_khz(clock: *const Cpufreq) -> u32 {
    // SAFETY: the caller's.
    let clock = unsafe { clock.as_ref() };
    clock.and_then(|clock| clock.khz().ok()).unwrap_or(0)
}

/// Closes a clock; null is none.
///
/// # Safety
/// `clock` is null, or from [`cnd_cpufreq_open`] and used by nobody, now or later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_cpufreq_close(clock: *mut Cpufreq) {
    if !clock.is_null() {
        // SAFETY: the caller's.
        drop(unsafe { Box::from_raw(clock) });
    }
}
