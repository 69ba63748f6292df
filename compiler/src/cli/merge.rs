//! `condensec merge`: one pruned export per level, as one supernet.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::arguments::FormatArgs;
use super::{supernet_file, table};
use crate::driver;
use crate::frontend::onnx::merge_levels;
use crate::frontend::onnx::proto::ModelProto;
use crate::output;
use crate::report::Failure;

/// Make a supernet of pruned exports of one network, one per level.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exports must have the same graph; what a level prunes (plain zeros), every level before it must prune too; and a
weight that two levels keep must have the same value in both.

Example:
  condensec merge sparse90.onnx sparse50.onnx dense.onnx -o supernet.onnx --names d10,d50,full")]
pub(super) struct Args {
    /// ONNX files, the sparsest first.
    #[arg(required = true, num_args = 1.., value_name = "LEVEL")]
    levels: Vec<PathBuf>,

    /// ONNX file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Names of the levels, the sparsest first.
    #[arg(long, value_delimiter = ',')]
    names: Vec<String>,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Merged {
    output: String,
    bytes: usize,
    levels: Vec<MergedLevel>,
}

#[derive(Serialize)]
struct MergedLevel {
    level: usize,
    name: String,
    file: String,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    supernet_file::check_level_names(&args.names, args.levels.len())?;
    output::check_is_no_input(
        &args.output,
        args.levels
            .iter()
            .flat_map(|path| driver::model_files(path)),
    )?;
    let models: Result<Vec<(String, ModelProto)>, Failure> = args
        .levels
        .iter()
        .map(|path| Ok((path.display().to_string(), read(path)?)))
        .collect();
    let mut supernet = merge_levels(&models?)?;
    if !args.names.is_empty() {
        supernet.set_metadata("condense.level_names", args.names.join(","));
    }
    let bytes = supernet_file::write(&args.output, &supernet)?;

    let merged = Merged {
        output: args.output.display().to_string(),
        bytes,
        levels: args
            .levels
            .iter()
            .enumerate()
            .map(|(level, path)| named(args, level, path))
            .collect(),
    };
    Ok(match args.format.json {
        true => super::to_json(&merged),
        false => describe(&merged),
    })
}

fn read(path: &Path) -> Result<ModelProto, Failure> {
    let mut model = driver::decode(&driver::read_bytes(path)?, path)?;
    driver::load_external_data(&mut model, path)?;
    Ok(model)
}

fn named(args: &Args, level: usize, path: &Path) -> MergedLevel {
    let name = args
        .names
        .get(level)
        .cloned()
        .unwrap_or_else(|| format!("L{level}"));
    MergedLevel {
        level,
        name,
        file: path.display().to_string(),
    }
}

fn describe(merged: &Merged) -> String {
    let levels: Vec<String> = merged
        .levels
        .iter()
        .map(|level| match level.name == format!("L{}", level.level) {
            true => format!("L{} from {}", level.level, level.file),
            false => format!("L{} ({}) from {}", level.level, level.name, level.file),
        })
        .collect();
    format!(
        "{} ({}): {}\n",
        merged.output,
        table::bytes(merged.bytes as u64),
        levels.join(", ")
    )
}
