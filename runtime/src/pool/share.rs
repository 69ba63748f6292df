//! The tasks of a job that are dealt to one thread.
//!
//! Its owner takes pieces from the front, threads that are through their own take from the back, so
//! neighbouring tasks stay in one core's cache as long as the load is even. Both ends are in one
//! word and change in one compare-and-swap. A claim is thus valid for whatever the word stands for
//! at that moment, even if it was read during an earlier job.

use super::cpu;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A claim takes this part of what is left, so pieces are large at first, for few claims, and small
/// in the end, for an even finish.
const PART: u32 = 4;

/// `begin..end`: `begin` in the lower half of the word, `end` in the upper one. Aligned to two cache
/// lines, since x86 fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Share {
    tasks: AtomicU64,
    /// The core that the owner was last seen on, plus 1; 0 if none is known.
    cpu: AtomicUsize,
}

impl Share {
    /// Deals `tasks`; everything written before is visible to whoever takes one of them.
    pub fn deal(&self, tasks: Range<u32>) {
        self.tasks.store(pack(tasks), Ordering::Release);
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        unpack(self.tasks.load(Ordering::Relaxed)).is_empty()
    }

    /// Notes the core that the owner, who calls this, is on, and returns it.
    pub fn note_cpu(&self) -> Option<usize> {
        let cpu = cpu::current();
        let noted = cpu.map_or(0, |cpu| cpu + 1);
        // A store would take the line from the threads that look for tasks.
        if self.cpu.load(Ordering::Relaxed) != noted {
            self.cpu.store(noted, Ordering::Relaxed);
        }
        cpu
    }

    /// The core noted last.
    pub fn cpu(&self) -> Option<usize> {
        self.cpu.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Takes the next tasks, for the owner.
    pub fn take_front(&self) -> Option<Range<u32>> {
        self.take(|Range { start, end }, n| (start..start + n, start + n..end))
    }

    /// Takes the last tasks, for the others.
    pub fn take_back(&self) -> Option<Range<u32>> {
        self.take(|Range { start, end }, n| (end - n..end, start..end - n))
    }

    /// `split` divides what is left into `n` tasks to take and the rest.
    fn take(
        &self,
        split: impl Fn(Range<u32>, u32) -> (Range<u32>, Range<u32>),
    ) -> Option<Range<u32>> {
        let mut word = self.tasks.load(Ordering::Relaxed);
        loop {
            let left = unpack(word);
            if left.is_empty() {
                return None;
            }
            let n = (left.end - left.start).div_ceil(PART);
            let (taken, rest) = split(left, n);
            match self.tasks.compare_exchange_weak(
                word,
                pack(rest),
                // Acquire: see `deal`, to which all exchanges since form one release sequence.
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(taken),
                Err(now) => word = now,
            }
        }
    }
}

fn pack(tasks: Range<u32>) -> u64 {
    u64::from(tasks.start) | u64::from(tasks.end) << 32
}

fn unpack(word: u64) -> Range<u32> {
    word as u32..(word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn all(take: impl FnMut() -> Option<Range<u32>>) -> Vec<Range<u32>> {
        core::iter::from_fn(take).collect()
    }

    #[test]
    fn nothing_is_there_before_it_is_dealt() {
        let share = Share::default();
        assert!(share.is_empty());
        assert_eq!((share.take_front(), share.take_back()), (None, None));
    }

    #[test]
    fn pieces_shrink_towards_the_end() {
        let share = Share::default();
        share.deal(10..26);
        let pieces = all(|| share.take_front());
        assert_eq!(pieces[..4], [10..14, 14..17, 17..20, 20..22]);
        assert_eq!(pieces[4..], [22..23, 23..24, 24..25, 25..26]);
        share.deal(0..5);
        assert_eq!(all(|| share.take_back()), [3..5, 2..3, 1..2, 0..1]);
    }

    #[test]
    fn both_ends_meet() {
        let share = Share::default();
        share.deal(u32::MAX - 3..u32::MAX);
        assert_eq!(share.take_back(), Some(u32::MAX - 1..u32::MAX));
        assert_eq!(share.take_front(), Some(u32::MAX - 3..u32::MAX - 2));
        assert_eq!(share.take_back(), Some(u32::MAX - 2..u32::MAX - 1));
        assert!(share.is_empty());
        assert_eq!(share.take_front(), None);
    }
}
