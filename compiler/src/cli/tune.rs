//! `condensec tune MODEL`: the fastest schedule of every layer at every level, by measuring on this machine.
//!
//! The cost model chooses among a few schedules per layer and level; what is fastest depends on caches
//! and memory that it knows little of. So the model is compiled once with each schedule, wherever
//! layers can run so, and all of these libraries take turns, step by step in whole runs, since a
//! layer alone would find its weights in the cache. The result goes to a file that `--tuning` reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use condensec_backends::Texts;
use condensec_ir::Diagnostic;
use condensec_ir::kernel::{Function, FunctionId};
use condensec_passes::lower::{Schedule, Schedules};
use serde::Serialize;

use super::arguments::{CodegenArgs, FormatArgs, ImportArgs};
use super::measuring::{empty_outputs, pin_or_warn, pseudo_random_inputs};
use super::progress::Progress;
use super::table::{self, Column};
use super::watch::Watch;
use crate::driver::{self, Compiled, Settings, Source};
use crate::engine::Engine;
use crate::output;
use crate::report::Failure;
use crate::tuning::{Measured, Tuning};

/// What is tried beside the cost model's choice.
const TRIED: &[&str] = &[
    "stored/1",
    "stored/4",
    "stored/16",
    "stored+prefetch/1",
    "stored+prefetch/4",
    "stored+prefetch/16",
    "by-column/1",
    "by-column/4",
    "by-column/16",
];

/// A schedule replaces the cost model's only if it is faster by more than measurements scatter.
const WORTHWHILE: f64 = 0.98;

/// Measure which schedule of each layer is fastest at each level, on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  condensec tune net.onnx -o net.tuning.json
  condensec net.onnx --tuning net.tuning.json -o out
  condensec tune net.onnx --json         {levels: [{level, name, before_ms, after_ms, changed}]}")]
pub(super) struct Args {
    /// ONNX file, or graph in text form (.cir).
    model: PathBuf,

    /// File to write; <name>.tuning.json in the current folder if not given, <name> being the model's.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Runs per schedule and level.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    #[command(flatten)]
    import: ImportArgs,

    #[command(flatten)]
    codegen: CodegenArgs,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Outcome {
    file: String,
    levels: Vec<LevelOutcome>,
}

#[derive(Serialize)]
struct LevelOutcome {
    level: usize,
    name: String,
    /// Sum of the fastest steps, with the cost model's schedules.
    before_ms: f64,
    /// The same with the schedules of the file.
    after_ms: f64,
    /// Layers whose schedule the file changes.
    changed: usize,
}

/// Fastest time of every node, by level.
type NodeTimes = Vec<BTreeMap<String, f64>>;

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let settings = args.codegen.settings(None, Texts::Skip)?;
    if !settings.target.is_host() {
        let name = settings.target.name();
        let message = format!("code for {name} does not run on this machine");
        return Err(Diagnostic::error("target-not-host", message)
            .with_help("run condensec tune on the device")
            .into());
    }
    if let Some(path) = &args.output {
        output::check_is_no_input(path, args.import.files(&args.model))?;
    }
    let source = args.import.source(&args.model);
    let tried: Vec<Schedule> = TRIED
        .iter()
        .map(|text| text.parse().expect("TRIED has schedules"))
        .collect();
    let mut builds = vec![Build::new(
        &source,
        &settings,
        Schedules::default(),
        args.format,
    )?];
    let mut progress = Progress::new("compiling", tried.len() as u64);
    for (number, &schedule) in tried.iter().enumerate() {
        let uniform = Schedules::uniform(schedule);
        builds.push(Build::new(&source, &settings, uniform, args.format)?);
        progress.set(number as u64 + 1);
    }
    drop(progress);

    pin_or_warn(args.format);
    let times = measure(&mut builds, args.runs)?;
    let (schedules, levels) = choose(&builds, &times, &tried);
    let name = builds[0].engine.name().to_string();
    let path = match &args.output {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{name}.tuning.json")),
    };
    let measured = Measured {
        model: &name,
        target: settings.target.name(),
        cpu: settings.target.cpu(),
        backend: settings.backend.name(),
    };
    let text = super::to_json(&Tuning::new(measured, &schedules));
    output::write_file(&path, text.as_bytes())?;
    let outcome = Outcome {
        file: path.display().to_string(),
        levels,
    };
    Ok(match args.format.json {
        true => super::to_json(&outcome),
        false => describe(&outcome),
    })
}

/// The model with some schedules.
struct Build {
    engine: Engine,
    functions: Vec<Function>,
    /// Node and kernel of each step, by level.
    steps: Vec<Vec<(String, FunctionId)>>,
}

