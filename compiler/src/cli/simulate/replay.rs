//! A trace replayed: frames that arrive at a steady pace, and what a run of each would have taken at each level.
//!
//! A run makes progress as the machine goes, so a change in the middle of a frame slows down the rest of it. Every policy
//! sees the same frames with the same jitter; a frame begins on time whatever became of the one before it,
//! which flatters policies that are late.

use super::trace::{Point, Trace};
use crate::profile::Profile;

/// A frequency or slow-down that differs by this share is a change; less is jitter.
const CHANGE: f64 = 0.02;

/// The machine, the model and the frames.
pub struct Replay<'a> {
    trace: &'a Trace,
    profile: &'a Profile,
    deadline_ms: f64,
    frames: Vec<Frame>,
}

/// One run's turn.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// When it begins.
    pub start_ms: f64,
    /// The frequency then: all that is known of the machine.
    pub khz: f64,
    /// Factor on the time of the run, whatever its level.
    pub jitter: f64,
    /// Whether some level meets the deadline.
    pub is_possible: bool,
    /// Whether the machine is during the whole frame what could be known of it at its beginning: the frequency
    /// of then, and the slow-down of the frame before.
    pub is_foreseeable: bool,
}

/// What frames are made of.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Time that a run may take.
    pub deadline_ms: f64,
    /// From the beginning of a frame to that of the next.
    pub period_ms: f64,
    /// Standard deviation of run times, relative.
    pub jitter: f64,
    /// Seed of the jitter.
    pub seed: u64,
}

impl<'a> Replay<'a> {
    /// The frames of a whole trace.
    pub fn new(trace: &'a Trace, profile: &'a Profile, pace: Pace) -> Self {
        let mut normal = Normal::new(pace.seed);
        let mut replay = Self {
            trace,
            profile,
            deadline_ms: pace.deadline_ms,
            frames: Vec::new(),
        };
        let n_frames = (trace.duration_ms() / pace.period_ms) as usize;
        for index in 0..n_frames.max(1) {
            let start_ms = trace.begin_ms() + index as f64 * pace.period_ms;
            let mut frame = Frame {
                start_ms,
                khz: trace.points()[trace.at(start_ms)].khz,
                // Nobody is faster than light: far tails of the distribution are cut off.
                jitter: (1.0 + pace.jitter * normal.next()).max(0.5),
                is_possible: true,
                is_foreseeable: replay.is_foreseeable(start_ms, pace.period_ms),
            };
            frame.is_possible = replay.run_ms(0, &frame) <= pace.deadline_ms;
            replay.frames.push(frame);
        }
        replay
    }

    /// The frames in order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Time that a run may take.
    pub fn deadline_ms(&self) -> f64 {
        self.deadline_ms
    }

    /// The model.
    pub fn profile(&self) -> &Profile {
        self.profile
    }

    /// How long a run takes.
    pub fn run_ms(&self, level: usize, frame: &Frame) -> f64 {
        self.part_ms(level, frame, 1.0, 0.0)
    }

    /// When a part of a run ends that begins `after_ms`, both from the beginning of the frame. The part is that share of a
    /// whole run at `level`.
    pub fn part_ms(&self, level: usize, frame: &Frame, part: f64, after_ms: f64) -> f64 {
        let level = &self.profile.levels[level];
        let points = self.trace.points();
        let (mut now, mut left) = (frame.start_ms + after_ms, part);
        let first = self.trace.at(now);
        for (index, point) in points.iter().enumerate().skip(first) {
            let whole_ms = level.time_us(point.khz) / 1000.0 * point.slow_down * frame.jitter;
            let rest_ms = left * whole_ms;
            match points.get(index + 1) {
                Some(next) if next.time_ms - now < rest_ms => {
                    left -= (next.time_ms - now) / whole_ms;
                    now = next.time_ms;
                }
                // The last point holds for as long as it takes.
                _ => return now + rest_ms - frame.start_ms,
            }
        }
        unreachable!("a trace has points")
    }

    fn is_foreseeable(&self, start_ms: f64, period_ms: f64) -> bool {
        let points = self.trace.points();
        let at = |time_ms: f64| self.trace.at(time_ms);
        let now = &points[at(start_ms)];
        let during = &points[at(start_ms)..=at(start_ms + self.deadline_ms)];
        let since_last = &points[at(start_ms - period_ms)..=at(start_ms + self.deadline_ms)];
        let same = |a: f64, b: f64| (a / b - 1.0).abs() <= CHANGE;
        let by_clock = during.iter().all(|point: &Point| same(point.khz, now.khz));
        by_clock
            && since_last
                .iter()
                .all(|point| same(point.slow_down, now.slow_down))
    }
}

/// Normally distributed numbers, the same for the same seed.
struct Normal {
    state: u64,
    spare: Option<f64>,
}

impl Normal {
    fn new(seed: u64) -> Self {
        Self {
            state: seed,
            spare: None,
        }
    }

    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // Box and Muller.
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// In (0, 1], by SplitMix64.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}
