//! Kernel IR to the files that a user links: code generators, targets, object and archive writers.
//!
//! ```text
//! kernel::Program ──image──> functions with final symbols, descriptor and step tables
//!        ├─ Backend::compile ──> <name>_code.o     one code generator per folder
//!        └─ object           ──> <name>_data.o     weights, indices, tables: same for all back ends
//!                 merge      ──> <name>.o          on ELF: one object, everything internal local
//!                 archive    ──> lib<name>.a       + header, Rust bindings, manifest, CMake, pkg-config
//! ```
//! Everything here is a pure function of its arguments: no files, no environment, no clock. The one
//! exception is the target `host`, which asks this machine what it can do.

#![deny(missing_docs)]

pub mod archive;
pub mod companions;
#[cfg(feature = "cranelift")]
pub mod cranelift;
pub mod descriptor;
pub mod entry_points;
mod error;
pub mod image;
mod libm_calls;
mod library;
#[cfg(feature = "llvm")]
pub mod llvm;
pub mod merge;
pub mod object;
mod operands;
mod packed_loads;
pub mod shared;
pub mod targets;

pub use error::BackendError;
pub use library::{KernelText, Library, LibraryFile, LibraryOptions, Sizes, Texts, build_library};
pub use targets::{TARGETS, Target, TargetError, Tier};

use condensec_ir::kernel::Function;
use condensec_ir::target_info::TargetInfo;

/// All code generators of this build, the preferred one first.
pub const BACKENDS: &[&dyn Backend] = &[
    #[cfg(feature = "llvm")]
    &llvm::Llvm,
    #[cfg(feature = "cranelift")]
    &cranelift::Cranelift,
];

/// A code generator: kernel IR functions to one object file.
pub trait Backend: Sync {
    /// Name for `--backend`.
    fn name(&self) -> &'static str;

    /// Whether it can compile for `target`.
    fn supports(&self, target: &Target) -> bool;

    /// What passes may know of `target` when this back end compiles for it.
    fn target_info(&self, target: &Target) -> TargetInfo {
        target.info()
    }

    /// Compiles all functions of `unit` into one relocatable, position-independent object.
    ///
    /// # Errors
    /// [`BackendError::UnsupportedTarget`], [`BackendError::Kernel`],
    /// [`BackendError::CodeGenerator`].
    fn compile(
        &self,
        unit: &CodeUnit<'_>,
        target: &Target,
        options: &LibraryOptions,
    ) -> Result<CompiledCode, BackendError>;
}

/// What a code generator gets: functions under their final symbol names, and the names of the data
/// that they may take the address of. Functions that are not exported get hidden visibility: the
/// data object refers to them, a shared library made of both does not show them.
#[derive(Debug, Clone, Copy)]
pub struct CodeUnit<'a> {
    /// Name of the model, for the object's file symbol.
    pub name: &'a str,
    /// Functions by [`condensec_ir::kernel::FunctionId`].
    pub functions: &'a [Function],
    /// Symbols of the data by [`condensec_ir::kernel::DataId`]; defined in another object of the
    /// same archive, with hidden visibility.
    pub data_symbols: &'a [String],
}

/// What a code generator makes.
#[derive(Debug, Clone)]
pub struct CompiledCode {
    /// A relocatable object file.
    pub object: Vec<u8>,
    /// Bytes of machine code and of constants among it.
    pub code_bytes: u64,
    /// Size of each function, in the order of [`CodeUnit::functions`].
    pub function_bytes: Vec<u64>,
    /// Assembly text of each function, in the same order; empty unless asked for.
    pub assembly: Vec<String>,
    /// The functions in MLIR before its passes; empty unless asked for, or if the code generator does
    /// not use MLIR.
    pub mlir: String,
    /// The functions in LLVM IR after optimisation; empty likewise.
    pub llvm_ir: String,
    /// libm functions that it calls, sorted.
    pub libm_calls: Vec<String>,
}

/// Finds a code generator for `target`: the one named, or else the preferred one of those that
/// support the target.
///
/// # Errors
/// [`BackendError::UnknownBackend`], [`BackendError::UnsupportedTarget`], and
/// [`TargetError::NeedsLlvm`] if no back end of this build supports the target.
pub fn find_backend(
    name: Option<&str>,
    target: &Target,
) -> Result<&'static dyn Backend, BackendError> {
    let Some(name) = name else {
        let mut preferred = BACKENDS.iter().copied();
        let found = preferred.find(|b| b.supports(target));
        return found.ok_or_else(|| needs_llvm(target).into());
    };
    let found = BACKENDS.iter().find(|b| b.name() == name).copied();
    let backend = found.ok_or_else(|| {
        let known: Vec<&str> = BACKENDS.iter().map(|b| b.name()).collect();
        BackendError::UnknownBackend {
            name: name.into(),
            known: known.join(", "),
        }
    })?;
    match backend.supports(target) {
        true => Ok(backend),
        false => Err(BackendError::UnsupportedTarget {
            backend: backend.name(),
            target: target.name(),
        }),
    }
}

/// The LLVM back end supports every target, so a build that lacks one lacks LLVM.
fn needs_llvm(target: &Target) -> TargetError {
    let is_served = |spec: &&&'static targets::TargetSpec| {
        let target = targets::resolve(spec.name, None, &[] as &[&str]);
        target.is_ok_and(|target| BACKENDS.iter().any(|b| b.supports(&target)))
    };
    TargetError::NeedsLlvm {
        name: target.name(),
        what: target.spec().what,
        known: targets::names(TARGETS.iter().filter(is_served)),
    }
}
