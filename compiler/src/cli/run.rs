//! `condensec run MODEL`: one inference at one level, arrays in, arrays out.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::arguments::FormatArgs;
use super::arrays;
use super::loaded::{LoadArgs, find_level};
use super::measuring::empty_outputs;
use super::quantities::Time;
use crate::engine::Engine;
use crate::npz::{NpzArray, write_npz};
use crate::report::Failure;
use crate::{driver, output, report};

/// Run a model once on the arrays of a NumPy archive.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The archives have one array per ONNX input and output, under its name; in_0, in_1, .. name inputs by their place.
Dimensions that the ONNX file leaves open are those of the arrays.

With --deadline the level changes in the middle of the run so that it ends in time and uses all of it; a run before it shows
how fast the machine is. The outputs are those of the layers at the levels that they ran at.

Examples:
  condensec run net.onnx --level 0 --inputs in.npz --outputs out.npz
  condensec run net.onnx --deadline 8ms --inputs in.npz --outputs out.npz --json
  {level, name, outputs: [{name, shape}], ms, steps: [{node, level}]}        (ms and steps with --deadline)")]
pub(super) struct Args {
    #[command(flatten)]
    load: LoadArgs,

    /// Level by number or name; the highest if not given.
    #[arg(long)]
    level: Option<String>,

    /// Time that the run may take; it starts at --level.
    #[arg(long, value_name = "8ms")]
    deadline: Option<Time>,

    /// Archive to read the inputs from.
    #[arg(long, value_name = "NPZ")]
    inputs: PathBuf,

    /// Archive to write the outputs to.
    #[arg(long, value_name = "NPZ")]
    outputs: PathBuf,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Ran<'a> {
    level: usize,
    name: &'a str,
    outputs: Vec<RanOutput<'a>>,
    #[serde(flatten)]
    by_deadline: Option<ByDeadline>,
}

/// What a run with a deadline did.
#[derive(Serialize)]
struct ByDeadline {
    ms: f64,
    steps: Vec<RanStep>,
}

#[derive(Serialize)]
struct RanStep {
    node: String,
    level: usize,
}

#[derive(Serialize)]
struct RanOutput<'a> {
    name: &'a str,
    shape: &'a [usize],
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let read = args.load.files().chain([args.inputs.clone()]);
    output::check_is_no_input(&args.outputs, read)?;
    let input_arrays = driver::read_arrays(&args.inputs)?;
    let shapes = input_arrays
        .iter()
        .map(|array| (array.name.clone(), array.shape.clone()));
    let mut engine = args.load.load(shapes.collect(), args.format)?;
    let level = choose_level(&engine, args.level.as_deref())?;
    engine.set_level(level)?;
    let (inputs, warnings) = arrays::bind(&input_arrays, engine.inputs(), &args.inputs)?;
    for warning in &warnings {
        report::emit(warning, args.format.form());
    }
    let mut results = empty_outputs(&engine);
    let by_deadline = match &args.deadline {
        Some(deadline) => Some(run_by_deadline(
            &mut engine,
            deadline,
            &inputs,
            &mut results,
        )?),
        None => {
            engine.run_into(&inputs, &mut results)?;
            None
        }
    };

    let output_arrays: Vec<NpzArray> = engine
        .outputs()
        .iter()
        .zip(results)
        .map(|(port, elems)| NpzArray::f32(port.name.clone(), &port.shape, elems))
        .collect();
    let bytes = write_npz(&output_arrays).expect("shapes and elements come from the engine");
    output::write_file(&args.outputs, &bytes)?;

    let ran = Ran {
        level,
        name: &engine.levels()[level].name,
        outputs: output_arrays
            .iter()
            .map(|array| RanOutput {
                name: &array.name,
                shape: &array.shape,
            })
            .collect(),
        by_deadline,
    };
    Ok(match args.format.json {
        true => super::to_json(&ran),
        false => describe(&ran, args),
    })
}

fn run_by_deadline(
    engine: &mut Engine,
    deadline: &Time,
    inputs: &[&[f32]],
    outputs: &mut [Vec<f32>],
) -> Result<ByDeadline, Failure> {
    let start = Instant::now();
    let mut clock = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    // The first run finds nothing in the caches.
    engine.run_into(inputs, outputs)?;
    let before = clock();
    engine.run_into(inputs, outputs)?;
    let cycles = engine.levels()[engine.level()].predicted_cycles.max(1);
    let ns_per_cycle = (clock() - before) as f32 / cycles as f32;

    let begin = Instant::now();
    let deadline_ns = (deadline.ms * 1e6) as f32;
    let levels = engine.run_by_deadline(deadline_ns, ns_per_cycle, &mut clock, inputs, outputs)?;
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    let nodes = engine.step_nodes().into_iter();
    let steps = nodes
        .zip(levels)
        .map(|(node, level)| RanStep { node, level });
    Ok(ByDeadline {
        ms,
        steps: steps.collect(),
    })
}

/// The level that the user asks for, else the highest.
fn choose_level(engine: &Engine, wanted: Option<&str>) -> Result<usize, Failure> {
    let names: Vec<&str> = engine
        .levels()
        .iter()
        .map(|level| level.name.as_str())
        .collect();
    wanted.map_or(Ok(names.len() - 1), |wanted| find_level(wanted, &names))
}

fn describe(ran: &Ran<'_>, args: &Args) -> String {
    let outputs: Vec<String> = ran
        .outputs
        .iter()
        .map(|output| format!("{} {:?}", output.name, output.shape))
        .collect();
    let name = match ran.name == format!("L{}", ran.level) {
        true => String::new(),
        false => format!(" ({})", ran.name),
    };
    let mut text = format!(
        "L{}{name}: {} in {}\n",
        ran.level,
        outputs.join(", "),
        args.outputs.display()
    );
    if let Some(ByDeadline { ms, steps }) = &ran.by_deadline {
        let mut level = ran.level;
        for step in steps {
            if step.level != level {
                level = step.level;
                let _ = writeln!(text, "L{level} from {}", step.node);
            }
        }
        let _ = writeln!(text, "{ms:.3} ms");
    }
    text
}
