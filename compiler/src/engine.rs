//! Compiled libraries at work in this process: link, load, run.
//!
//! An [`Engine`] drives a model only through its descriptor (`<name>_model`, [`condensec_runtime::abi`]), as any user
//! of the generated library can. Everything that C leaves to the caller is checked here once, so the rest of the
//! compiler runs models without `unsafe`. The shared library lies in a temporary folder that is gone as soon
//! as it is loaded.

mod steps;

pub use steps::{Branch, StepTime};

use std::ffi::{CStr, c_char, c_void};
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr;

use condensec_backends::{Library, shared};
use condensec_ir::Diagnostic;
use condensec_runtime::abi::{self, Model, Status};
use condensec_runtime::pool::{ThreadPool, cnd_pool_parallel_for};

use crate::compiled::CompiledFolder;
use crate::linker;
use crate::report::Failure;

/// A model loaded into this process, with state of its own.
pub struct Engine {
    name: String,
    levels: Vec<EngineLevel>,
    inputs: Vec<EnginePort>,
    outputs: Vec<EnginePort>,
    model: &'static Model,
    state: *mut c_void,
    /// The state's memory; it never moves.
    _memory: Vec<Line>,
    /// Threads of a run, if it has several.
    pool: Option<ThreadPool>,
    /// Arguments of a run, kept so that a run allocates nothing.
    input_pointers: Vec<*const c_void>,
    output_pointers: Vec<*mut c_void>,
    /// Dropped last: everything above points into it.
    _code: libloading::Library,
}

/// What the descriptor says of a level.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineLevel {
    /// Name that the model gives, or `L0`, `L1`, ..
    pub name: String,
    /// Kept share of the maskable layers' weights, in [0, 1].
    pub density: f64,
    /// Multiply-adds of one run.
    pub macs: u64,
    /// Bytes of the weights that a run reads.
    pub weight_bytes: u64,
    /// The cost model's estimate for one run.
    pub predicted_cycles: u64,
}

/// What the descriptor says of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltFor {
    /// Target as `--target` takes it.
    pub target: String,
    /// CPU.
    pub cpu: String,
    /// Back end.
    pub backend: String,
}

/// An input or output: f32, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnginePort {
    /// Name in the user's model.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
}

