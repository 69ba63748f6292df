//! What the governor promises, on sequences of runs that are simulated here in a few lines.

extern crate std;

use super::c_interface::{cnd_governor_choose, cnd_governor_init, cnd_governor_observe};
use super::{Config, Governor, LevelTiming, Profile};
use core::mem::MaybeUninit;
use core::ptr;
use std::vec::Vec;

const TOP_KHZ: u32 = 2_000_000;

/// Four levels of 10, 20, 30 and 40 ms at the top frequency, a tenth of it waiting.
const LEVELS: [LevelTiming; 4] = [level(10.0), level(20.0), level(30.0), level(40.0)];
const PROFILE: Profile<'static> = Profile::new(&LEVELS, TOP_KHZ);
const DEADLINE_US: f32 = 42_000.0;

const fn level(ms: f32) -> LevelTiming {
    LevelTiming {
        cycles: ms * 0.9 * TOP_KHZ as f32,
        memory_us: ms * 0.1 * 1000.0,
    }
}

fn governor() -> Governor<'static> {
    Governor::new(PROFILE, Config::default())
}

/// Pseudo-random numbers in [-1, 1).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// One run on a machine that is `slow` times slower than the profile; a frequency of 0 is one that
/// the governor is not told.
fn run(governor: &mut Governor<'_>, khz: u32, slow: f32) -> u32 {
    let level = governor.choose(DEADLINE_US, khz);
    let khz = if khz == 0 { TOP_KHZ } else { khz };
    governor.observe(slow * LEVELS[level as usize].time_us(khz));
    level
}

#[test]
fn a_frequency_counts_before_the_next_run() {
    let mut governor = governor();
    for (khz, expected) in [
        (TOP_KHZ, 3),
        (TOP_KHZ / 2, 1),
        (TOP_KHZ, 3),
        (TOP_KHZ / 4, 0),
        (TOP_KHZ * 3 / 4, 2),
    ] {
        assert_eq!(run(&mut governor, khz, 1.0), expected, "{khz}");
    }
}

#[test]
fn an_unknown_frequency_is_learned_from_runs() {
    let mut governor = governor();
    assert_eq!(run(&mut governor, 0, 1.0), 3);
    // The clock halves, and nobody tells.
    let slow = LEVELS[3].time_us(TOP_KHZ / 2) / LEVELS[3].time_us(TOP_KHZ);
    assert_eq!(run(&mut governor, 0, slow), 3);
    assert_eq!(run(&mut governor, 0, slow), 1);
    // And is whole again: the first run shows it, the next uses it.
    assert_eq!(run(&mut governor, 0, 1.0), 1);
    assert_eq!(run(&mut governor, 0, 1.0), 3);
}

#[test]
fn the_factor_converges_in_spite_of_noise() {
    for slow in [0.5_f32, 0.97, 1.0, 1.6, 30.0] {
        let (mut governor, mut numbers) = (governor(), Numbers(1));
        for _ in 0..200 {
            run(&mut governor, TOP_KHZ, slow * (1.0 + 0.02 * numbers.next()));
        }
        let found = governor.slow_down();
        assert!(
            (found.mean() / slow - 1.0).abs() < 0.01,
            "{slow}: {found:?}"
        );
        // Uniform noise of 2 % has a deviation of 1.15 %.
        let relative = found.deviation() / slow;
        assert!((0.007..0.018).contains(&relative), "{slow}: {found:?}");
    }
}

#[test]
fn noise_at_the_edge_of_a_level_makes_few_switches() {
    // L3 takes 41.4 ms of 42: less than noise, so it is within reach now and then.
    let (mut governor, mut numbers) = (governor(), Numbers(7));
    let levels: Vec<u32> = (0..1000)
        .map(|_| {
            run(
                &mut governor,
                TOP_KHZ,
                1.035 * (1.0 + 0.02 * numbers.next()),
            )
        })
        .collect();
    let n_switches = levels.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(n_switches < 60, "{n_switches}");
}

#[test]
fn a_wrong_profile_does_not_make_levels_alternate() {
    // L3 is a tenth slower than its profile, the others are not.
    let mut governor = governor();
    let mut n_late = 0;
    for _ in 0..500 {
        let level = governor.choose(DEADLINE_US, TOP_KHZ);
        let wrong = if level == 3 { 1.1 } else { 1.0 };
        let us = wrong * LEVELS[level as usize].time_us(TOP_KHZ);
        n_late += u32::from(us > DEADLINE_US);
        governor.observe(us);
    }
    assert!(n_late < 25, "{n_late}");
}

