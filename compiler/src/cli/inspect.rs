//! `condensec inspect MODEL`: what each level keeps of each layer, and what runs it.

use std::path::PathBuf;

use condensec_backends::companions::{LayerEntry, LevelEntry, Manifest};
use serde::Serialize;

use super::arguments::{CodegenArgs, FormatArgs, ImportArgs};
use super::compile::level_table;
use super::loaded::{self, find_level};
use super::table;
use crate::report::Failure;

/// Show levels and layers: density, multiply-adds, bytes, chosen kernel.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  condensec inspect net.onnx             density of every layer at every level
  condensec inspect net.onnx --level 0   all about one level
  condensec inspect out --json           {levels: [..], layers: [{name, op, shape, block, format, per_level}]}")]
pub(super) struct Args {
    /// ONNX file, graph in text form (.cir), or folder that condensec wrote.
    model: PathBuf,

    /// One level in detail, by number or name.
    #[arg(long)]
    level: Option<String>,

    #[command(flatten)]
    import: ImportArgs,

    #[command(flatten)]
    codegen: CodegenArgs,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Inspection<'a> {
    name: &'a str,
    target: &'a str,
    cpu: &'a str,
    backend: &'a str,
    levels: &'a [LevelEntry],
    layers: &'a [LayerEntry],
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let manifest = loaded::manifest(&args.model, &args.import, &args.codegen, args.format)?;
    let level = match &args.level {
        Some(wanted) => {
            let names: Vec<&str> = manifest
                .levels
                .iter()
                .map(|level| level.name.as_str())
                .collect();
            Some(find_level(wanted, &names)?)
        }
        None => None,
    };
    if args.format.json {
        return Ok(super::to_json(&Inspection {
            name: &manifest.name,
            target: &manifest.target,
            cpu: &manifest.cpu,
            backend: &manifest.backend,
            levels: &manifest.levels,
            layers: &manifest.layers,
        }));
    }
    let layers = match level {
        Some(level) => one_level(&manifest, level),
        None => all_levels(&manifest),
    };
    let Manifest {
        name,
        target,
        cpu,
        backend,
        levels,
        ..
    } = &manifest;
    Ok(format!(
        "{name} for {target} ({cpu}) by {backend}\n\n{}\n{layers}",
        level_table(levels)
    ))
}

/// Density at every level; the rest at the highest.
fn all_levels(manifest: &Manifest) -> String {
    let top = manifest.levels.len() - 1;
    let mut headers: Vec<String> = ["layer", "op", "shape", "block", "format"]
        .map(String::from)
        .to_vec();
    headers.extend((0..=top).map(|level| format!("L{level}")));
    headers.extend(["MACs", "weights", "kernel"].map(String::from));
    let n_words = 5;
    let is_number: Vec<bool> = (0..headers.len())
        .map(|i| i >= n_words && i + 1 < headers.len())
        .collect();
    let rows = manifest.layers.iter().map(|layer| {
        let mut row = heads(layer);
        row.extend(
            layer
                .per_level
                .iter()
                .map(|level| format!("{:.3}", level.density)),
        );
        let at_top = &layer.per_level[top];
        row.extend([
            table::count(at_top.macs),
            table::bytes(at_top.weight_bytes),
            at_top.kernel.clone(),
        ]);
        row
    });
    table::layout(headers, &is_number, rows)
}

/// Everything about one level.
fn one_level(manifest: &Manifest, level: usize) -> String {
    let headers = [
        "layer", "op", "shape", "block", "format", "density", "MACs", "weights", "cycles", "kernel",
    ];
    let is_number = [
        false, false, false, false, false, true, true, true, true, false,
    ];
    let rows = manifest.layers.iter().map(|layer| {
        let mut row = heads(layer);
        let at_level = &layer.per_level[level];
        row.extend([
            format!("{:.3}", at_level.density),
            table::count(at_level.macs),
            table::bytes(at_level.weight_bytes),
            table::count(at_level.predicted_cycles),
            at_level.kernel.clone(),
        ]);
        row
    });
    table::layout(headers.map(String::from).to_vec(), &is_number, rows)
}

fn heads(layer: &LayerEntry) -> Vec<String> {
    vec![
        layer.name.clone(),
        layer.op.clone(),
        table::shape(&layer.shape),
        table::shape(&layer.block),
        layer.format.clone(),
    ]
}
