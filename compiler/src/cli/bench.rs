//! `condensec bench MODEL`: how long each level takes, and how long a switch.
//!
//! Levels take turns, so that a change of the clock frequency or a busy neighbour meets all of them alike. A turn begins
//! with a switch; its first run is kept apart, to show whether a level needs to warm up again. Inputs are
//! pseudo-random and always the same.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::arguments::FormatArgs;
use super::loaded::{LoadArgs, find_level};
use super::measuring::{empty_outputs, pin_or_warn, pseudo_random_inputs};
use super::progress::Progress;
use super::statistics::{Summary, summarize};
use super::table::{self, Column};
use crate::engine::Engine;
use crate::report::Failure;

/// Runs of a turn whose times count, after the first.
const RUNS_PER_TURN: usize = 3;

/// Turns that are enough where only the time is limited: memory for the times is not endless.
const MAX_TURNS: usize = 100_000;

/// Switches of one batch: long enough for the clock, short enough not to be interrupted.
const SWITCHES_PER_BATCH: u32 = 1000;

/// Batches of switches.
const SWITCH_BATCHES: usize = 200;

/// Measure the time of a run at every level, and of a switch between levels.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  condensec bench out --level all
  condensec bench net.onnx --level 0 --level full --seconds 20
  condensec bench out --json     {threads, switch_ns, levels: [{level, name, density, macs, min_ms, median_ms, p95_ms,
                                 first_after_switch_ms, runs}]}")]
pub(super) struct Args {
    #[command(flatten)]
    load: LoadArgs,

    /// Level by number or name, or `all`. May be repeated.
    #[arg(long, default_value = "all", value_delimiter = ',')]
    level: Vec<String>,

    /// Runs per level whose time counts, whatever time they take.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,

    /// Time for all levels together, where --runs is not given.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = parse_seconds)]
    seconds: f64,

