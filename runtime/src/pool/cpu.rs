//! Which core a thread is on, and moving off it; only on Linux, elsewhere nobody can tell.
//!
//! A system may wake a thread on the core of the one that woke it although others are idle: the
//! sleeper's data may be there, and a core that is awake saves energy. For a job this is the worst
//! place, since both threads have work for it at the same time. A thread that finds itself on an
//! occupied core asks for the others, which moves it at once, and then for all of its cores again, so
//! that the system stays free to place it. No thread is tied to a core: one tied to the core of
//! another program's thread would have to wait for that one.

/// The core that the calling thread is on.
pub(super) fn current() -> Option<usize> {
    system::current()
}

/// Moves the calling thread to one of its cores that is none of `occupied`, if there is one.
pub(super) fn leave(occupied: impl Iterator<Item = usize>) {
    let Some(allowed) = system::allowed() else {
        return;
    };
    let mut free = allowed;
    occupied.for_each(|cpu| free.remove(cpu));
    if free.is_empty() {
        return;
    }
    system::allow(&free);
    system::allow(&allowed);
}

/// Cores that a thread may be on, as the system takes them; those above 1023 are never left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct CpuSet([usize; Self::N_WORDS]);

impl CpuSet {
    const N_WORDS: usize = 1024 / usize::BITS as usize;

    fn remove(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / usize::BITS as usize) {
            *word &= !(1 << (cpu % usize::BITS as usize));
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod system {
    use super::CpuSet;
    use core::ffi::c_int;

    unsafe extern "C" {
        safe fn sched_getcpu() -> c_int;
        fn sched_getaffinity(thread: c_int, bytes: usize, set: *mut CpuSet) -> c_int;
        fn sched_setaffinity(thread: c_int, bytes: usize, set: *const CpuSet) -> c_int;
    }

    /// Stands for the calling thread.
    const SELF: c_int = 0;

    pub fn current() -> Option<usize> {
        usize::try_from(sched_getcpu()).ok()
    }

    pub fn allowed() -> Option<CpuSet> {
        let mut set = CpuSet([0; CpuSet::N_WORDS]);
        // SAFETY: the set is as long as said.
        let status = unsafe { sched_getaffinity(SELF, size_of::<CpuSet>(), &mut set) };
        (status == 0).then_some(set)
    }

    /// Does nothing if the system refuses.
    pub fn allow(set: &CpuSet) {
        // SAFETY: the set is as long as said.
        unsafe { sched_setaffinity(SELF, size_of::<CpuSet>(), set) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod system {
    use super::CpuSet;

    pub fn current() -> Option<usize> {
        None
    }

    pub fn allowed() -> Option<CpuSet> {
        None
    }

    pub fn allow(_: &CpuSet) {}
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn cores_are_removed_once() {
        let mut set = CpuSet([0; CpuSet::N_WORDS]);
        set.0[1] = 0b101;
        let bits = usize::BITS as usize;
        for cpu in [0, bits, bits, 5000] {
            set.remove(cpu);
        }
        assert_eq!(set.0[1], 0b100);
        set.remove(bits + 2);
        assert!(set.is_empty());
    }

    /// In a thread of its own, which nobody else moves.
    #[test]
    fn a_thread_leaves_an_occupied_core_and_may_come_back() {
        thread::spawn(|| {
            let allowed = system::allowed().expect("the system tells");
            let mut only = allowed;
            let occupied = current().expect("the system tells");
            only.remove(occupied);
            if only.is_empty() {
                return;
            }
            // With one core left to go to, the thread is there until it is allowed elsewhere.
            let mut rest = only;
            let there = (0..1024)
                .find(|&cpu| {
                    rest.remove(cpu);
                    rest != only
                })
                .expect("not empty");
            leave((0..1024).filter(|&cpu| cpu != there));
            assert_eq!(system::allowed(), Some(allowed));
            // All cores are occupied: nothing changes.
            leave(0..1024);
            assert_eq!(system::allowed(), Some(allowed));
        })
        .join()
        .unwrap();
    }
}
