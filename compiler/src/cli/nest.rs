//! `condensec nest MODEL`: a supernet from a trained model, without training.

mod spacing;

use std::path::{Path, PathBuf};
use std::time::Instant;

use condensec_ir::ops::LayerParameters;
use condensec_ir::{Diagnostic, Graph, LevelId, NodeId};
use condensec_nest::{BlockShape, Calibration, NestError, Nested, NestedLayer, Ranking, Recipe};
use serde::Serialize;

use super::arguments::{CodegenArgs, FormatArgs, ImportArgs};
use super::progress::Progress;
use super::samples::{self, Samples};
use super::watch::Watch;
use super::{supernet_file, table};
use crate::driver;
use crate::engine::EnginePort;
use crate::frontend::onnx::{fixed_layers, write_levels};
use crate::npz::NpzArray;
use crate::output;
use crate::report::{self, Failure};

/// Make a supernet of a trained model: nested masks, and weights that serve all levels.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Blocks of weights are ranked by what removing them costs, as second moments of the layers' inputs tell; a level keeps
a prefix of the ranking. The weights, which all levels share, are then fitted to all of them at once, which moves the
top level a little (--exact-top leaves it alone), and every level gets a scale and a bias per channel. All of that takes a few hundred
inputs of the kind that the model will see, no labels. Without --calibrate blocks are ranked by magnitude.

The first and the last layers and depthwise convolutions stay dense. Dense layers behind pruned ones, but for depthwise
convolutions, are fitted with them where there are inputs enough.

Examples:
  condensec nest net.onnx --calibrate train.npz -o supernet.onnx
  condensec nest net.onnx --calibrate train.npz --levels 16 --spacing latency-ratio --block 1x1
  condensec nest net.onnx --sparsity 0.9,0.5,0 --calibrate train.npz --json
  {output, bytes, samples, seconds, levels: [{level, name, density}], layers: [{name, pruned, regrouped, kept}]}")]
pub(super) struct Args {
    /// ONNX file.
    model: PathBuf,

    /// ONNX file to write; <model>.supernet.onnx if not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Share of dropped weights at every level, L0 first.
    #[arg(long, value_name = "S0,S1,..", value_delimiter = ',', default_values_t = [0.9, 0.8, 0.7, 0.5, 0.0])]
    sparsity: Vec<f64>,

    /// That many levels instead, evenly spaced from --min-density to 1.
    #[arg(long, value_name = "N", conflicts_with = "sparsity", value_parser = clap::value_parser!(u32).range(2..=64))]
    levels: Option<u32>,

    /// Density of L0 with --levels.
    #[arg(long, value_name = "D", default_value_t = 0.05, requires = "levels")]
    min_density: f64,

    /// In what --levels are evenly spaced; latency is predicted for the machine that --target and --cpu name.
    #[arg(long, value_enum, default_value_t = Spacing::Density, requires = "levels")]
    spacing: Spacing,

    /// Names of the levels, L0 first.
    #[arg(long, value_delimiter = ',')]
    names: Vec<String>,

    /// Weights that are kept or dropped as a whole, over the axes of a weight, output channels first.
    #[arg(long, value_name = "4x1", default_value = "4x1", value_parser = parse_block)]
    block: BlockShape,

    /// Archive with inputs to calibrate with: x (or one array per ONNX input), the first axis counting samples.
    #[arg(long, value_name = "NPZ")]
    calibrate: Option<PathBuf>,

    /// Use only the first samples.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,

    /// Keep the weights as they are: the top level stays bit-exact, the others lose more.
    #[arg(long)]
    exact_top: bool,

    /// Layers to keep dense, by the names that `condensec inspect` shows.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    dense: Vec<String>,

    #[command(flatten)]
    steps: StepArgs,

    #[command(flatten)]
    import: ImportArgs,

    #[command(flatten)]
    codegen: CodegenArgs,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// Steps of the recipe to leave out, to see what each is worth.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Recipe")]
struct StepArgs {
    /// How blocks are ranked; by optimal brain surgeon where there are calibration inputs.
    #[arg(long, value_enum)]
    rank: Option<RankingName>,

    /// Leave out scale and bias per level and channel.
    #[arg(long)]
    no_statistics: bool,

