//! A library built for this machine, linked into a shared object and loaded.

use super::compilers::Compiler;
use condensec_backends::{Library, Target, shared, targets};
use condensec_ir::kernel::Program;
use condensec_runtime::abi::{Model, Status};
use std::ffi::c_void;
use std::path::Path;
use std::process::Command;

/// This machine, with all its features.
pub fn host() -> Target {
    targets::resolve("host", None, &[] as &[&str]).unwrap()
}

/// Builds `program` for this machine with the preferred back end.
pub fn build(program: &Program) -> Library {
    Compiler::native()[0].build(program)
}

/// Writes all files of `library` into `folder`.
pub fn write_files(library: &Library, folder: &Path) {
    for file in library.files.iter().chain(&library.objects) {
        std::fs::write(folder.join(&file.name), &file.bytes).unwrap();
    }
}

/// Links the archive in `folder` into a shared library of this machine and returns its path.
pub fn link_shared(library: &Library, folder: &Path) -> std::path::PathBuf {
    let file_name = shared::file_name(&library.name, &host()).unwrap();
    let output = folder.join(&file_name);
    let archive = folder.join(&library.archive().name);
    let arguments = shared::link_arguments(
        &host(),
        &file_name,
        archive.to_str().unwrap(),
        output.to_str().unwrap(),
        &library.libm_calls,
    );
    run(Command::new("cc").args(arguments));
    output
}

/// Runs a command that must succeed and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    assert_eq!(error, "", "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// 64-byte aligned memory.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Line([u8; 64]);

/// Filled with something that is neither zero nor a magic number.
impl Default for Line {
    fn default() -> Self {
        Self([0xff; 64])
    }
}

/// A model of this process.
pub struct Loaded {
    /// Name of the back end.
    pub backend: &'static str,
    pub library: Library,
    pub model: &'static Model,
    pub memory: Vec<Line>,
    pub state: *mut c_void,
    handle: libloading::Library,
    folder: tempfile::TempDir,
}

impl Loaded {
    /// Builds `program` for this machine with every back end and loads it, with an instance at the
    /// highest level.
    pub fn by_every_backend(program: &Program) -> Vec<Self> {
        let compilers = Compiler::native();
        compilers.iter().map(|c| Self::by(c, program)).collect()
    }

    /// The same with one compiler, whose code this machine must be able to run.
    pub fn by(compiler: &Compiler, program: &Program) -> Self {
        assert!(compiler.target.is_host());
        let library = compiler.build(program);
        let folder = tempfile::tempdir().unwrap();
        write_files(&library, folder.path());
        let path = link_shared(&library, folder.path());
        // SAFETY: the library has no initialisers, and `_model` has the signature that the header
        // states.
        let (handle, model) = unsafe {
            let handle = libloading::Library::new(path).unwrap();
            let name = format!("{}_model", program.name);
            let model: libloading::Symbol<'_, unsafe extern "C" fn() -> *const Model> =
                handle.get(name.as_bytes()).unwrap();
            let model = &*model();
            (handle, model)
        };
        let n_lines = library.state_bytes as usize / 64;
        let mut memory = vec![Line::default(); n_lines];
        let mut state = std::ptr::null_mut();
        // SAFETY: the memory has the size and alignment that the library asks for.
        let status = unsafe { (model.init)(memory.as_mut_ptr().cast(), n_lines * 64, &mut state) };
        assert_eq!(status, Status::Ok as i32);
        Self {
            backend: compiler.backend.name(),
            library,
            model,
            memory,
            state,
            handle,
            folder,
        }
    }

    /// Address of an exported symbol.
    pub fn symbol(&self, name: &str) -> *const c_void {
        // SAFETY: the address is not used as anything else here.
        unsafe {
            let symbol: libloading::Symbol<'_, *const c_void> =
                self.handle.get(name.as_bytes()).unwrap();
            *symbol
        }
    }

    /// Sets the level.
    pub fn set_level(&self, level: u32) -> i32 {
        // SAFETY: the state is initialised.
        unsafe { (self.model.set_level)(self.state, level) }
    }

    /// One inference at the current level.
    pub fn run(&self, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
        // SAFETY: the tables of the model tell their own lengths.
        let outputs = unsafe {
            std::slice::from_raw_parts(self.model.outputs, self.model.n_outputs as usize)
        };
        let mut results: Vec<Vec<f32>> = outputs
            .iter()
            .map(|o| vec![f32::NAN; o.bytes as usize / 4])
            .collect();
        let inputs: Vec<*const c_void> = inputs.iter().map(|i| i.as_ptr().cast()).collect();
        let outputs: Vec<*mut c_void> = results.iter_mut().map(|o| o.as_mut_ptr().cast()).collect();
        // SAFETY: the tests' inputs have the sizes of their programs' ports.
        let status = unsafe { (self.model.run)(self.state, inputs.as_ptr(), outputs.as_ptr()) };
        assert_eq!(status, Status::Ok as i32);
        results
    }
}
