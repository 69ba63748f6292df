//! `condensec simulate PROFILE --trace TRACE`: what the governor would make of a machine's ups and downs.
//!
//! The levels' times are those of the profile, the machine's speed is that of a trace, and the decisions are made by
//! the governor that applications link. Beside it play runs that mix levels, fixed levels, a governor that is told
//! no frequency, and an oracle. The same arguments give the same results, but for the time that a decision takes.

mod plot;
mod policies;
mod replay;
mod trace;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use condensec_ir::Diagnostic;
use condensec_runtime::governor::{self, Config, Governor};
use serde::Serialize;

use self::policies::{Outcome, POLICIES, Policy, Run};
use self::replay::{Pace, Replay};
use self::trace::{BUILT_IN, Trace};
use super::arguments::FormatArgs;
use super::progress::Progress;
use super::quantities::Time;
use super::table::{self, Column};
use crate::output;
use crate::profile::{Profile, Source};
use crate::report::Failure;

/// What `--deadline top` leaves above the dense level's time, for jitter.
const HEADROOM: f64 = 1.05;

/// Decisions of one batch that is timed: long enough for the clock, short enough not to be interrupted.
const DECISIONS_PER_BATCH: usize = 1000;

/// Batches; the fastest counts.
const DECISION_BATCHES: usize = 100;

/// Replay a trace of clock frequencies through the governor, against other policies.
///
/// Built-in traces: governor-steps (the kernel's frequency governor follows other programs), migration (between big and
/// little cores), neighbour (others on the same memory, which only run times show), thermal (saw-tooth of throttling).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  condensec simulate net.profile.json --trace thermal
  condensec simulate net.profile.json --trace board.csv --deadline 20ms --plot out.svg
  condensec simulate net.profile.json --trace migration --json
  {deadline_ms, trace, frames, range, decision_ns, policies: [{name, max_over_min, max_over_min_all, cv, miss_rate,
  impossible_rate, surprise_rate, mean_density, mean_quality, mean_level, switches}]}

A trace is a CSV file with the columns time_ms, frequency_khz and, maybe, slowdown (a factor on run times that the
governor cannot read); each row holds until the next one, and the last row only ends the trace.

Frames in which not even L0 meets the deadline count in impossible_rate and nowhere else. max_over_min is the slowest
over the fastest run of the other frames, but for those that something overtook (surprise_rate: the machine changed
after the level was chosen); max_over_min_all has these, too. In `mixed` a run may begin one level above what it could afford
and falls and rises on its way, so that it uses all its time; its level is the mean over the work, and density is taken in proportion.")]
pub(super) struct Args {
    /// What `condensec profile` wrote.
    profile: PathBuf,

    /// A CSV file, or the name of a built-in trace.
    #[arg(long, value_name = "NAME|CSV")]
    trace: String,

    /// Time for a run, as 20ms, 800us, 0.5s; `top` is the dense level's at the profile's highest frequency, and 5 % for jitter.
    #[arg(long, value_name = "TIME|top", default_value = "top", value_parser = parse_deadline)]
    deadline: Deadline,

    /// From one frame to the next; the deadline if not given.
    #[arg(long, value_name = "TIME")]
    period: Option<Time>,

    /// Stretch the trace: its top frequency becomes the profile's, its slowest moment is R times slower. `auto` is what the
    /// levels can cover, but not more than the trace has. Built-in traces are stretched by `auto`, files are not.
    #[arg(long, value_name = "R|auto", value_parser = parse_range)]
    range: Option<Range>,

    /// Standard deviation of run times, relative.
    #[arg(long, value_name = "S", default_value_t = 0.01, value_parser = parse_share)]
    jitter: f64,

    /// Seed of the jitter.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Write a picture of frequency, run times and levels.
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,

    /// Write every frame: its level and time under every policy.
    #[arg(long, value_name = "CSV")]
    frames: Option<PathBuf>,

    /// Governor: standard deviations between prediction and deadline.
    #[arg(long, value_name = "K", default_value_t = Config::default().deviations, value_parser = parse_deviations, help_heading = "Governor")]
    deviations: f32,

    /// Governor: share of the deadline to leave for a step up, on top of that.
    #[arg(long, value_name = "S", default_value_t = Config::default().margin, value_parser = parse_margin, help_heading = "Governor")]
    margin: f32,

