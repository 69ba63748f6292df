//! `condensec plan MODEL`: operating points with a level of its own for every layer.
//!
//! The levels of a supernet give all layers one density, but layers differ in what they cost and in how much
//! they matter. The search finds a chain of better choices between the lowest and the highest level; the points on
//! it that the user wants become the levels of another supernet, over the same weights.

mod choice;
mod layers;
mod loss;
mod search;

use std::path::PathBuf;
use std::time::Instant;

use condensec_backends::Texts;
use condensec_ir::{Diagnostic, Graph};
use condensec_nest::{Assignment, MaskedLayers, NestError, rematch, with_points};
use serde::{Deserialize, Serialize};

use self::choice::{Choice, Wish};
use self::layers::{Cost, Costs, Layers};
use self::loss::{Judge, Score};
use super::arguments::{CodegenArgs, FormatArgs, ImportArgs};
use super::eval::test_set::Labels;
use super::measuring::{empty_outputs, pin_or_warn};
use super::progress::Progress;
use super::quantities::{Count, Time};
use super::samples::{self, Samples};
use super::supernet_file;
use super::table::{self, Column};
use super::watch::Watch;
use crate::driver::{self, Settings, Source};
use crate::engine::Engine;
use crate::frontend::onnx::{MAX_LEVELS, without_levels, write_levels};
use crate::npz::NpzArray;
use crate::output;
use crate::report::Failure;

/// Find operating points: a level of its own for every layer, for a time, a number of multiply-adds or an accuracy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The points become the levels of a new supernet over the same weights, between the lowest and the highest level of the
given one; `condensec` compiles them like any others. Give one kind of budget:

  --latency 4ms,8ms     the best points that run so fast on this machine, measured
  --cycles 20M          the best points that the cost model gives so many cycles on --target and --cpu
  --macs 10M,20M        the best points with so many multiply-adds
  --accuracy 0.9        the fastest point (by predicted cycles) with that top-1 accuracy on --data
  --points 6            so many points, evenly spaced in predicted cycles
  --as-uniform          one point for every level between the lowest and the highest, no dearer than it

The loss is the squared error of the outputs against those of the highest level, over their variance; the cost is in ms,
cycles or MACs, as the budget is.

Examples:
  condensec plan supernet.onnx --data train.npz --latency 4ms,8ms -o planned.onnx
  condensec plan supernet.onnx --data train.npz --points 6 --json
  {output, bytes, samples, seconds, cost, levels: [{level, name, density, macs, cost, loss, top1}],
   uniform: [{level, name, density, macs, cost, loss, top1}], layers: [{name, levels}]}")]
pub(super) struct Args {
    /// Supernet (ONNX).
    model: PathBuf,

    /// ONNX file to write; <model>.planned.onnx if not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Archive with inputs like those of `nest --calibrate`; labels y also give accuracy.
    #[arg(long, value_name = "NPZ")]
    data: PathBuf,

    /// Use only the first samples.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,

    #[command(flatten)]
    budgets: Budgets,

    /// Names of the points, L0 first, without the lowest and the highest level; from the budgets if not given.
    #[arg(long, value_delimiter = ',')]
    names: Vec<String>,

    /// Leave the scales and biases of the layers as they are, instead of matching them to the points.
    #[arg(long)]
    no_statistics: bool,

    #[command(flatten)]
    import: ImportArgs,

