//! Waiting for something that another thread makes true.
//!
//! Between the steps of a run the wait is a microsecond, between two runs it may be a second. So a
//! thread spins for a while and then sleeps, and [`Signal::notify`] costs a fence and a load unless
//! somebody sleeps.

use core::hint;
use core::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread spins: longer than most steps that the caller does alone, so that workers sleep between
/// runs and not within one; each sleep is also a chance to be woken on the caller's core (see `cpu`).
const SPIN: Duration = Duration::from_millis(1);

/// Looks at the condition between two looks at the clock.
const LOOKS: u32 = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Signal {
    n_sleeping: AtomicUsize,
    /// Held from the last look at the condition until the thread sleeps, so that no call falls
    /// between.
    lock: Mutex<()>,
    call: Condvar,
}

impl Signal {
    /// Returns once `is_true`; whoever makes it true calls [`Signal::notify`] afterwards.
    pub fn wait_until(&self, is_true: impl Fn() -> bool) {
        if spin_until(&is_true) {
            return;
        }
        // Nothing is behind the lock, so a poisoned one is as good.
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.n_sleeping.fetch_add(1, Ordering::Relaxed);
        // With the fence of `notify`: either that one sees the sleeper, or we see the condition.
        fence(Ordering::SeqCst);
        while !is_true() {
            guard = self
                .call
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.n_sleeping.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes all that sleep, to look at their conditions again.
    pub fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.n_sleeping.load(Ordering::Relaxed) > 0 {
            drop(self.lock.lock());
            self.call.notify_all();
        }
    }
}

fn spin_until(is_true: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if is_true() {
                return true;
            }
            hint::spin_loop();
        }
        if start.elapsed() >= SPIN {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;
    use std::thread;

    /// With pauses on both sides of the time that a thread spins.
    #[test]
    fn spinning_and_sleeping_threads_hear() {
        for pause in [Duration::ZERO, SPIN / 2, SPIN * 20] {
            let (signal, is_true) = (Signal::default(), AtomicBool::new(false));
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| signal.wait_until(|| is_true.load(Ordering::Acquire)));
                }
                thread::sleep(pause);
                is_true.store(true, Ordering::Release);
                signal.notify();
            });
            assert_eq!(signal.n_sleeping.load(Ordering::Relaxed), 0);
        }
    }
}
