//! THE pipeline, from the path of a model to the files of a library: what happens, and in which order.
//!
//! Every stage is one call. Files are read here and nowhere deeper, so that decoding, importing, passes, lowering and
//! code generation are pure functions of what they get. Everything that the user's input can do wrong comes back as a
//! [`Failure`]; a graph that a pass of ours leaves broken is a panic with the pass's name.

use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use condensec_backends::{
    Backend, BackendError, Library, LibraryOptions, Target, Texts, build_library,
};
use condensec_ir::kernel::Program;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::verify::verify_graph;
use condensec_ir::{Diagnostic, Graph, text};
use condensec_passes::lower::Schedules;
use condensec_passes::{PIPELINE, lower};

use crate::frontend::onnx::external_data::{external_locations, resolve_external};
use crate::frontend::onnx::proto::{ModelProto, ProtoError, decode_model};
use crate::frontend::onnx::{ImportOptions, MaskFile, import_model};
use crate::given_shapes::fill_open_shapes;
use crate::model_name::model_name;
use crate::npz::{self, NpzArray};
use crate::output::describe;
use crate::report::Failure;
use crate::tuning;

/// The stage before all passes, for `--print-after`.
pub const IMPORT: &str = "import";

/// The stage after all passes, for `--print-after`.
pub const LOWER: &str = "lower";

/// Where a model comes from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// An ONNX file, or a graph in text form (`.cir`).
    pub path: PathBuf,
    /// Level data in a file of its own.
    pub masks: Option<PathBuf>,
    /// Shapes that the user chose for inputs, by name.
    pub input_shapes: Vec<(String, Vec<usize>)>,
    /// Shapes of arrays at hand, by name or place (`in_0`). They fill in the dimensions that the model leaves open;
    /// where they contradict it, or name no input, they do nothing.
    pub given_shapes: Vec<(String, Vec<usize>)>,
}

/// What to compile for, and how.
#[derive(Clone)]
pub struct Settings {
    /// The machine.
    pub target: Target,
    /// The code generator.
    pub backend: &'static dyn Backend,
    /// Name of the library; from the file's name if there is none.
    pub name: Option<String>,
    /// From 0, compiles fastest, to 3, runs fastest.
    pub optimization: u8,
    /// Whether readable forms of the kernels are wanted.
    pub texts: Texts,
    /// Schedules that replace the cost model's choice.
    pub schedules: Schedules,
}

/// A compiled model, with what it was made from for those who want to look.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The graph after all passes.
    pub graph: Graph,
    /// The kernels.
    pub program: Program,
    /// The files.
    pub library: Library,
}