    /// Put only rows that follow each other into a block.
    #[arg(long)]
    no_grouping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Spacing {
    /// Share of kept weights.
    Density,
    /// Cycles that the cost model predicts.
    Latency,
    /// The same, each level as many times slower than the one below: what a governor wants.
    LatencyRatio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RankingName {
    /// Cost of removal by the optimal brain surgeon.
    Obs,
    /// Sum of squares.
    Magnitude,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    output: String,
    bytes: usize,
    samples: usize,
    seconds: f64,
    levels: Vec<LevelReport>,
    layers: Vec<LayerReport>,
}

#[derive(Serialize)]
struct LevelReport {
    level: usize,
    name: String,
    density: f64,
}

#[derive(Serialize)]
struct LayerReport {
    name: String,
    pruned: bool,
    regrouped: bool,
    /// Share of kept weights per level.
    kept: Vec<f64>,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let default = || args.model.with_extension("supernet.onnx");
    let path = args.output.clone().unwrap_or_else(default);
    let read = args.import.files(&args.model);
    output::check_is_no_input(&path, read.chain(args.calibrate.clone()))?;
    let arrays = match &args.calibrate {
        Some(path) => driver::read_arrays(path)?,
        None => Vec::new(),
    };
    let mut source = args.import.source(&args.model);
    source.given_shapes = samples::sample_shapes(&arrays);
    let mut watch = Watch::new(args.format.form(), None);
    let (model, graph) = driver::read_model(&source, &mut watch)?;
    drop(watch);

    let mut recipe = recipe(args, !arrays.is_empty());
    if graph.n_levels == 1 {
        recipe.fixed_layers = fixed_layers(&model, &graph);
    }
    recipe.dense_layers = dense_layers(args, &graph)?;
    if let Some(n) = args.levels {
        recipe.densities = match args.spacing {
            Spacing::Density => spacing::spread(args.min_density, 1.0, n),
            Spacing::Latency => {
                spacing::spread_in_latency(args, &graph, &recipe, n, spacing::spread)?
            }
            Spacing::LatencyRatio => {
                spacing::spread_in_latency(args, &graph, &recipe, n, spacing::spread_by_ratio)?
            }
        };
    }
    supernet_file::check_level_names(&args.names, recipe.densities.len())?;
    for &layer in &recipe.fixed_layers {
        let message = "a layer is left alone: its weights are not in the file as they are used";
        let why = "shared, transformed on the way, or not a constant of the file";
        note(args, &graph, layer, "layer-left-alone", message, why);
    }
    let calibration = match &args.calibrate {
        Some(path) => calibration(args, path, &arrays, &graph)?,
        None => Calibration::default(),
    };
    drop(arrays);

    let start = Instant::now();
    let n_samples = calibration.n_samples();
    let mut bar: Option<Progress> = None;
    let nested = condensec_nest::nest(&graph, calibration, &recipe, &mut |progress| {
        let total = progress.total as u64;
        let bar = bar.get_or_insert_with(|| Progress::new("nesting", total));
        bar.set(progress.done as u64);
    });
    drop(bar);
    let mut nested = nested.map_err(|error| refused(&error, &args.model))?;
    nested.graph.level_names.clone_from(&args.names);
    for layer in nested.layers.iter().filter(|layer| layer.is_too_wide) {
        let message = "a layer is ranked by magnitude, and its weights stay as they are";
        let why = format!("its rows have more than {} weights", recipe.max_columns);
        note(args, &graph, layer.node, "layer-too-wide", message, &why);
    }

    let supernet = write_levels(&model, &graph, &nested.graph)?;
    let bytes = supernet_file::write(&path, &supernet)?;

    let report = Report {
        output: path.display().to_string(),
        bytes,
        samples: n_samples,
        seconds: start.elapsed().as_secs_f64(),
        levels: levels(&nested.graph, &recipe),
        layers: layers(&nested),
    };
    Ok(match args.format.json {
        true => super::to_json(&report),
        false => describe(&report),
    })
}

fn note(args: &Args, graph: &Graph, layer: NodeId, code: &'static str, message: &str, why: &str) {
    let origin = &graph.node(layer).origin;
    let note = Diagnostic::note(code, message)
        .at_node(&origin.name, &origin.op_type)
        .with_note(why);
    report::emit(&note, args.format.form());
}

fn recipe(args: &Args, is_calibrated: bool) -> Recipe {
    let densities = args
        .sparsity
        .iter()
        .map(|sparsity| 1.0 - sparsity)
        .collect();
    let mut recipe = Recipe::new(densities, args.block.clone());
    recipe.repairs = is_calibrated && !args.exact_top;
    recipe.matches_statistics = is_calibrated && !args.steps.no_statistics;
    recipe.groups_rows = !args.steps.no_grouping;
    recipe.ranking = match args.steps.rank {
        Some(RankingName::Magnitude) => Ranking::Magnitude,
        Some(RankingName::Obs) => Ranking::Obs,
        None if is_calibrated => Ranking::Obs,
        None => Ranking::Magnitude,
    };
    recipe
}

/// The layers that the user names, as `inspect` shows them.
fn dense_layers(args: &Args, graph: &Graph) -> Result<Vec<NodeId>, Failure> {
    let order = graph.order();
    let find = |name: &String| {
        let is_named = |id: &NodeId| {
            let node = graph.node(*id);
            let is_layer = LayerParameters::of(&node.op).is_some();
            is_layer && node.origin.name == *name
        };
        order.iter().copied().find(is_named).ok_or_else(|| {
            let message = format!("there is no layer {name:?} to keep dense");
            let help = "`condensec inspect` lists the names";
            Failure::from(Diagnostic::error("unknown-layer", message).with_help(help))
        })
    };
    args.dense.iter().map(find).collect()
}

fn calibration(
    args: &Args,
    path: &Path,
    arrays: &[NpzArray],
    graph: &Graph,
) -> Result<Calibration, Failure> {
    let port = |&node: &NodeId| EnginePort {
        name: graph.node(node).name.clone(),
        shape: graph.node(node).shape.clone(),
    };
    let ports: Vec<EnginePort> = graph.inputs().iter().map(port).collect();
    let limit = args
        .samples
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let samples = Samples::new(arrays, &ports, path, limit)?;
    Ok(samples.to_calibration(&ports))
}

fn refused(error: &NestError, model: &Path) -> Failure {
    let code = match error {
        NestError::HasLevels(_) => "already-supernet",
        NestError::Densities(_) => "bad-sparsity",
        NestError::LevelCount(_) => "bad-level-count",
        NestError::NoLayers => "nothing-to-prune",
        NestError::NoCalibration => "missing-input",
        NestError::InputShape { .. } => "wrong-shape",
        NestError::NotFinite { .. } => "not-finite",
    };
    let diagnostic =
        Diagnostic::error(code, error.to_string()).at_file(model.display().to_string());
    match error {
        NestError::HasLevels(_) => diagnostic.with_help("start from the trained model"),
        NestError::Densities(_) => diagnostic
            .with_help("give --sparsity with L0 first, e.g. 0.9,0.8,0.5,0, or --min-density"),
        NestError::NoCalibration => diagnostic.with_help("give --calibrate inputs.npz"),
        _ => diagnostic,
    }
    .into()
}

/// Density of every level over the weights of the pruned layers.
fn levels(graph: &Graph, recipe: &Recipe) -> Vec<LevelReport> {
    let name = |level: usize| graph.level_names.get(level).cloned();
    let one = |(level, density): (usize, &f64)| LevelReport {
        level,
        name: name(level).unwrap_or_else(|| format!("L{level}")),
        density: *density,
    };
    recipe.densities.iter().enumerate().map(one).collect()
}

fn layers(nested: &Nested) -> Vec<LayerReport> {
    let graph = &nested.graph;
    let kept = |layer: &NestedLayer| -> Vec<f64> {
        let weight = graph.tensor(graph.node(layer.node).op.tensors()[0]);
        (0..graph.n_levels)
            .map(|level| weight.n_kept(LevelId(level)) as f64 / weight.n_elems() as f64)
            .collect()
    };
    nested
        .layers
        .iter()
        .map(|layer| LayerReport {
            name: graph.node(layer.node).origin.name.clone(),
            pruned: layer.is_pruned,
            regrouped: layer.is_regrouped,
            kept: kept(layer),
        })
        .collect()
}

fn describe(report: &Report) -> String {
    let mut headers = vec!["layer".to_string()];
    headers.extend(report.levels.iter().map(|level| level.name.clone()));
    let is_number: Vec<bool> = (0..headers.len()).map(|column| column > 0).collect();
    let rows: Vec<Vec<String>> = report
        .layers
        .iter()
        .map(|layer| {
            let mut row = vec![layer.name.clone()];
            row.extend(layer.kept.iter().map(|kept| format!("{kept:.3}")));
            row
        })
        .collect();
    format!(
        "{}{} ({}), {} levels from {} samples in {:.1} s\n",
        table::layout(headers, &is_number, rows),
        report.output,
        table::bytes(report.bytes as u64),
        report.levels.len(),
        report.samples,
        report.seconds
    )
}

/// `4x1`, `1`, `4x1x3x3`.
fn parse_block(text: &str) -> Result<BlockShape, String> {
    let sizes: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    match sizes {
        Ok(sizes) if sizes.len() <= 4 && sizes.iter().all(|&size| size > 0) => {
            Ok(BlockShape(sizes))
        }
        _ => Err("expected up to four sizes, e.g. 4x1".into()),
    }
}