    /// Governor: good runs in sequence before a step up.
    #[arg(long, value_name = "N", default_value_t = Config::default().good_runs, help_heading = "Governor")]
    good_runs: u32,

    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Deadline {
    Top,
    Ms(f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Range {
    Auto,
    Times(f64),
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Simulation {
    deadline_ms: f64,
    trace: String,
    frames: usize,
    /// How many times faster the machine is at its best than at its worst.
    range: f64,
    /// One `choose` and `observe`, on this machine.
    decision_ns: f64,
    policies: Vec<Outcome>,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    for path in [&args.plot, &args.frames].into_iter().flatten() {
        output::check_is_no_input(path, [args.profile.as_path(), Path::new(&args.trace)])?;
    }
    let profile = Profile::read(&args.profile)?;
    let deadline_ms = match args.deadline {
        Deadline::Top => HEADROOM * profile.top_us() / 1e3,
        Deadline::Ms(ms) => ms,
    };
    let trace = read_trace(args, &profile, deadline_ms)?;
    let period_ms = args.period.as_ref().map_or(deadline_ms, |time| time.ms);
    check_pace(&trace, args, period_ms)?;
    let pace = Pace {
        deadline_ms,
        period_ms,
        jitter: args.jitter,
        seed: args.seed,
    };
    let replay = Replay::new(&trace, &profile, pace);
    let config = Config {
        deviations: args.deviations,
        margin: args.margin,
        good_runs: args.good_runs,
        jitter: args.jitter as f32,
    };
    let mut progress = Progress::new("simulating", POLICIES.len() as u64);
    let mut runs: Vec<Vec<Run>> = Vec::new();
    for policy in POLICIES {
        runs.push(policy.play(&replay, config));
        progress.set(runs.len() as u64);
    }
    drop(progress);
    let of = |policy: &Policy, runs: &Vec<Run>| Outcome::of(*policy, &replay, runs);
    let simulation = Simulation {
        deadline_ms,
        trace: args.trace.clone(),
        frames: replay.frames().len(),
        range: trace.range(),
        decision_ns: decision_ns(&replay, config),
        policies: POLICIES.iter().zip(&runs).map(|(p, r)| of(p, r)).collect(),
    };
    let picture = args.plot.as_ref().map(|path| {
        let picture = plot::draw(&args.trace, &trace, &replay, &runs);
        (path, picture)
    });
    let frames = args.frames.as_ref();
    let frames = frames.map(|path| (path, frame_table(&replay, &runs)));
    let files: Vec<(&Path, &[u8])> = [&picture, &frames]
        .into_iter()
        .flatten()
        .map(|(path, text)| (path.as_path(), text.as_bytes()))
        .collect();
    output::write_files(&files)?;
    Ok(match args.format.json {
        true => super::to_json(&simulation),
        false => describe(&simulation, &profile, &trace),
    })
}

fn read_trace(args: &Args, profile: &Profile, deadline_ms: f64) -> Result<Trace, Failure> {
    let (trace, range) = match Trace::built_in(&args.trace) {
        Some(trace) => (trace, args.range.or(Some(Range::Auto))),
        None => {
            let path = Path::new(&args.trace);
            if !path.exists() {
                let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                let message = format!("there is no trace {}", args.trace);
                return Err(Diagnostic::error("file-not-found", message)
                    .with_note(format!("built in are {}", names.join(", ")))
                    .with_help("give a CSV file, or one of these names")
                    .into());
            }
            (Trace::read(path)?, args.range)
        }
    };
    let range = match range {
        None => return Ok(trace),
        Some(Range::Times(range)) => range,
        Some(Range::Auto) => trace.range().min(covered_range(profile, deadline_ms)),
    };
    Ok(trace.scaled(f64::from(profile.reference_khz), range))
}

/// How much slower than at the profile's highest frequency the clock may be for L0 to meet the deadline.
fn covered_range(profile: &Profile, deadline_ms: f64) -> f64 {
    let sparsest = &profile.levels[0];
    let for_cycles_us = deadline_ms * 1e3 / HEADROOM - sparsest.memory_us;
    let cycles_us = sparsest.cycles * 1e3 / f64::from(profile.reference_khz);
    match cycles_us > 0.0 {
        true => (for_cycles_us / cycles_us).max(1.0),
        false => f64::INFINITY,
    }
}

fn check_pace(trace: &Trace, args: &Args, period_ms: f64) -> Result<(), Failure> {
    /// Memory for frames is not endless.
    const MOST_FRAMES: f64 = 1e7;

    let n_frames = trace.duration_ms() / period_ms;
    if (1.0..MOST_FRAMES).contains(&n_frames) {
        return Ok(());
    }
    let message = format!(
        "the trace {} lasts {} ms, which is {n_frames:.1} frames of {period_ms} ms",
        args.trace,
        trace.duration_ms()
    );
    Err(Diagnostic::error("bad-trace", message)
        .with_note(format!("1 to {MOST_FRAMES:e} frames can be simulated"))
        .into())
}

/// Nanoseconds of a decision, one `choose` and one `observe`, when nothing interrupts it.
fn decision_ns(replay: &Replay<'_>, config: Config) -> f64 {
    let timings = replay.profile().timings();
    let profile = governor::Profile::new(&timings, replay.profile().reference_khz);
    let mut governor = Governor::new(profile, config);
    let deadline_us = (replay.deadline_ms() * 1e3) as f32;
    let frames: Vec<(u32, f32)> = replay
        .frames()
        .iter()
        .take(DECISIONS_PER_BATCH * DECISION_BATCHES)
        .map(|frame| (frame.khz as u32, frame.jitter as f32))
        .collect();
    let mut frames = frames.iter().cycle();
    let mut fastest = f64::INFINITY;
    for _ in 0..DECISION_BATCHES {
        let begin = Instant::now();
        for &(khz, jitter) in frames.by_ref().take(DECISIONS_PER_BATCH) {
            black_box(governor.choose(black_box(deadline_us), khz));
            governor.observe(governor.expected_us() * jitter);
        }
        fastest = fastest.min(begin.elapsed().as_secs_f64());
    }
    fastest * 1e9 / DECISIONS_PER_BATCH as f64
}

/// One line per frame, two columns per policy.
fn frame_table(replay: &Replay<'_>, runs: &[Vec<Run>]) -> String {
    let mut text = "time_ms,frequency_khz,possible,foreseeable".to_string();
    for policy in POLICIES {
        let name = policy.name();
        text += &format!(",{name}_level,{name}_ms");
    }
    text.push('\n');
    for (index, frame) in replay.frames().iter().enumerate() {
        text += &format!(
            "{:.3},{:.0},{},{}",
            frame.start_ms,
            frame.khz,
            u8::from(frame.is_possible),
            u8::from(frame.is_foreseeable)
        );
        for runs in runs {
            let Run { level, ms } = runs[index];
            let level = (level * 100.0).round() / 100.0;
            text += &format!(",{level},{ms:.6}");
        }
        text.push('\n');
    }
    text
}

fn describe(simulation: &Simulation, profile: &Profile, trace: &Trace) -> String {
    let has_quality = profile.levels.iter().all(|level| level.quality.is_some());
    let mut columns = vec![
        Column::Text("policy"),
        Column::Number("max/min"),
        Column::Number("with surprises"),
        Column::Number("cv"),
        Column::Number("missed"),
        Column::Number("density"),
        Column::Number("level"),
        Column::Number("switches"),
    ];
    if has_quality {
        columns.push(Column::Number("quality"));
    }
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let rows = simulation.policies.iter().map(|outcome| {
        let mut row = vec![
            outcome.name.to_string(),
            format!("{:.3}", outcome.max_over_min),
            format!("{:.3}", outcome.max_over_min_all),
            format!("{:.4}", outcome.cv),
            percent(outcome.miss_rate),
            table::fraction(outcome.mean_density),
            format!("{:.2}", outcome.mean_level),
            outcome.switches.to_string(),
        ];
        row.extend(outcome.mean_quality.map(table::fraction));
        row
    });
    let first = &simulation.policies[0];
    let source = match profile.source {
        Source::Measured => "measured",
        Source::Predicted => "predicted",
    };
    let slowest = trace.points().iter().map(|point| point.khz);
    format!(
        "{}, {} levels, {source}; deadline {} ms\n\
         trace {}: {} frames, {:.0} to {:.0} MHz, {:.2}:1 in speed; {} impossible, {} overtaken by a change\n\n\
         {}\n\
         Impossible frames, which L0 misses, are left out. A decision takes {:.0} ns.\n",
        profile.model,
        profile.levels.len(),
        table::milliseconds(simulation.deadline_ms),
        simulation.trace,
        simulation.frames,
        slowest.fold(f64::INFINITY, f64::min) / 1e3,
        trace.top_khz() / 1e3,
        simulation.range,
        percent(first.impossible_rate),
        percent(first.surprise_rate),
        table::render(&columns, rows),
        simulation.decision_ns,
    )
}

fn parse_deadline(text: &str) -> Result<Deadline, String> {
    match text {
        "top" => Ok(Deadline::Top),
        _ => text.parse().map(|time: Time| Deadline::Ms(time.ms)),
    }
}

fn parse_range(text: &str) -> Result<Range, String> {
    match text {
        "auto" => Ok(Range::Auto),
        _ => match text.parse::<f64>() {
            Ok(range) if (1.0..=1e6).contains(&range) => Ok(Range::Times(range)),
            _ => Err("expected a number of at least 1, or auto".into()),
        },
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=0.5).contains(&share) => Ok(share),
        _ => Err("expected a number in [0, 0.5]".into()),
    }
}

fn parse_margin(text: &str) -> Result<f32, String> {
    parse_share(text).map(|share| share as f32)
}

fn parse_deviations(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(deviations) if (0.0..=100.0).contains(&deviations) => Ok(deviations),
        _ => Err("expected a number in [0, 100]".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_time_or_top() {
        assert_eq!(parse_deadline("20ms"), Ok(Deadline::Ms(20.0)));
        assert_eq!(parse_deadline("top"), Ok(Deadline::Top));
        assert!(parse_deadline("20").is_err());
    }
}