/// Watches the pipeline. Nothing that it does changes the result.
pub trait Observer {
    /// Something that does not stop the compiler: a warning or a note.
    fn diagnostic(&mut self, diagnostic: &Diagnostic);
    /// `stage` begins.
    fn begin(&mut self, stage: &'static str);
    /// `stage` is done, with what a pass says of itself.
    fn end(&mut self, stage: &'static str, outcome: Outcome, time: Duration);
    /// The graph as `stage` left it.
    fn graph(&mut self, stage: &'static str, graph: &Graph);
    /// The kernels as lowering left them.
    fn program(&mut self, program: &Program);
}

/// Whether a pass found something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The graph is another one, or the stage makes something new.
    Changed,
    /// The pass had nothing to do.
    Unchanged,
}

/// From a path to the files of a library, in memory.
///
/// # Errors
/// Everything that is wrong with the model, or cannot be done with it on this target.
pub fn compile(
    source: &Source,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<Compiled, Failure> {
    // The file as a verified graph of tensor ops.
    let graph = read_graph(source, observer)?;
    compile_graph(graph, &source.path, settings, observer)
}

/// From a verified graph to the files of a library; `path` gives it its name.
///
/// # Errors
/// What cannot be done with the graph on this target.
pub fn compile_graph(
    graph: Graph,
    path: &Path,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<Compiled, Failure> {
    // Patterns fused, layouts chosen; then loops over vectors, all levels at once.
    let (graph, program) = to_program(graph, path, settings, observer)?;
    // Machine code, tables, archive, header, manifest.
    let library = generate_code(&program, settings, observer)?;
    Ok(Compiled {
        graph,
        program,
        library,
    })
}

/// From a path to a verified graph.
///
/// # Errors
/// The file is missing or damaged, or the model has something that is not supported.
pub fn read_graph(source: &Source, observer: &mut dyn Observer) -> Result<Graph, Failure> {
    // The bytes.
    let bytes = staged("read", observer, |_| read_bytes(&source.path))?;
    let graph = if is_text(&source.path) {
        // Graph IR in text form says it all itself.
        staged(IMPORT, observer, |_| parse_text(&bytes, source))?
    } else {
        // Protobuf messages, with the weights that lie in files of their own, then ops and nested masks.
        let model = staged("decode", observer, |_| decode(&bytes, &source.path))?;
        drop(bytes);
        staged(IMPORT, observer, |observer| import(model, source, observer))?
    };
    observer.graph(IMPORT, &graph);
    Ok(graph)
}

/// From a path to a model with all its weights, and its graph: for what writes the model back.
///
/// # Errors
/// As [`read_graph`]; a graph in text form is no model.
pub fn read_model(
    source: &Source,
    observer: &mut dyn Observer,
) -> Result<(ModelProto, Graph), Failure> {
    let bytes = staged("read", observer, |_| read_bytes(&source.path))?;
    let mut model = staged("decode", observer, |_| decode(&bytes, &source.path))?;
    drop(bytes);
    load_external_data(&mut model, &source.path)?;
    let graph = import_loaded(&model, source, observer)?;
    Ok((model, graph))
}

/// The graph of a model from [`read_model`], perhaps changed since.
///
/// # Errors
/// As [`read_graph`].
pub fn import_loaded(
    model: &ModelProto,
    source: &Source,
    observer: &mut dyn Observer,
) -> Result<Graph, Failure> {
    staged(IMPORT, observer, |observer| {
        import(model.clone(), source, observer)
    })
}

/// Passes and lowering.
///
/// # Errors
/// Ops that have no kernel.
pub fn to_program(
    graph: Graph,
    path: &Path,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<(Graph, Program), Failure> {
    let target = settings.backend.target_info(&settings.target);
    // The passes in their order; each leaves a verified graph.
    let graph = run_passes(graph, &target, observer);
    if let Some(warning) = tuning::check(&settings.schedules, &graph) {
        observer.diagnostic(&warning);
    }
    // Kernels for every op and level, memory, tables.
    let name = settings.name.clone().unwrap_or_else(|| model_name(path));
    let program = staged(LOWER, observer, |_| {
        Ok(lower::lower_with(
            &graph,
            &name,
            &target,
            &settings.schedules,
        )?)
    })?;
    observer.program(&program);
    Ok((graph, program))
}

fn run_passes(mut graph: Graph, target: &TargetInfo, observer: &mut dyn Observer) -> Graph {
    for pass in PIPELINE {
        observer.begin(pass.name);
        let start = Instant::now();
        let outcome = match (pass.run)(&mut graph, target) {
            true => Outcome::Changed,
            false => Outcome::Unchanged,
        };
        observer.end(pass.name, outcome, start.elapsed());
        observer.graph(pass.name, &graph);
        verify_after(pass.name, &graph);
    }
    graph
}

fn generate_code(
    program: &Program,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<Library, Failure> {
    staged("generate-code", observer, |_| {
        let options = LibraryOptions {
            texts: settings.texts,
            optimization: settings.optimization,
        };
        build_library(program, &settings.target, settings.backend, &options).map_err(refused)
    })
}

/// Runs one stage under the eyes of `observer`.
fn staged<T>(
    stage: &'static str,
    observer: &mut dyn Observer,
    run: impl FnOnce(&mut dyn Observer) -> Result<T, Failure>,
) -> Result<T, Failure> {
    observer.begin(stage);
    let start = Instant::now();
    let result = run(observer)?;
    observer.end(stage, Outcome::Changed, start.elapsed());
    Ok(result)
}

/// # Panics
/// If a pass broke the graph: the user can do nothing about that.
fn verify_after(pass: &str, graph: &Graph) {
    if let Err(errors) = verify_graph(graph) {
        let errors: Vec<String> = errors.iter().map(Diagnostic::to_string).collect();
        panic!("the graph is broken after {pass}:\n{}", errors.join("\n"));
    }
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cir")
}

/// The bytes of a file: a model, or arrays.
///
/// # Errors
/// `file-not-found`, `not-a-file`, `empty-file`, `cannot-read`.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = path.display().to_string();
    if path.as_os_str() == "-" {
        return Err(
            Diagnostic::error("file-not-found", "nothing is read from standard input")
                .with_help("give the name of a file; ./- is the file called -")
                .into(),
        );
    }
    let not_a_file = |what: &str| {
        Diagnostic::error("not-a-file", format!("{file} is {what}, expected a file")).at_file(&file)
    };
    let read = || -> io::Result<Result<Vec<u8>, Failure>> {
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            return Ok(Err(not_a_file("a folder").into()));
        }
        if !metadata.is_file() {
            // A pipe would have to end first, a device may never do so.
            return Ok(Err(not_a_file("a pipe or device").into()));
        }
        fs::read(path).map(Ok)
    };
    let bytes: Vec<u8> = read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Diagnostic::error("file-not-found", format!("there is no file {file}")).at_file(&file)
        }
        _ => Diagnostic::error(
            "cannot-read",
            format!("cannot read {file}: {}", describe(&error)),
        )
        .at_file(&file),
    })??;
    if bytes.is_empty() {
        return Err(Diagnostic::error("empty-file", format!("{file} is empty"))
            .at_file(&file)
            .into());
    }
    Ok(bytes)
}

fn parse_text(bytes: &[u8], source: &Source) -> Result<Graph, Failure> {
    let file = source.path.display().to_string();
    let at_file = |diagnostics: Vec<Diagnostic>| -> Failure {
        let at_file = |diagnostic: Diagnostic| diagnostic.at_file(&file);
        diagnostics
            .into_iter()
            .map(at_file)
            .collect::<Vec<_>>()
            .into()
    };
    if source.masks.is_some() || !source.input_shapes.is_empty() {
        let message = "a graph in text form has its own masks and shapes";
        return Err(Diagnostic::error("option-not-for-text", message)
            .at_file(&file)
            .with_help("leave out --masks and --input-shape, or give the ONNX file")
            .into());
    }
    let source = str::from_utf8(bytes).map_err(|error| {
        let message = format!("not a text: byte {} is not UTF-8", error.valid_up_to());
        Diagnostic::error("not-utf8", message).at_file(&file)
    })?;
    let graph = text::parse_graph(source).map_err(at_file)?;
    verify_graph(&graph).map_err(at_file)?;
    Ok(graph)
}

/// Protobuf to messages.
///
/// # Errors
/// `empty-file`, `not-onnx`, `no-graph`.
pub fn decode(bytes: &[u8], path: &Path) -> Result<ModelProto, Failure> {
    let file = path.display().to_string();
    decode_model(bytes).map_err(|error| {
        let code = match error {
            ProtoError::Empty => "empty-file",
            ProtoError::NoGraph => "no-graph",
            ProtoError::Malformed { .. } | ProtoError::Tensor { .. } => "not-onnx",
        };
        let diagnostic = Diagnostic::error(code, error.to_string()).at_file(&file);
        match looks_like(bytes) {
            Some(other) => diagnostic.with_note(format!("the file looks like {other}")),
            None => {
                diagnostic.with_help("models are ONNX files (.onnx) or graphs in text form (.cir)")
            }
        }
        .into()
    })
}

/// Names what people hand over by mistake.
fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: &[(&[u8], &str)] = &[
        (
            b"PK\x03\x04",
            "a zip archive, e.g. a PyTorch checkpoint or .npz",
        ),
        (b"\x89HDF", "an HDF5 file, e.g. a Keras model"),
        (
            b"version https://git-lfs",
            "a Git LFS pointer; fetch the file itself with git lfs pull",
        ),
        (b"<!DOCTYPE", "a web page; the download failed"),
        (b"<html", "a web page; the download failed"),
        (b"\x1f\x8b", "a gzip file; unpack it first"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"graph ", "a graph in text form; give it the ending .cir"),
    ];
    if bytes.get(4..8) == Some(b"TFL3") {
        return Some("a TensorFlow Lite model; convert it with tf2onnx");
    }
    STARTS
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, what)| *what)
}

