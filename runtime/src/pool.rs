//! Threads that do the tasks of a run, for callers who bring none; only with the feature `std`.
//!
//! A run has dozens of steps of 10 us to 2 ms, so handing one out must cost about a microsecond: it
//! allocates nothing, takes no lock, and finds the threads spinning.
//!
//! ```text
//! caller                                   worker
//!   deal the tasks, a share per thread       wait until some share is not empty
//!   take and do tasks until none is left     take and do tasks until none is left
//!   wait until all are done                  report how many it did
//! ```
//! The caller waits only for tasks that somebody has taken, never for a thread to show up: where
//! other programs use the cores, or the workers sleep, it does the work alone.

mod c_interface;
mod cpu;
mod share;
mod signal;
#[cfg(test)]
mod tests;

pub use c_interface::{cnd_pool_free, cnd_pool_new, cnd_pool_parallel_for};

use crate::abi::Kernel;
use core::ffi::c_void;
use core::mem;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use share::Share;
use signal::Signal;
use std::boxed::Box;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::vec::Vec;

/// More threads than any machine runs at once are a mistake, and memory for them may not be there.
const MAX_THREADS: usize = 1024;

/// A number of threads, one of which is the caller's. Dropping it ends the others.
///
/// Several threads may use a pool at once: those that find it at work do their tasks alone.
///
/// ```no_run
/// # use condensec_runtime::{abi::Model, pool::{ThreadPool, cnd_pool_parallel_for}};
/// # use core::ffi::c_void;
/// # unsafe fn f(model: &Model, state: *mut c_void, inputs: *const *const c_void, outputs: *const *mut c_void) {
/// let pool = ThreadPool::new(2).expect("the system starts a thread");
/// let status = unsafe {
///     (model.run_parallel)(state, inputs, outputs, Some(cnd_pool_parallel_for), pool.as_ptr())
/// };
/// # }
/// ```
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What the threads have in common.
#[derive(Debug)]
struct Shared {
    /// One per thread, the caller's first.
    shares: Box<[Share]>,
    job: Job,
    /// Tasks of the job that are done.
    n_done: AtomicUsize,
    /// Whether some caller has a job here.
    is_busy: AtomicBool,
    /// Whether the workers are to end.
    is_closed: AtomicBool,
    /// To workers: a share is not empty, or the pool is closed.
    work: Signal,
    /// To the caller: tasks are done.
    progress: Signal,
}

/// The arguments of the kernel. Written only while no task is taken, read only by who holds one.
#[derive(Debug, Default)]
struct Job {
    /// A [`Kernel`].
    kernel: AtomicPtr<c_void>,
    bases: AtomicPtr<*mut c_void>,
    arguments: AtomicPtr<c_void>,
}

