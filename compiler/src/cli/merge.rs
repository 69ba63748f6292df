//! `condensec merge`: one pruned export per level, as one supernet.

use std::path::{Path, PathBuf};

use condensec_ir::Diagnostic;
use serde::Serialize;

use super::arguments::FormatArgs;
use super::table;
use crate::frontend::onnx::merge_levels;
use crate::frontend::onnx::proto::{ModelProto, encode_model};
use crate::report::Failure;
use crate::{driver, output};

/// Bytes of a protobuf message at most; longer files no reader takes.
const MAX_FILE_BYTES: usize = (1 << 31) - 1;

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
    check_names(args)?;
    let models: Result<Vec<(String, ModelProto)>, Failure> = args
        .levels
        .iter()
        .map(|path| Ok((path.display().to_string(), read(path)?)))
        .collect();
    let mut supernet = merge_levels(&models?)?;
    if !args.names.is_empty() {
        supernet.set_metadata("condense.level_names", args.names.join(","));
    }
    let bytes = encode_model(&supernet);
    check_size(bytes.len())?;
    output::write_file(&args.output, &bytes)?;

    let merged = Merged {
        output: args.output.display().to_string(),
        bytes: bytes.len(),
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

/// Refuses a model that no ONNX file can hold.
pub(super) fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes <= MAX_FILE_BYTES {
        return Ok(());
    }
    let message = format!("the supernet has {bytes} bytes, an ONNX file at most {MAX_FILE_BYTES}");
    Err(Diagnostic::error("too-large", message)
        .with_help("keep the level data in a file of its own, see --masks")
        .into())
}

fn check_names(args: &Args) -> Result<(), Failure> {
    let Args { names, levels, .. } = args;
    if !names.is_empty() && names.len() != levels.len() {
        let message = format!("{} level names for {} files", names.len(), levels.len());
        return Err(Diagnostic::error("length-mismatch", message).into());
    }
    match names
        .iter()
        .enumerate()
        .find(|(at, name)| names[..*at].contains(name))
    {
        Some((_, twice)) => {
            let message = format!("two levels are called {twice:?}");
            Err(Diagnostic::error("duplicate-name", message).into())
        }
        None => Ok(()),
    }
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
