//! `condensec report SUPERNET`: everything there is to see of a supernet, as one HTML page.
//!
//! The page needs nothing but itself: style, plots (SVG) and pictures (PNG) are in it, and its security policy forbids
//! the browser to load anything. Numbers come from the manifest and from what `eval`, `bench` and `plan` print with
//! `--json`; a section whose numbers are missing says which command gives them. The same arguments give the same bytes.

mod bars;
mod front;
mod heat_map;
mod level_table;
mod masks;
mod memory;
mod page;
mod plot;
mod results;
mod stages;
mod time;

use std::path::{Path, PathBuf};

use condensec_backends::Texts;
use condensec_backends::companions::Manifest;
use condensec_ir::{Diagnostic, Graph};
use serde::Serialize;

use self::masks::Picture;
use self::results::Results;
use super::arguments::{CodegenArgs, FormatArgs, ImportArgs};
use super::loaded::is_compiled;
use super::table;
use super::watch::Watch;
use crate::compiled::CompiledFolder;
use crate::driver;
use crate::output;
use crate::report::Failure;

/// Show a supernet as one HTML page: accuracy and latency, density, time, masks, memory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The page is one file that loads nothing from the network. It shows what the given files hold; sections without numbers
say which command gives them.

Examples:
  condensec report supernet.onnx                       density, predicted time, masks, memory: nothing is measured
  condensec eval out --data test.npz --json > eval.json
  condensec bench out --json > bench.json
  condensec report supernet.onnx --library out --eval eval.json --bench bench.json -o report.html
  condensec report supernet.onnx --layer conv1 --layer fc
  condensec report supernet.onnx --json                {output, bytes, name, levels, sections, layers}")]
pub(super) struct Args {
    /// Supernet: ONNX file, or graph in text form (.cir).
    model: PathBuf,

    /// HTML file to write; <model>.report.html if not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Folder that condensec wrote for the supernet; it is compiled in memory if not given.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["target", "cpu", "features", "backend", "optimization", "tuning"]
    )]
    library: Option<PathBuf>,

    /// Accuracy of the levels: what `condensec eval --json` printed.
    #[arg(long, value_name = "JSON")]
    eval: Option<PathBuf>,

    /// Time of the levels: what `condensec bench --json` printed.
    #[arg(long, value_name = "JSON")]
    bench: Option<PathBuf>,

    /// Planned levels beside uniform ones: what `condensec plan --json` printed when it made the supernet.
    #[arg(long, value_name = "JSON")]
    plan: Option<PathBuf>,

    /// Layer whose mask is shown, by the name of its node or weight; three of them if not given. May be repeated.
    #[arg(long, value_name = "NAME")]
    layer: Vec<String>,

    #[command(flatten)]
    import: ImportArgs,

    #[command(flatten)]
    codegen: CodegenArgs,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Written<'a> {
    output: String,
    bytes: usize,
    name: &'a str,
    levels: usize,
    /// Sections that have something to show.
    sections: Vec<&'static str>,
    /// Layers whose masks are shown.
    layers: Vec<&'a str>,
}

/// All that the page shows.
struct Subject {
    manifest: Manifest,
    results: Results,
    pictures: Vec<Picture>,
    /// Whether the code has been written to a folder, rather than compiled to look at it.
    is_library: bool,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| args.model.with_extension("report.html"));
    check_output(args, &path)?;
    if is_compiled(&args.model) {
        let message = "a compiled model has no masks to show";
        return Err(Diagnostic::error("not-a-supernet", message)
            .at_file(args.model.display().to_string())
            .with_help("give the ONNX file that it was made of, and the folder with --library")
            .into());
    }
    // Small files first: what is wrong with them shows before anything is compiled.
    let files = results::Files::read(
        args.eval.as_deref(),
        args.bench.as_deref(),
        args.plan.as_deref(),
    )?;
    let mut watch = Watch::new(args.format.form(), None);
    let graph = driver::read_graph(&args.import.source(&args.model), &mut watch)?;
    let layers = masks::choose(&graph, &args.layer, &args.model)?;
    let pictures: Vec<Picture> = layers
        .iter()
        .map(|layer| layer.draw(&graph, !args.layer.is_empty()))
        .collect();
    let manifest = match &args.library {
        Some(library) => library_of(&graph, library)?,
        None => {
            let settings = args.codegen.settings(None, Texts::Skip)?;
            driver::compile_graph(graph, &args.model, &settings, &mut watch)?
                .library
                .manifest
        }
    };
    drop(watch);
    let subject = Subject {
        results: files.check(&manifest)?,
        manifest,
        pictures,
        is_library: args.library.is_some(),
    };
    let page = page::render(&subject);
    output::write_file(&path, page.html.as_bytes())?;

    let written = Written {
        output: path.display().to_string(),
        bytes: page.html.len(),
        name: &subject.manifest.name,
        levels: subject.manifest.levels.len(),
        sections: page.sections,
        layers: subject.pictures.iter().map(|p| p.layer.as_str()).collect(),
    };
    Ok(match args.format.json {
        true => super::to_json(&written),
        false => describe(&written),
    })
}

/// Refuses to write over anything that the page is made of.
fn check_output(args: &Args, path: &Path) -> Result<(), Failure> {
    let files = [&args.eval, &args.bench, &args.plan, &args.codegen.tuning];
    let files = files.into_iter().filter_map(Option::clone);
    output::check_is_no_input(path, args.import.files(&args.model).chain(files))
}

/// The manifest of the library in `folder`, which must be one of `graph`.
fn library_of(graph: &Graph, folder: &Path) -> Result<Manifest, Failure> {
    let manifest = CompiledFolder::open(folder)?.manifest;
    let n_levels = graph.n_levels as usize;
    let n_found = manifest.levels.len();
    let own_name = |level: usize| match graph.level_names.get(level) {
        Some(name) => name.clone(),
        None => format!("L{level}"),
    };
    let mut names = manifest.levels.iter().enumerate();
    let other = match n_levels == n_found {
        false => Some(format!(
            "the supernet has {n_levels} levels, the library {n_found}"
        )),
        true => names
            .find(|(level, entry)| entry.name != own_name(*level))
            .map(|(level, entry)| {
                format!(
                    "L{level} is called {:?} in the supernet, {:?} in the library",
                    own_name(level),
                    entry.name
                )
            })
            .or_else(|| masks::missing_from(graph, &manifest)),
    };
    match other {
        None => Ok(manifest),
        Some(note) => Err(Diagnostic::error(
            "other-library",
            format!("{} was not made of this supernet", folder.display()),
        )
        .at_file(folder.display().to_string())
        .with_note(note)
        .with_help("compile the supernet again, or leave out --library")
        .into()),
    }
}

fn describe(written: &Written<'_>) -> String {
    format!(
        "{} ({}): {}\n",
        written.output,
        table::bytes(written.bytes as u64),
        written.sections.join(", ")
    )
}