    #[command(flatten)]
    codegen: CodegenArgs,

    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Budgets {
    /// Time of a run on this machine.
    #[arg(long, value_name = "8ms,..", value_delimiter = ',')]
    latency: Vec<Time>,

    /// Predicted cycles of a run.
    #[arg(long, value_name = "20M,..", value_delimiter = ',')]
    cycles: Vec<Count>,

    /// Multiply-adds of a run.
    #[arg(long, value_name = "20M,..", value_delimiter = ',')]
    macs: Vec<Count>,

    /// Top-1 accuracy.
    #[arg(long, value_name = "0.9,..", value_delimiter = ',')]
    accuracy: Vec<f64>,

    /// Number of points.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=62))]
    points: Option<u32>,

    /// A point for every level between the lowest and the highest.
    #[arg(long)]
    as_uniform: bool,
}

/// What `--json` prints, and `report` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub output: String,
    pub bytes: usize,
    pub samples: usize,
    pub seconds: f64,
    /// What costs are: `ms`, `cycles` or `MACs`.
    pub cost: String,
    /// Levels of the new supernet, the operating points.
    pub levels: Vec<PlannedLevel>,
    /// Levels of the given supernet, one for all layers.
    pub uniform: Vec<PlannedLevel>,
    pub layers: Vec<PlannedLayer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PlannedLevel {
    pub level: usize,
    pub name: String,
    pub density: f64,
    pub macs: u64,
    /// In the plan's unit.
    pub cost: f64,
    /// How far outputs are from those of the highest level.
    pub loss: f64,
    /// Where there were labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PlannedLayer {
    /// Name of the weight.
    pub name: String,
    /// Its level in the given supernet, for every level of the new one.
    pub levels: Vec<usize>,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| args.model.with_extension("planned.onnx"));
    let read = args.import.files(&args.model);
    let read = read.chain(args.codegen.tuning.clone());
    output::check_is_no_input(&path, read.chain([args.data.clone()]))?;
    let settings = args.codegen.settings(None, Texts::Skip)?;
    let arrays = driver::read_arrays(&args.data)?;
    let mut source = args.import.source(&args.model);
    source.given_shapes = samples::sample_shapes(&arrays);
    let mut watch = Watch::new(args.format.form(), None);
    let (model, supernet) = driver::read_model(&source, &mut watch)?;
    let masked = MaskedLayers::of(&supernet);
    check_levels(args, &supernet, &masked)?;

    // The supernet at work, and what its highest level says.
    let host = host_settings(args, &settings)?;
    let compiled = driver::compile_graph(supernet.clone(), &args.model, &host, &mut watch)?;
    let mut layers = Layers::new(compiled, &supernet)?;
    let limit = usize::try_from(args.samples).unwrap_or(usize::MAX);
    let ports = layers.engine.inputs().to_vec();
    let samples = Samples::new(&arrays, &ports, &args.data, Some(limit))?;
    let n_samples = samples.n_samples;
    let labels = labels(args, &arrays, &samples, &layers.engine)?;
    if !args.budgets.accuracy.is_empty() && labels.is_none() {
        let message = "accuracy needs labels, and there is no array y of integers";
        return Err(Diagnostic::error("missing-labels", message)
            .at_file(args.data.display().to_string())
            .into());
    }
    let calibration = samples.to_calibration(&ports);
    let judge = Judge::new(samples, labels, &mut layers.engine)?;

    // Costs for the target, a chain of points, and those of them that are wanted.
    let start = Instant::now();
    let cost = cost_of(&args.budgets);
    if cost == Cost::Latency {
        pin_or_warn(args.format);
    }
    let costs = costs(args, &settings, &source, &supernet, &mut layers, cost)?;
    let mut outputs = empty_outputs(&layers.engine);
    let mut bar: Option<Progress> = None;
    let top = vec![supernet.n_levels as usize - 1; masked.len()];
    let mut measure = |point: &[usize], steps_down: &[usize]| {
        judge.losses(&mut layers, point, steps_down, &mut outputs)
    };
    let chain = search::descend(top, &costs, &mut measure, &mut |done, total| {
        let bar = bar.get_or_insert_with(|| Progress::new("searching", total as u64));
        bar.set(done as u64);
    })?;
    drop(bar);
    let wishes = wishes(args, &supernet, &costs);
    let mut score = |point: &[usize]| {
        judge.score(&mut outputs, |inputs, outputs| {
            layers.run(point, inputs, outputs)
        })
    };
    let choice = choice::choose(&chain, &wishes, &costs, &mut score)?;
    if choice.points.len() > MAX_LEVELS as usize {
        let n = choice.points.len() - 2;
        let message =
            format!("{n} points between two ends, a supernet has at most {MAX_LEVELS} levels");
        return Err(Diagnostic::error("bad-level-count", message).into());
    }
    let names = names(args, &supernet, &choice)?;

    // The same file with the points for levels.
    let plain_model = without_levels(&model);
    let plain_source = Source {
        masks: None,
        ..source.clone()
    };
    let plain = driver::import_loaded(&plain_model, &plain_source, &mut watch)?;
    let mut planned = with_points(&plain, &supernet, &choice.points, names);
    if !args.no_statistics {
        let mut bar: Option<Progress> = None;
        rematch(
            &mut planned,
            &supernet,
            &choice.points,
            &calibration,
            &mut |progress| {
                let total = progress.total as u64;
                let bar = bar.get_or_insert_with(|| Progress::new("matching", total));
                bar.set(progress.done as u64);
            },
        )
        .map_err(|error| refused(&error, args))?;
    }
    let result = write_levels(&plain_model, &plain, &planned)?;
    let bytes = supernet_file::write(&path, &result)?;