impl ThreadPool {
    /// Starts `n_threads - 1` threads; 0 stands for as many threads as the machine runs at once.
    ///
    /// # Errors
    /// The system starts no more threads, or `n_threads` is above 1024.
    pub fn new(n_threads: usize) -> io::Result<Self> {
        let n_threads = match n_threads {
            0 => thread::available_parallelism()?.get(),
            n if n > MAX_THREADS => return Err(io::ErrorKind::InvalidInput.into()),
            n => n,
        };
        let shares = (0..n_threads).map(|_| Share::default());
        let mut pool = Self {
            shared: Arc::new(Shared {
                shares: shares.collect(),
                job: Job::default(),
                n_done: AtomicUsize::new(0),
                is_busy: AtomicBool::new(false),
                is_closed: AtomicBool::new(false),
                work: Signal::default(),
                progress: Signal::default(),
            }),
            workers: Vec::with_capacity(n_threads - 1),
        };
        for own in 1..n_threads {
            let shared = Arc::clone(&pool.shared);
            // An error drops `pool`, which ends those that have started.
            let worker = thread::Builder::new()
                .name("cnd-pool".into())
                .spawn(move || shared.serve(own))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Number of threads, the caller's included.
    pub fn n_threads(&self) -> usize {
        self.shared.shares.len()
    }

    /// What [`cnd_pool_parallel_for`] takes; valid as long as the pool is not moved.
    pub fn as_ptr(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Calls `kernel(bases, arguments, begin, end)` on ranges that together are `0..n_tasks`, on
    /// several threads at once, and returns when all calls have.
    ///
    /// # Safety
    /// The calls are valid on any thread and do not disturb each other.
    pub unsafe fn parallel_for(
        &self,
        kernel: Kernel,
        bases: *const *mut c_void,
        arguments: *const c_void,
        n_tasks: usize,
    ) {
        let shared = &*self.shared;
        let n_dealt = match u32::try_from(n_tasks) {
            Ok(n) if n > 1 && !self.workers.is_empty() => n,
            // More tasks than a share can count, or nothing to share.
            _ => 0,
        };
        // Acquire and release: what the last caller's job left is seen by this one.
        if n_dealt == 0 || shared.is_busy.swap(true, Ordering::Acquire) {
            // SAFETY: the caller's.
            return unsafe { kernel(bases, arguments, 0, n_tasks) };
        }
        shared.shares[0].note_cpu();
        shared.job.set(kernel, bases, arguments);
        shared.n_done.store(0, Ordering::Relaxed);
        shared.deal(n_dealt);
        shared.work.notify();
        shared.do_tasks(0);
        shared
            .progress
            .wait_until(|| shared.n_done.load(Ordering::Acquire) == n_tasks);
        shared.is_busy.store(false, Ordering::Release);
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        self.shared.work.notify();
        for worker in self.workers.drain(..) {
            // A worker does not panic; if one did there would be nothing left to do about it.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// A worker's life; `own` is its share.
    fn serve(&self, own: usize) {
        let is_closed = || self.is_closed.load(Ordering::Relaxed);
        let is_work = || self.shares.iter().any(|share| !share.is_empty());
        loop {
            self.work.wait_until(|| is_work() || is_closed());
            if is_closed() {
                return;
            }
            self.part_from_others(own);
            self.do_tasks(own);
        }
    }

    /// Leaves the core if another thread of the pool is on it.
    fn part_from_others(&self, own: usize) {
        let Some(cpu) = self.shares[own].note_cpu() else {
            return;
        };
        let others = || {
            let others = self.shares.iter().enumerate().filter(|&(i, _)| i != own);
            others.filter_map(|(_, share)| share.cpu())
        };
        if others().any(|other| other == cpu) {
            cpu::leave(others());
            self.shares[own].note_cpu();
        }
    }

    /// Equal shares; where they cannot be equal the caller, who is here already, gets more.
    fn deal(&self, n_tasks: u32) {
        let n_shares = self.shares.len() as u64;
        let edge = |i: usize| (i as u64 * u64::from(n_tasks)).div_ceil(n_shares) as u32;
        for (i, share) in self.shares.iter().enumerate() {
            share.deal(edge(i)..edge(i + 1));
        }
    }

    /// Does tasks until none is left to take, and reports them.
    fn do_tasks(&self, own: usize) {
        let mut n_done = 0;
        while let Some(tasks) = self.take(own) {
            n_done += tasks.len();
            // SAFETY: the tasks were taken, each by one thread only, from the job of the caller of
            // `parallel_for`, who promised that they are valid, and who waits for them, so that the
            // arguments are of this job.
            unsafe { self.job.call(tasks) };
        }
        if n_done > 0 {
            // Release: the caller sees what the tasks wrote.
            self.n_done.fetch_add(n_done, Ordering::Release);
            self.progress.notify();
        }
    }

    /// Tasks of the own share, then of those that follow it.
    fn take(&self, own: usize) -> Option<Range<u32>> {
        let (before, from) = self.shares.split_at(own);
        let (mine, after) = from.split_first()?;
        let mut others = after.iter().chain(before);
        mine.take_front()
            .or_else(|| others.find_map(Share::take_back))
    }
}

impl Job {
    fn set(&self, kernel: Kernel, bases: *const *mut c_void, arguments: *const c_void) {
        // Relaxed: dealing the shares publishes them, the report of all tasks precedes them.
        self.kernel.store(kernel as *mut c_void, Ordering::Relaxed);
        self.bases.store(bases.cast_mut(), Ordering::Relaxed);
        self.arguments
            .store(arguments.cast_mut(), Ordering::Relaxed);
    }

    /// # Safety
    /// The calling thread has taken `tasks`, which are valid to do.
    unsafe fn call(&self, tasks: Range<u32>) {
        // SAFETY: who has taken a task sees a kernel that `set` has stored.
        let kernel: Kernel = unsafe { mem::transmute(self.kernel.load(Ordering::Relaxed)) };
        let bases = self.bases.load(Ordering::Relaxed);
        let arguments = self.arguments.load(Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { kernel(bases, arguments, tasks.start as usize, tasks.end as usize) }
    }
}