fn import(
    mut model: ModelProto,
    source: &Source,
    observer: &mut dyn Observer,
) -> Result<Graph, Failure> {
    // Weights in files beside the model.
    load_external_data(&mut model, &source.path)?;
    // Level data in a file of its own.
    let sidecar = match &source.masks {
        Some(path) => Some(MaskFile::new(
            path.display().to_string(),
            read_arrays(path)?,
        )),
        None => None,
    };
    let mut input_shapes = fill_open_shapes(&model, &source.given_shapes);
    // The user's word comes last, where it counts.
    input_shapes.extend(source.input_shapes.iter().cloned());
    let options = ImportOptions {
        name: Some(model_name(&source.path)),
        input_shapes,
        sidecar,
    };
    let imported = import_model(&model, &options).map_err(Failure)?;
    for diagnostic in &imported.diagnostics {
        observer.diagnostic(diagnostic);
    }
    verify_after(IMPORT, &imported.graph);
    Ok(imported.graph)
}

/// Loads the weights of the model at `path` that lie in files beside it.
///
/// # Errors
/// `external-data`.
pub fn load_external_data(model: &mut ModelProto, path: &Path) -> Result<(), Failure> {
    resolve_external(model, folder_of(path)).map_err(|error| {
        let file = path.display().to_string();
        Diagnostic::error("external-data", error_text(&error))
            .at_file(file)
            .into()
    })
}

