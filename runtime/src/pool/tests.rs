//! Every task once, seen by the caller, whoever does it.

use super::*;
use core::ptr;
use core::sync::atomic::AtomicU32;
use std::time::Duration;
use std::vec;

/// Miri looks at every access and is slow.
const MANY: usize = if cfg!(miri) { 50 } else { 20_000 };

/// The job of [`add_one`].
struct Counters {
    /// Not atomic: the pool has to make the writes visible.
    counters: Vec<u32>,
    /// What a task does besides.
    also: fn(&Counters, usize),
    /// For tasks that use the pool themselves.
    pool: Option<Arc<ThreadPool>>,
    n_begun: AtomicU32,
}

impl Counters {
    fn new(n_tasks: usize, also: fn(&Counters, usize)) -> Self {
        Self {
            counters: vec![0; n_tasks],
            also,
            pool: None,
            n_begun: AtomicU32::new(0),
        }
    }

    fn run(&mut self, pool: &ThreadPool) {
        self.n_begun = AtomicU32::new(0);
        let n_tasks = self.counters.len();
        let bases = [self.counters.as_mut_ptr().cast::<c_void>()];
        // SAFETY: one counter per task, and nobody else looks at them meanwhile.
        unsafe {
            pool.parallel_for(add_one, bases.as_ptr(), ptr::from_ref(self).cast(), n_tasks);
        }
    }
}

unsafe extern "C" fn add_one(
    bases: *const *mut c_void,
    arguments: *const c_void,
    begin: usize,
    end: usize,
) {
    for task in begin..end {
        // SAFETY: see `Counters::run`. The vector itself is not looked at, only its elements.
        unsafe {
            *(*bases).cast::<u32>().add(task) += 1;
            let job = &*arguments.cast::<Counters>();
            job.n_begun.fetch_add(1, Ordering::Relaxed);
            (job.also)(job, task);
        }
    }
}

fn pool(n_threads: usize) -> ThreadPool {
    ThreadPool::new(n_threads).expect("the system starts threads")
}

#[test]
fn every_task_is_done_once() {
    for n_threads in [1, 2, 3, 7] {
        let pool = pool(n_threads);
        assert_eq!(pool.n_threads(), n_threads);
        for n_tasks in [0, 1, 2, 3, 7, 8, 63, 64, 65, 1000] {
            let mut job = Counters::new(n_tasks, |_, _| {});
            job.run(&pool);
            assert_eq!(job.counters, vec![1; n_tasks], "{n_threads} threads");
        }
    }
}

#[test]
fn many_small_jobs_follow_each_other() {
    let pool = pool(3);
    let mut jobs: Vec<Counters> = (2..8).map(|n| Counters::new(n, |_, _| {})).collect();
    for round in 1..=MANY {
        for job in &mut jobs {
            job.run(&pool);
            let n = round as u32;
            assert!(job.counters.iter().all(|&counter| counter == n));
        }
    }
}

#[test]
fn sleeping_threads_wake() {
    let pool = pool(2);
    for pause in [0, 1, 10, 60, 200, 2000] {
        thread::sleep(Duration::from_micros(pause));
        // The caller's share: it is through only when a worker has come.
        let mut job = Counters::new(2, |job, _| wait_for(job, 2));
        job.run(&pool);
        assert_eq!(job.counters, [1, 1]);
    }
}

/// Until `n` tasks have begun.
fn wait_for(job: &Counters, n: u32) {
    while job.n_begun.load(Ordering::Relaxed) < n {
        thread::yield_now();
    }
}

#[test]
fn who_is_through_helps_the_others() {
    let pool = pool(2);
    // The first task of a share lasts until all tasks have begun, those behind it too.
    let first_is_slow: [fn(&Counters, usize); 2] = [
        |job, task| wait_for(job, if task == 0 { 8 } else { 0 }),
        |job, task| wait_for(job, if task == 4 { 8 } else { 0 }),
    ];
    for also in first_is_slow {
        let mut job = Counters::new(8, also);
        job.run(&pool);
        assert_eq!(job.counters, [1; 8]);
    }
}

#[test]
fn a_pool_at_work_leaves_callers_alone() {
    let shared = pool(2);
    thread::scope(|scope| {
        for n_tasks in [5, 9, 33] {
            let shared = &shared;
            scope.spawn(move || {
                let mut job = Counters::new(n_tasks, |_, _| {});
                for round in 1..=MANY as u32 / 10 {
                    job.run(shared);
                    assert!(job.counters.iter().all(|&counter| counter == round));
                }
            });
        }
    });
    // A task that uses the pool itself.
    let mut job = Counters::new(4, |job, _| {
        let mut inner = Counters::new(6, |_, _| {});
        inner.run(job.pool.as_deref().expect("set below"));
        assert_eq!(inner.counters, [1; 6]);
    });
    let outer = Arc::new(pool(2));
    job.pool = Some(Arc::clone(&outer));
    job.run(&outer);
    assert_eq!(job.counters, [1; 4]);
}

/// Too many for a share, so the caller gets them all in one call.
#[cfg(target_pointer_width = "64")]
#[test]
fn more_tasks_than_a_share_counts() {
    unsafe extern "C" fn note(
        _: *const *mut c_void,
        noted: *const c_void,
        begin: usize,
        end: usize,
    ) {
        // SAFETY: the one call there is gets the array below.
        unsafe { *noted.cast_mut().cast::<[usize; 2]>() = [begin, end] };
    }
    let mut noted = [0usize; 2];
    let n_tasks = 1 << 32;
    let arguments = (&raw mut noted).cast_const().cast();
    // SAFETY: `note` writes its range, once.
    unsafe { pool(2).parallel_for(note, ptr::null(), arguments, n_tasks) };
    assert_eq!(noted, [0, n_tasks]);
}

#[test]
fn pools_end_at_any_time() {
    for n_threads in [1, 2, 3, 7] {
        for pause in [0, 10, 200] {
            let pool = pool(n_threads);
            thread::sleep(Duration::from_micros(pause));
            drop(pool);
        }
    }
}

#[test]
fn the_number_of_threads_is_checked() {
    assert!(pool(0).n_threads() >= 1);
    assert!(ThreadPool::new(MAX_THREADS + 1).is_err());
    assert!(ThreadPool::new(usize::MAX).is_err());
}
