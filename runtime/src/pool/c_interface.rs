//! The pool for C, as `runtime/include/cnd_pool.h` declares it.

use super::ThreadPool;
use crate::abi::{Kernel, ParallelFor};
use core::ffi::c_void;
use core::ptr;
use std::boxed::Box;

// The signature is the one that generated libraries expect.
const _: ParallelFor = cnd_pool_parallel_for;

/// Starts a pool, see [`ThreadPool::new`]; null if the system starts no more threads.
#[unsafe(no_mangle)]
pub extern "C" fn cnd_pool_new(n_threads: usize) -> *mut ThreadPool {
    match ThreadPool::new(n_threads) {
        Ok(pool) => Box::into_raw(Box::new(pool)),
        Err(_) => ptr::null_mut(),
    }
}

/// Ends a pool; null is none.
///
/// # Safety
/// `pool` is from [`cnd_pool_new`] and used by nobody, now or later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_pool_free(pool: *mut ThreadPool) {
    if !pool.is_null() {
        // SAFETY: the caller's.
        drop(unsafe { Box::from_raw(pool) });
    }
}

/// The [`ParallelFor`] of a pool: [`ThreadPool::parallel_for`].
///
/// # Safety
/// `pool` is from [`cnd_pool_new`] or [`ThreadPool::as_ptr`]; the rest as there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_pool_parallel_for(
    pool: *mut c_void,
    kernel: Kernel,
    bases: *const *mut c_void,
    arguments: *const c_void,
    n_tasks: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let pool = &*pool.cast::<ThreadPool>();
        pool.parallel_for(kernel, bases, arguments, n_tasks);
    }
}