    /// Do not keep a run of one thread on one core.
    #[arg(long)]
    no_pin: bool,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `--json` prints, and `report` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Benchmark {
    /// Threads of a run.
    pub threads: usize,
    /// One `set_level` call.
    pub switch_ns: f64,
    /// Those that were measured.
    pub levels: Vec<LevelTime>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LevelTime {
    pub level: usize,
    pub name: String,
    pub density: f64,
    pub macs: u64,
    pub min_ms: f64,
    pub median_ms: f64,
    pub p95_ms: f64,
    /// Median of the runs that came right after a switch to this level.
    pub first_after_switch_ms: f64,
    pub runs: usize,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let mut engine = args.load.load(Vec::new(), args.format)?;
    let levels = choose_levels(&engine, &args.level)?;
    let threads = args.load.threads.get();
    if threads == 1 && !args.no_pin {
        pin_or_warn(args.format);
    }
    let times = measure(&mut engine, &levels, args)?;
    let benchmark = Benchmark {
        threads,
        switch_ns: measure_switch(&mut engine, &levels)?,
        levels: levels
            .iter()
            .zip(&times)
            .map(|(&level, t)| summary(&engine, level, t))
            .collect(),
    };
    Ok(match args.format.json {
        true => super::to_json(&benchmark),
        false => describe(&benchmark),
    })
}

pub(super) fn parse_seconds(text: &str) -> Result<f64, String> {
    // A day; longer is a slip.
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("expected a number of seconds above 0".into()),
    }
}

fn choose_levels(engine: &Engine, wanted: &[String]) -> Result<Vec<usize>, Failure> {
    let names: Vec<&str> = engine
        .levels()
        .iter()
        .map(|level| level.name.as_str())
        .collect();
    if wanted.iter().any(|wanted| wanted == "all") {
        return Ok((0..names.len()).collect());
    }
    let mut levels = wanted
        .iter()
        .map(|wanted| find_level(wanted, &names))
        .collect::<Result<Vec<_>, _>>()?;
    levels.sort_unstable();
    levels.dedup();
    Ok(levels)
}

/// Seconds of the runs at one level.
#[derive(Debug, Default)]
struct Times {
    /// Right after a switch.
    first: Vec<f64>,
    /// The others.
    following: Vec<f64>,
}

fn measure(engine: &mut Engine, levels: &[usize], args: &Args) -> Result<Vec<Times>, Failure> {
    let inputs = pseudo_random_inputs(engine);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs = empty_outputs(engine);
    let mut run = |engine: &mut Engine| {
        let start = Instant::now();
        engine.run_into(&inputs, &mut outputs)?;
        Ok::<f64, Failure>(start.elapsed().as_secs_f64())
    };

    // Warm-up: pages, caches, the clock's frequency; and a guess at how long it will take.
    let mut guess = 0.0;
    for &level in levels {
        engine.set_level(level)?;
        run(engine)?;
        guess += run(engine)? * (1 + RUNS_PER_TURN) as f64;
    }
    let n_turns_wanted = args
        .runs
        .map(|runs| (runs as usize).div_ceil(RUNS_PER_TURN));
    let budget = Duration::from_secs_f64(args.seconds);
    let n_turns_guessed = ((args.seconds / guess.max(1e-9)) as usize + 1).min(MAX_TURNS);
    let mut progress = Progress::new(
        "measuring",
        n_turns_wanted.unwrap_or(n_turns_guessed) as u64,
    );

    let mut times: Vec<Times> = levels.iter().map(|_| Times::default()).collect();
    let start = Instant::now();
    for turn in 0.. {
        let is_done = match n_turns_wanted {
            Some(n_turns) => turn == n_turns,
            None => turn > 0 && (turn == MAX_TURNS || start.elapsed() >= budget),
        };
        if is_done {
            break;
        }
        for (&level, times) in levels.iter().zip(&mut times) {
            engine.set_level(level)?;
            times.first.push(run(engine)?);
            for _ in 0..RUNS_PER_TURN {
                times.following.push(run(engine)?);
            }
        }
        progress.set(turn as u64 + 1);
    }
    if let Some(runs) = args.runs {
        times
            .iter_mut()
            .for_each(|times| times.following.truncate(runs as usize));
    }
    Ok(times)
}

/// Nanoseconds of one call of `set_level`, the median over many batches.
fn measure_switch(engine: &mut Engine, levels: &[usize]) -> Result<f64, Failure> {
    let mut batches = Vec::with_capacity(SWITCH_BATCHES);
    for _ in 0..SWITCH_BATCHES {
        let mut turn = levels.iter().cycle();
        let start = Instant::now();
        for _ in 0..SWITCHES_PER_BATCH {
            let &level = turn.next().expect("there is at least one level");
            engine.set_level(level)?;
        }
        batches.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(SWITCHES_PER_BATCH));
    }
    Ok(summarize(&batches).median)
}

fn summary(engine: &Engine, level: usize, times: &Times) -> LevelTime {
    let info = &engine.levels()[level];
    let Summary { min, median, p95 } = summarize(&times.following);
    LevelTime {
        level,
        name: info.name.clone(),
        density: info.density,
        macs: info.macs,
        min_ms: min * 1e3,
        median_ms: median * 1e3,
        p95_ms: p95 * 1e3,
        first_after_switch_ms: summarize(&times.first).median * 1e3,
        runs: times.following.len(),
    }
}

fn describe(benchmark: &Benchmark) -> String {
    let columns = [
        Column::Text("level"),
        Column::Text("name"),
        Column::Number("density"),
        Column::Number("MACs"),
        Column::Number("min ms"),
        Column::Number("median ms"),
        Column::Number("p95 ms"),
        Column::Number("after switch ms"),
        Column::Number("runs"),
    ];
    let rows = benchmark.levels.iter().map(|level| {
        vec![
            format!("L{}", level.level),
            level.name.clone(),
            table::fraction(level.density),
            table::count(level.macs),
            table::milliseconds(level.min_ms),
            table::milliseconds(level.median_ms),
            table::milliseconds(level.p95_ms),
            table::milliseconds(level.first_after_switch_ms),
            level.runs.to_string(),
        ]
    });
    let Benchmark {
        threads, switch_ns, ..
    } = benchmark;
    let noun = if *threads == 1 { "thread" } else { "threads" };
    format!(
        "{}\n{threads} {noun}, switch {switch_ns:.1} ns\n",
        table::render(&columns, rows)
    )
}
