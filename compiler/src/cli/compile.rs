//! `condensec MODEL`: the main job, from a model to a folder that a user links.

use std::path::PathBuf;
use std::time::Instant;

use condensec_backends::companions::{LevelEntry, SizeEntry};
use serde::Serialize;

use super::arguments::{CodegenArgs, FormatArgs, ImportArgs, WatchArgs};
use super::table::{self, Column};
use super::watch::Watch;
use crate::driver;
use crate::emit::{self, EmitArg};
use crate::output::{self, NewFile};
use crate::report::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// ONNX file, or graph in text form (.cir).
    // Optional for the sake of the other commands, which have a model of their own.
    #[arg(required = true)]
    model: Option<PathBuf>,

    /// Folder to write to; it is made if it does not exist.
    #[arg(short, long, value_name = "DIR", default_value = "condensec-out")]
    output: PathBuf,

    /// Name of the library, a prefix of all its symbols; from the file's name if not given.
    #[arg(long)]
    name: Option<String>,

    /// Files to write beside the library, e.g. asm,kernel-ir; with = in front (=asm) instead of it.
    #[arg(
        long,
        value_name = "KINDS",
        default_value = "",
        hide_default_value = true
    )]
    emit: EmitArg,

    #[command(flatten)]
    import: ImportArgs,

    #[command(flatten)]
    codegen: CodegenArgs,

    #[command(flatten)]
    watch: WatchArgs,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary<'a> {
    name: &'a str,
    target: &'a str,
    cpu: &'a str,
    features: &'a [String],
    backend: &'a str,
    output: String,
    files: Vec<FileEntry<'a>>,
    bytes: SizeEntry,
    state_bytes: u64,
    levels: &'a [LevelEntry],
    seconds: f64,
}

#[derive(Serialize)]
struct FileEntry<'a> {
    name: &'a str,
    bytes: u64,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let start = Instant::now();
    let settings = args
        .codegen
        .settings(args.name.clone(), args.emit.texts())?;
    args.emit.check(&settings)?;
    let model = args.model.as_deref().expect("clap asks for a model");
    let source = args.import.source(model);
    let compiled = {
        let mut watch = Watch::new(args.format.form(), Some(&args.watch));
        driver::compile(&source, &settings, &mut watch)?
    };
    let files = emit::files(&compiled, &settings, &args.emit)?;
    let new_files: Vec<NewFile<'_>> = files
        .iter()
        .map(|file| NewFile {
            name: &file.name,
            bytes: &file.bytes,
        })
        .collect();
    let inputs = args.import.files(model).chain(args.codegen.tuning.clone());
    let inputs: Vec<PathBuf> = inputs.collect();
    for file in &new_files {
        output::check_is_no_input(&args.output.join(file.name), &inputs)?;
    }
    output::write_folder(&args.output, &new_files)?;

    let manifest = &compiled.library.manifest;
    let summary = Summary {
        name: &manifest.name,
        target: &manifest.target,
        cpu: &manifest.cpu,
        features: &manifest.features,
        backend: &manifest.backend,
        output: args.output.display().to_string(),
        files: files
            .iter()
            .map(|file| FileEntry {
                name: &file.name,
                bytes: file.bytes.len() as u64,
            })
            .collect(),
        bytes: manifest.bytes,
        state_bytes: manifest.state_bytes,
        levels: &manifest.levels,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok(match args.format.json {
        true => super::to_json(&summary),
        false => describe(&summary),
    })
}

fn describe(summary: &Summary<'_>) -> String {
    let Summary {
        name,
        target,
        cpu,
        backend,
        output,
        files,
        bytes,
        levels,
        seconds,
        ..
    } = summary;
    let files: Vec<String> = files
        .iter()
        .map(|file| format!("{} ({})", file.name, table::bytes(file.bytes)))
        .collect();
    format!(
        "{name} for {target} ({cpu}) by {backend}, {seconds:.2} s\n\n{}\n\
         weights {}, indices {}, tables {}, code {}; state {} per instance\n\
         {output}: {}\n",
        level_table(levels),
        table::bytes(bytes.weights),
        table::bytes(bytes.indices),
        table::bytes(bytes.tables),
        table::bytes(bytes.code),
        table::bytes(summary.state_bytes),
        files.join(", "),
    )
}

/// One row per level.
pub(super) fn level_table(levels: &[LevelEntry]) -> String {
    let columns = [
        Column::Text("level"),
        Column::Text("name"),
        Column::Number("density"),
        Column::Number("MACs"),
        Column::Number("weights"),
        Column::Number("cycles, predicted"),
    ];
    let rows = levels.iter().map(|level| {
        vec![
            format!("L{}", level.level),
            level.name.clone(),
            table::fraction(level.density),
            table::count(level.macs),
            table::bytes(level.weight_bytes),
            table::count(level.predicted_cycles),
        ]
    });
    table::render(&columns, rows)
}
