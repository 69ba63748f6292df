//! `condensec run MODEL`: one inference at one level, arrays in, arrays out.

use std::path::PathBuf;

use serde::Serialize;

use super::arguments::FormatArgs;
use super::arrays;
use super::loaded::{LoadArgs, find_level};
use crate::engine::Engine;
use crate::npz::{NpzArray, write_npz};
use crate::report::Failure;
use crate::{driver, output, report};

/// Run a model once on the arrays of a NumPy archive.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The archives have one array per ONNX input and output, under its name; in_0, in_1, .. name inputs by their place.
Dimensions that the ONNX file leaves open are those of the arrays.

Example:
  condensec run net.onnx --level 0 --inputs in.npz --outputs out.npz")]
pub(super) struct Args {
    #[command(flatten)]
    load: LoadArgs,

    /// Level by number or name; the highest if not given.
    #[arg(long)]
    level: Option<String>,

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
}

#[derive(Serialize)]
struct RanOutput<'a> {
    name: &'a str,
    shape: &'a [usize],
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
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
    let results = engine.run(&inputs)?;

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
    };
    Ok(match args.format.json {
        true => super::to_json(&ran),
        false => describe(&ran, args),
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
    format!(
        "L{}{name}: {} in {}\n",
        ran.level,
        outputs.join(", "),
        args.outputs.display()
    )
}