    let new = driver::compile_graph(planned, &args.model, &host, &mut watch)?;
    let mut new = Engine::from_library(&new.library)?;
    let plan = Plan {
        output: path.display().to_string(),
        bytes,
        samples: n_samples,
        seconds: start.elapsed().as_secs_f64(),
        cost: cost.heading().to_string(),
        uniform: planned_levels(&judge, &mut layers.engine, &|level| {
            costs.of(&vec![level; masked.len()])
        })?,
        levels: planned_levels(&judge, &mut new, &|level| costs.of(&choice.points[level]))?,
        layers: planned_layers(&masked, &choice.points),
    };
    Ok(match args.format.json {
        true => super::to_json(&plan),
        false => describe(&plan, cost),
    })
}

fn check_levels(args: &Args, supernet: &Graph, masked: &MaskedLayers) -> Result<(), Failure> {
    let message = match (supernet.n_levels, masked.is_empty()) {
        (0 | 1, _) => "the model has one level, there is nothing to choose from",
        (_, true) => "no layer has a mask, there is nothing to choose from",
        _ => return Ok(()),
    };
    Err(Diagnostic::error("no-levels", message)
        .at_file(args.model.display().to_string())
        .with_help("condensec nest makes a supernet of a trained model")
        .into())
}

/// Settings for this machine: points are judged here, whatever they are planned for.
fn host_settings(args: &Args, settings: &Settings) -> Result<Settings, Failure> {
    if settings.target.is_host() {
        return Ok(settings.clone());
    }
    let budgets = &args.budgets;
    if !budgets.latency.is_empty() {
        let message = format!(
            "the time on {} cannot be measured on this machine",
            settings.target.name()
        );
        return Err(Diagnostic::error("target-not-host", message)
            .with_help("plan with --cycles or --macs, or on the device")
            .into());
    }
    let host = CodegenArgs {
        target: "host".into(),
        cpu: None,
        features: Vec::new(),
        backend: None,
        tuning: None,
        ..args.codegen.clone()
    };
    host.settings(None, Texts::Skip)
}

fn labels(
    args: &Args,
    arrays: &[NpzArray],
    samples: &Samples<'_>,
    engine: &Engine,
) -> Result<Option<Labels>, Failure> {
    let y = arrays.iter().find(|array| array.name == "y");
    let Some(y) = y.filter(|y| y.to_i64_vec().is_ok()) else {
        return Ok(None);
    };
    let file = args.data.display().to_string();
    let output = &engine.outputs()[0];
    Labels::new(y, output, samples.n_stored, samples.batch, &file).map(Some)
}

fn cost_of(budgets: &Budgets) -> Cost {
    match (budgets.latency.is_empty(), budgets.macs.is_empty()) {
        (false, _) => Cost::Latency,
        (_, false) => Cost::Macs,
        _ => Cost::Cycles,
    }
}

/// Costs of the layers; predicted ones are those of the target, which need not be this machine.
fn costs(
    args: &Args,
    settings: &Settings,
    source: &Source,
    supernet: &Graph,
    layers: &mut Layers,
    cost: Cost,
) -> Result<Costs, Failure> {
    if settings.target.is_host() || cost != Cost::Cycles {
        return layers.costs(cost);
    }
    let mut watch = Watch::new(args.format.form(), None);
    let (graph, program) =
        driver::to_program(supernet.clone(), &source.path, settings, &mut watch)?;
    Ok(layers::predicted(cost, &graph, &program, supernet))
}