impl Build {
    fn new(
        source: &Source,
        settings: &Settings,
        schedules: Schedules,
        format: FormatArgs,
    ) -> Result<Self, Failure> {
        let settings = Settings {
            schedules,
            ..settings.clone()
        };
        let mut watch = Watch::new(format.form(), None);
        let Compiled {
            program, library, ..
        } = driver::compile(source, &settings, &mut watch)?;
        let steps = program.steps.into_iter();
        Ok(Self {
            engine: Engine::from_library(&library)?,
            functions: program.functions,
            steps: steps
                .map(|steps| steps.into_iter().map(|s| (s.node, s.kernel)).collect())
                .collect(),
        })
    }

    /// Whether other code computes `node` here than in `other`.
    fn differs(&self, other: &Self, level: usize, node: &str) -> bool {
        let code = |build: &Self, at: usize| build.steps[level][at].1.0 as usize;
        (0..self.steps[level].len())
            .filter(|&at| self.steps[level][at].0 == node)
            .any(|at| {
                let (ours, theirs) = (code(self, at), code(other, at));
                !self.functions[ours].is_same_code(&other.functions[theirs])
            })
    }
}

/// Fastest times of each build; they take turns at every level.
fn measure(builds: &mut [Build], runs: u32) -> Result<Vec<NodeTimes>, Failure> {
    let inputs = pseudo_random_inputs(&builds[0].engine);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs = empty_outputs(&builds[0].engine);
    let n_levels = builds[0].engine.levels().len();
    let mut fastest = vec![vec![BTreeMap::new(); n_levels]; builds.len()];
    let mut progress = Progress::new("measuring", u64::from(runs));
    // The first turn warms up.
    for turn in 0..=runs {
        for level in 0..n_levels {
            for (Build { engine, .. }, fastest) in builds.iter_mut().zip(&mut fastest) {
                engine.set_level(level)?;
                let mut times: BTreeMap<String, f64> = BTreeMap::new();
                // A node may have several steps.
                for step in engine.run_steps(&inputs, &mut outputs)? {
                    *times.entry(step.node).or_default() += step.seconds;
                }
                for (node, seconds) in times.into_iter().filter(|_| turn > 0) {
                    let best = fastest[level].entry(node).or_insert(f64::INFINITY);
                    *best = best.min(seconds);
                }
            }
        }
        progress.set(u64::from(turn));
    }
    Ok(fastest)
}

/// The best schedule per node and level; `times` are those of the cost model's choice, then of `tried`.
fn choose(
    builds: &[Build],
    times: &[NodeTimes],
    tried: &[Schedule],
) -> (Schedules, Vec<LevelOutcome>) {
    let mut by_node: BTreeMap<&str, Vec<Option<Schedule>>> = BTreeMap::new();
    let mut levels = Vec::new();
    for (level, info) in builds[0].engine.levels().iter().enumerate() {
        let mut outcome = LevelOutcome {
            level,
            name: info.name.clone(),
            before_ms: 0.0,
            after_ms: 0.0,
            changed: 0,
        };
        for (node, &before) in &times[0][level] {
            let others = (1..builds.len())
                .filter(|&at| builds[at].differs(&builds[0], level, node))
                .map(|at| (tried[at - 1], times[at][level][node]));
            let best = others.min_by(|(_, a), (_, b)| a.total_cmp(b));
            let better = best.filter(|&(_, seconds)| seconds < WORTHWHILE * before);
            outcome.before_ms += before * 1e3;
            outcome.after_ms += better.map_or(before, |(_, seconds)| seconds) * 1e3;
            outcome.changed += usize::from(better.is_some());
            let choices = by_node.entry(node).or_default();
            choices.push(better.map(|(schedule, _)| schedule));
        }
        levels.push(outcome);
    }
    let mut schedules = Schedules::default();
    for (node, choices) in by_node {
        if choices.iter().any(Option::is_some) {
            schedules.set(node, choices);
        }
    }
    (schedules, levels)
}

fn describe(outcome: &Outcome) -> String {
    let columns = [
        Column::Text("level"),
        Column::Text("name"),
        Column::Number("before ms"),
        Column::Number("after ms"),
        Column::Number("layers changed"),
    ];
    let rows = outcome.levels.iter().map(|level| {
        vec![
            format!("L{}", level.level),
            level.name.clone(),
            table::milliseconds(level.before_ms),
            table::milliseconds(level.after_ms),
            level.changed.to_string(),
        ]
    });
    format!(
        "{}\nSums of the fastest times of all steps. Compile with --tuning {}\n",
        table::render(&columns, rows),
        outcome.file
    )
}