/// The model file, then the files that hold its weights: none if it cannot be read. It is read only if the iterator
/// gets that far.
pub fn model_files(path: &Path) -> impl Iterator<Item = PathBuf> {
    let external = iter::once_with(|| external_files(path)).flatten();
    iter::once(path.to_path_buf()).chain(external)
}

fn external_files(path: &Path) -> Vec<PathBuf> {
    let Ok(mut model) = read_bytes(path).and_then(|bytes| decode(&bytes, path)) else {
        return Vec::new();
    };
    let locations = external_locations(&mut model).into_iter();
    locations.map(|name| folder_of(path).join(name)).collect()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The arrays of an `.npz` file.
///
/// # Errors
/// `cannot-read`, `bad-npz`.
pub fn read_arrays(path: &Path) -> Result<Vec<NpzArray>, Failure> {
    let bytes = read_bytes(path)?;
    let file = path.display().to_string();
    npz::read_npz(&bytes).map_err(|error| {
        Diagnostic::error("bad-npz", error.to_string())
            .at_file(&file)
            .with_help("write it with numpy.savez(FILE, name=array, ..)")
            .into()
    })
}

/// The message of an error and of what caused it.
fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The user's choices as a diagnostic; everything else is a bug.
fn refused(error: BackendError) -> Failure {
    let code = match &error {
        BackendError::Target(_) => "unknown-target",
        BackendError::UnsupportedTarget { .. } => "unsupported-target",
        BackendError::UnknownBackend { .. } => "not-in-this-build",
        BackendError::BadName { .. } => "bad-name",
        BackendError::TooLarge { .. } => "too-large",
        BackendError::BadProgram { .. }
        | BackendError::Kernel { .. }
        | BackendError::CodeGenerator { .. }
        | BackendError::Format { .. } => panic!("{error}"),
    };
    Diagnostic::error(code, error.to_string()).into()
}