#[test]
fn a_step_up_by_run_times_alone_takes_several_good_runs() {
    let config = Config {
        good_runs: 5,
        ..Config::default()
    };
    let mut governor = Governor::new(PROFILE, config);
    for _ in 0..20 {
        run(&mut governor, TOP_KHZ, 1.1);
    }
    assert_eq!(governor.level(), 2);
    // Slowly, so that no single run is news.
    let mut slow = 1.1;
    let mut n_runs = 0;
    while governor.level() == 2 {
        slow = (slow - 0.002_f32).max(1.0);
        run(&mut governor, TOP_KHZ, slow);
        n_runs += 1;
        assert!(n_runs < 200);
    }
    assert_eq!(governor.level(), 3);
    // 40 ms and 1 % of margin fit into 42 from a factor of 1.04 on, at best.
    assert!(n_runs > 30 + 5, "{n_runs}");
}

#[test]
fn one_slow_run_costs_one_run_at_a_lower_level() {
    let mut governor = governor();
    for _ in 0..20 {
        assert_eq!(run(&mut governor, TOP_KHZ, 1.0), 3);
    }
    run(&mut governor, TOP_KHZ, 1.35);
    assert_eq!(run(&mut governor, TOP_KHZ, 1.0), 2);
    assert_eq!(run(&mut governor, TOP_KHZ, 1.0), 3);
}

#[test]
fn more_time_is_never_a_lower_level() {
    let mut numbers = Numbers(3);
    for _ in 0..200 {
        let mut governor = governor();
        for _ in 0..20 {
            let deadline = DEADLINE_US * (1.0 + 0.5 * numbers.next());
            governor.choose(deadline, TOP_KHZ);
            governor.observe(30_000.0 * (1.0 + 0.3 * numbers.next()));
        }
        let level_of = |step: u32| {
            let mut copy = governor;
            copy.choose(step as f32 * 500.0, TOP_KHZ)
        };
        let levels: Vec<u32> = (0..200).map(level_of).collect();
        assert!(levels.is_sorted(), "{levels:?}");
    }
}

#[test]
fn absurd_numbers_do_no_harm() {
    let absurd = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        -1.0,
        f32::MIN_POSITIVE / 2.0,
        f32::MAX,
        42_000.0,
    ];
    let mut tables: Vec<Vec<LevelTiming>> = Vec::from([Vec::new(), LEVELS.to_vec()]);
    for cycles in absurd {
        for memory_us in absurd {
            tables.push(Vec::from([LEVELS[0], LevelTiming { cycles, memory_us }]));
        }
    }
    for table in &tables {
        for reference_khz in [0, TOP_KHZ] {
            let profile = Profile::new(table, reference_khz);
            for deviations in absurd {
                let config = Config {
                    deviations,
                    margin: deviations,
                    good_runs: u32::MAX,
                    jitter: deviations,
                };
                let mut governor = Governor::new(profile, config);
                governor.observe(1.0);
                for deadline in absurd {
                    for khz in [0, 1, TOP_KHZ, u32::MAX] {
                        let level = governor.choose(deadline, khz) as usize;
                        assert!(level < table.len().max(1));
                        governor.observe(deadline);
                        governor.observe(f32::NAN);
                        let mean = governor.slow_down().mean();
                        assert!(mean.is_finite() && mean > 0.0);
                    }
                }
            }
        }
    }
}

#[test]
fn a_governor_recovers_from_absurd_numbers() {
    let mut governor = governor();
    for absurd in [f32::NAN, f32::MAX, 0.0, f32::MIN_POSITIVE, f32::INFINITY] {
        governor.choose(absurd, 1);
        governor.observe(absurd);
        for _ in 0..10 {
            run(&mut governor, TOP_KHZ, 1.0);
        }
        assert_eq!(governor.level(), 3, "{absurd}");
    }
}

#[test]
fn c_and_rust_agree() {
    let mut ours = governor();
    let mut theirs = MaybeUninit::<Governor<'static>>::uninit();
    let mut numbers = Numbers(5);
    // SAFETY: memory for a governor, and a profile of constants.
    unsafe { cnd_governor_init(theirs.as_mut_ptr(), &PROFILE, ptr::null()) };
    for _ in 0..1000 {
        let khz = (TOP_KHZ as f32 * (1.2 + numbers.next()) / 2.2) as u32;
        let level = ours.choose(DEADLINE_US, khz);
        // SAFETY: initialised above.
        let same = unsafe { cnd_governor_choose(theirs.as_mut_ptr(), DEADLINE_US, khz) };
        assert_eq!(level, same);
        let us = LEVELS[level as usize].time_us(khz) * (1.1 + 0.1 * numbers.next());
        ours.observe(us);
        // SAFETY: as above.
        unsafe { cnd_governor_observe(theirs.as_mut_ptr(), us) };
    }
    // SAFETY: as above.
    let theirs = unsafe { theirs.assume_init() };
    assert_eq!(ours.slow_down(), theirs.slow_down());
}