fn wishes(args: &Args, supernet: &Graph, costs: &Costs) -> Vec<Wish> {
    let budgets = &args.budgets;
    let n_levels = supernet.n_levels as usize;
    let uniform = |level: usize| costs.of(&vec![level; costs.by_layer.len()]);
    let mut wishes: Vec<Wish> = Vec::new();
    let at_most = |n: f64, text: &str| Wish::cost(n, text);
    wishes.extend(budgets.latency.iter().map(|t| at_most(t.ms, &t.text)));
    wishes.extend(budgets.cycles.iter().map(|c| at_most(c.n, &c.text)));
    wishes.extend(budgets.macs.iter().map(|c| at_most(c.n, &c.text)));
    wishes.extend(budgets.accuracy.iter().map(|&a| Wish::accuracy(a)));
    if let Some(n) = budgets.points {
        let (low, high) = (uniform(0), uniform(n_levels - 1));
        let step = (high - low) / f64::from(n + 1);
        wishes.extend((1..=n).map(|i| at_most(low + step * f64::from(i), &format!("p{i}"))));
    }
    if budgets.as_uniform {
        let name = |level: usize| {
            let name = supernet.level_names.get(level).cloned();
            name.unwrap_or_else(|| format!("as-L{level}"))
        };
        wishes.extend((1..n_levels - 1).map(|level| at_most(uniform(level), &name(level))));
    }
    wishes
}

/// Names of the levels: the user's, or those of the wishes, between the names of the ends.
fn names(args: &Args, supernet: &Graph, choice: &Choice) -> Result<Vec<String>, Failure> {
    let mut names = match args.names.is_empty() {
        true => choice.names.clone(),
        false => {
            supernet_file::check_level_names(&args.names, choice.names.len())?;
            args.names.clone()
        }
    };
    let end = |level: usize, name: &str| {
        let own = supernet.level_names.get(level).cloned();
        own.unwrap_or_else(|| name.to_string())
    };
    names.insert(0, end(0, "lowest"));
    names.push(end(supernet.n_levels as usize - 1, "full"));
    supernet_file::check_level_names(&names, choice.points.len())?;
    Ok(names)
}

fn planned_levels(
    judge: &Judge<'_>,
    engine: &mut Engine,
    cost: &dyn Fn(usize) -> f64,
) -> Result<Vec<PlannedLevel>, Failure> {
    let mut outputs = empty_outputs(engine);
    let mut levels = Vec::new();
    for level in 0..engine.levels().len() {
        engine.set_level(level)?;
        let Score { loss, top1 } = judge.score(&mut outputs, |inputs, outputs| {
            engine.run_into(inputs, outputs)
        })?;
        let info = &engine.levels()[level];
        levels.push(PlannedLevel {
            level,
            name: info.name.clone(),
            density: info.density,
            macs: info.macs,
            cost: cost(level),
            loss,
            top1,
        });
    }
    Ok(levels)
}

fn planned_layers(masked: &MaskedLayers, points: &[Assignment]) -> Vec<PlannedLayer> {
    let names = masked.names().iter().enumerate();
    let one = |(layer, name): (usize, &String)| PlannedLayer {
        name: name.clone(),
        levels: points.iter().map(|point| point[layer]).collect(),
    };
    names.map(one).collect()
}

fn refused(error: &NestError, args: &Args) -> Failure {
    Diagnostic::error("cannot-match", error.to_string())
        .at_file(args.model.display().to_string())
        .with_help("--no-statistics leaves scales and biases as they are")
        .into()
}

fn describe(plan: &Plan, cost: Cost) -> String {
    let has_labels = plan.levels.iter().any(|level| level.top1.is_some());
    let columns = [
        Column::Text("level"),
        Column::Text("name"),
        Column::Number("density"),
        Column::Number("MACs"),
        Column::Number(cost.heading()),
        Column::Number("loss"),
        Column::Number(if has_labels { "top-1" } else { "" }),
    ];
    let row = |level: &PlannedLevel| {
        vec![
            format!("L{}", level.level),
            level.name.clone(),
            table::fraction(level.density),
            table::count(level.macs),
            match cost {
                Cost::Latency => table::milliseconds(level.cost),
                Cost::Cycles | Cost::Macs => table::count(level.cost as u64),
            },
            format!("{:.4}", level.loss),
            level.top1.map_or_else(String::new, table::fraction),
        ]
    };
    format!(
        "{} samples, uniform levels\n\n{}\nplanned levels\n\n{}\n{} ({}) in {:.1} s\n",
        plan.samples,
        table::render(&columns, plan.uniform.iter().map(row)),
        table::render(&columns, plan.levels.iter().map(row)),
        plan.output,
        table::bytes(plan.bytes as u64),
        plan.seconds
    )
}