impl EnginePort {
    /// Number of elements.
    pub fn n_elems(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Memory in units of the state's alignment.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; abi::STATE_ALIGN]);

const _: () = assert!(align_of::<Line>() == abi::STATE_ALIGN);

impl Engine {
    /// Loads what condensec wrote: the folder, or the manifest or archive in it.
    ///
    /// # Errors
    /// No library there, one for another machine, or no linker.
    pub fn load(path: &Path) -> Result<Engine, Failure> {
        let folder = CompiledFolder::open(path)?;
        folder.check_runs_here()?;
        // The manifest does not tell, and a libm that nobody calls does no harm.
        let libm = ["?".to_string()];
        Self::link(&folder.manifest.name, &folder.archive, &libm)
    }

    /// Loads a library that has just been compiled for this machine.
    ///
    /// # Errors
    /// No linker, or no temporary folder.
    pub fn from_library(library: &Library) -> Result<Engine, Failure> {
        let folder = linker::temporary_folder()?;
        let archive = linker::write_archive(folder.path(), library)?;
        Self::link(&library.name, &archive, &library.libm_calls)
    }

    fn link(name: &str, archive: &Path, libm_calls: &[String]) -> Result<Engine, Failure> {
        let folder = linker::temporary_folder()?;
        let host = linker::host()?;
        let file_name = shared::file_name(name, &host).expect("this machine loads libraries");
        let path = folder.path().join(file_name);
        linker::link_shared(&host, archive, &path, libm_calls)?;
        Self::open(name, &path)
    }

    fn open(name: &str, path: &Path) -> Result<Engine, Failure> {
        let failed = |error: libloading::Error| {
            Failure::from(Diagnostic::error(
                "load-failed",
                format!("cannot load the compiled model {name}: {error}"),
            ))
        };
        // SAFETY: the libraries that condensec writes have no constructors; one that somebody else put under this
        // name has the rights of the user who named it, like any program they start.
        let code = unsafe { libloading::Library::new(path) }.map_err(failed)?;
        // SAFETY: `<name>_model` is declared so in the header that lies beside every library.
        let model = unsafe {
            let find: libloading::Symbol<'_, unsafe extern "C" fn() -> *const Model> = code
                .get(format!("{name}_model").as_bytes())
                .map_err(failed)?;
            find()
        };
        // SAFETY: the descriptor begins with two u32 in every version, and is constant while `code` is loaded;
        // `Engine` keeps `code` and hands out no reference to it.
        let (version, n_bytes) = match unsafe { model.cast::<[u32; 2]>().as_ref() } {
            Some(&[version, n_bytes]) => (version, n_bytes as usize),
            None => (0, 0),
        };
        if version != abi::ABI_VERSION || n_bytes < size_of::<Model>() {
            return Err(Diagnostic::error(
                "abi-mismatch",
                format!(
                    "the compiled model {name} has interface version {version} ({n_bytes} bytes), \
                     this condensec reads version {} ({} bytes)",
                    abi::ABI_VERSION,
                    size_of::<Model>()
                ),
            )
            .with_help("compile the model again")
            .into());
        }
        // SAFETY: version and size were just checked; lifetime as above.
        let model: &'static Model = unsafe { &*model };
        let n_lines = usize::try_from(model.state_bytes)
            .expect("the state fits the address space")
            .div_ceil(size_of::<Line>());
        let mut memory = state_memory(name, n_lines)?;
        let mut state = ptr::null_mut();
        // SAFETY: `memory` is aligned, as large as stated, and lives as long as the engine.
        let status = unsafe {
            (model.init)(
                memory.as_mut_ptr().cast(),
                size_of_val(&memory[..]),
                &raw mut state,
            )
        };
        check_status(status, "init")?;
        // SAFETY: a descriptor's arrays have the lengths it gives, its strings end with a zero byte.
        let (levels, inputs, outputs) = unsafe {
            (
                read_array(model.levels, model.n_levels, level),
                read_array(model.inputs, model.n_inputs, port),
                read_array(model.outputs, model.n_outputs, port),
            )
        };
        Ok(Engine {
            name: name.to_string(),
            levels,
            inputs,
            outputs,
            model,
            state,
            _memory: memory,
            pool: None,
            input_pointers: Vec::new(),
            output_pointers: Vec::new(),
            _code: code,
        })
    }

    /// Name of the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its code was compiled for.
    pub fn built_for(&self) -> BuiltFor {
        // SAFETY: a descriptor's strings end with a zero byte.
        unsafe {
            BuiltFor {
                target: text(self.model.target),
                cpu: text(self.model.cpu),
                backend: text(self.model.backend),
            }
        }
    }

    /// Levels, L0 first.
    pub fn levels(&self) -> &[EngineLevel] {
        &self.levels
    }

    /// Inputs in the model's order.
    pub fn inputs(&self) -> &[EnginePort] {
        &self.inputs
    }

    /// Outputs in the model's order.
    pub fn outputs(&self) -> &[EnginePort] {
        &self.outputs
    }

    /// The level that the next run uses.
    pub fn level(&self) -> usize {
        // SAFETY: `state` was made by `init` and lives as long as `self`.
        unsafe { (self.model.level)(self.state) as usize }
    }

    /// Makes the next runs use `level`.
    ///
    /// # Errors
    /// `bad-level` if there is none such.
    pub fn set_level(&mut self, level: usize) -> Result<(), Failure> {
        let number = u32::try_from(level).unwrap_or(u32::MAX);
        // SAFETY: as in `level`.
        match unsafe { (self.model.set_level)(self.state, number) } {
            status if status == Status::Ok as i32 => Ok(()),
            _ => Err(Diagnostic::error(
                "bad-level",
                format!(
                    "level {level} does not exist, the model has {}",
                    self.levels.len()
                ),
            )
            .into()),
        }
    }

    /// Makes the next runs use `n_threads` threads, this one included.
    ///
    /// # Errors
    /// The system does not start as many.
    pub fn set_threads(&mut self, n_threads: NonZeroUsize) -> Result<(), Failure> {
        self.pool = match n_threads.get() {
            1 => None,
            n => Some(ThreadPool::new(n).map_err(|error| {
                let message = format!("{n} threads cannot be started: {error}");
                Diagnostic::error("no-threads", message)
            })?),
        };
        Ok(())
    }

    /// One inference: elements of every input in order; returns those of every output.
    ///
    /// # Errors
    /// Number or lengths of the inputs differ from [`Engine::inputs`].
    pub fn run(&mut self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>, Failure> {
        let mut outputs: Vec<Vec<f32>> = self
            .outputs
            .iter()
            .map(|port| vec![0.0; port.n_elems()])
            .collect();
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Like [`Engine::run`], into memory that exists already, which is what a benchmark measures.
    ///
    /// # Errors
    /// Number or lengths of inputs or outputs differ from the model's.
    pub fn run_into(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Failure> {
        check_lengths(
            "input",
            &self.inputs,
            inputs.iter().map(|input| input.len()),
        )?;
        check_lengths("output", &self.outputs, outputs.iter().map(Vec::len))?;
        self.input_pointers.clear();
        self.input_pointers
            .extend(inputs.iter().map(|input| input.as_ptr().cast::<c_void>()));
        self.output_pointers.clear();
        self.output_pointers.extend(
            outputs
                .iter_mut()
                .map(|output| output.as_mut_ptr().cast::<c_void>()),
        );
        let (inputs, outputs) = (self.input_pointers.as_ptr(), self.output_pointers.as_ptr());
        // SAFETY: `state` as in `level`; both arrays have an entry for every port, each of them leads to as many
        // elements as the port has (checked above), nothing else refers to the outputs, and the pool lives on.
        let status = unsafe {
            match &self.pool {
                None => (self.model.run)(self.state, inputs, outputs),
                Some(pool) => (self.model.run_parallel)(
                    self.state,
                    inputs,
                    outputs,
                    Some(cnd_pool_parallel_for),
                    pool.as_ptr(),
                ),
            }
        };
        check_status(status, "run")
    }
}

/// Memory for a state, zeroed.
fn state_memory(name: &str, n_lines: usize) -> Result<Vec<Line>, Failure> {
    let mut memory = Vec::new();
    if memory.try_reserve_exact(n_lines).is_err() {
        let n_bytes = n_lines * size_of::<Line>();
        let message = format!("{name} needs {n_bytes} bytes of memory, more than there is");
        return Err(Diagnostic::error("out-of-memory", message).into());
    }
    memory.resize(n_lines, Line([0; abi::STATE_ALIGN]));
    Ok(memory)
}

/// A refusal here means that descriptor and entry points contradict each other.
fn check_status(status: i32, call: &'static str) -> Result<(), Failure> {
    match status == Status::Ok as i32 {
        true => Ok(()),
        false => Err(Diagnostic::error(
            "run-failed",
            format!("the compiled model's {call} returned status {status}"),
        )
        .into()),
    }
}

fn check_lengths(
    what: &'static str,
    ports: &[EnginePort],
    found: impl ExactSizeIterator<Item = usize>,
) -> Result<(), Failure> {
    if found.len() != ports.len() {
        let message = format!(
            "{} {what}s given, the model has {}",
            found.len(),
            ports.len()
        );
        return Err(Diagnostic::error("wrong-shape", message).into());
    }
    for (port, n_elems) in ports.iter().zip(found) {
        if n_elems != port.n_elems() {
            let message = format!(
                "{n_elems} elements for {what} {:?} of shape {:?}",
                port.name, port.shape
            );
            return Err(Diagnostic::error("wrong-shape", message)
                .at_tensor(&port.name)
                .into());
        }
    }
    Ok(())
}

/// # Safety
/// `first` leads to `n` entries, or `n` is 0.
unsafe fn read_array<T, U>(first: *const T, n: u32, read: unsafe fn(&T) -> U) -> Vec<U> {
    // SAFETY: the caller's.
    (0..n as usize)
        .map(|i| unsafe { read(&*first.add(i)) })
        .collect()
}

/// # Safety
/// The name is a string.
unsafe fn level(level: &abi::Level) -> EngineLevel {
    EngineLevel {
        // SAFETY: the caller's.
        name: unsafe { text(level.name) },
        density: level.density,
        macs: level.macs,
        weight_bytes: level.weight_bytes,
        predicted_cycles: level.predicted_cycles,
    }
}

/// # Safety
/// The name is a string, the shape has `rank` entries.
unsafe fn port(info: &abi::TensorInfo) -> EnginePort {
    // SAFETY: the caller's.
    let (name, shape) = unsafe { (text(info.name), read_array(info.shape, info.rank, size)) };
    EnginePort { name, shape }
}

/// # Safety
/// None; it has the type that `read_array` asks for.
unsafe fn size(size: &u64) -> usize {
    usize::try_from(*size).expect("tensors fit the address space")
}

/// # Safety
/// `text` ends with a zero byte.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
