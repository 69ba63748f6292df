//! `--emit`: which files a compiled model becomes.

use std::str::FromStr;

use condensec_backends::{LibraryFile, Texts, shared};
use condensec_ir::text::print_graph;
use condensec_ir::{Diagnostic, kernel};

use crate::driver::{Compiled, Settings};
use crate::linker;
use crate::report::Failure;

/// A kind of file, named as on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmitKind {
    /// `<name>.s`: assembly of all functions.
    Asm,
    /// `<name>.graph.cir`: the graph after all passes.
    GraphIr,
    /// `<name>.kernel.cir`: the kernels before code generation.
    KernelIr,
    /// The static library with all that goes with it.
    Lib,
    /// LLVM's intermediate form; LLVM back end only.
    LlvmIr,
    /// MLIR's intermediate form; LLVM back end only.
    Mlir,
    /// The object files of the library, one by one.
    Obj,
    /// A shared library, named as is usual on the target.
    Shared,
}

/// All kinds with their names, sorted by name.
pub const KINDS: &[(&str, EmitKind)] = &[
    ("asm", EmitKind::Asm),
    ("graph-ir", EmitKind::GraphIr),
    ("kernel-ir", EmitKind::KernelIr),
    ("lib", EmitKind::Lib),
    ("llvm-ir", EmitKind::LlvmIr),
    ("mlir", EmitKind::Mlir),
    ("obj", EmitKind::Obj),
    ("shared", EmitKind::Shared),
];

/// What the user asks for: `asm,obj` adds to the library, `=asm,obj` replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitArg {
    kinds: Vec<EmitKind>,
}

impl FromStr for EmitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<EmitArg, String> {
        let (names, mut kinds) = match text.strip_prefix('=') {
            Some(names) => (names, Vec::new()),
            None => (text, vec![EmitKind::Lib]),
        };
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) else {
                let known: Vec<&str> = KINDS.iter().map(|(known, _)| *known).collect();
                return Err(format!(
                    "there is no kind {name}, only {}",
                    known.join(", ")
                ));
            };
            if !kinds.contains(kind) {
                kinds.push(*kind);
            }
        }
        match kinds.is_empty() {
            true => Err("expected at least one kind after =".into()),
            false => Ok(EmitArg { kinds }),
        }
    }
}

impl EmitArg {
    /// Whether the back end must keep texts for it.
    pub fn texts(&self) -> Texts {
        let is_text = |kind: &EmitKind| {
            matches!(
                kind,
                EmitKind::Asm | EmitKind::KernelIr | EmitKind::LlvmIr | EmitKind::Mlir
            )
        };
        match self.kinds.iter().any(is_text) {
            true => Texts::Keep,
            false => Texts::Skip,
        }
    }

    /// Refuses what `settings` cannot give, before any work is done.
    ///
    /// # Errors
    /// `not-in-this-build`, `unsupported-target`.
    pub fn check(&self, settings: &Settings) -> Result<(), Failure> {
        let target = &settings.target;
        if self.kinds.contains(&EmitKind::Shared) && target.is_bare_metal() {
            let message = format!("{} has no shared libraries", target.name());
            return Err(Diagnostic::error("unsupported-target", message)
                .with_help("link the static library")
                .into());
        }
        let needs_llvm = |kind: &&EmitKind| matches!(kind, EmitKind::LlvmIr | EmitKind::Mlir);
        let has_llvm = settings.backend.name() == "llvm";
        match self.kinds.iter().find(needs_llvm) {
            Some(kind) if !has_llvm => {
                let (name, _) = KINDS
                    .iter()
                    .find(|(_, k)| k == kind)
                    .expect("KINDS has all");
                let backend = settings.backend.name();
                let message = format!("the back end {backend} has no {name}");
                Err(Diagnostic::error("not-in-this-build", message)
                    .with_help("use a build with the back end llvm, or --emit kernel-ir,asm")
                    .into())
            }
            _ => Ok(()),
        }
    }
}

/// All files that `wanted` asks for, in a fixed order.
///
/// # Errors
/// A shared library needs a linker.
pub fn files(
    compiled: &Compiled,
    settings: &Settings,
    wanted: &EmitArg,
) -> Result<Vec<LibraryFile>, Failure> {
    let library = &compiled.library;
    let name = &library.name;
    let text = |ending: &str, text: String| LibraryFile {
        name: format!("{name}.{ending}"),
        bytes: text.into_bytes(),
    };
    let mut files = Vec::new();
    for kind in &wanted.kinds {
        match kind {
            EmitKind::Asm => files.push(text("s", assembly(compiled))),
            EmitKind::GraphIr => files.push(text("graph.cir", print_graph(&compiled.graph))),
            EmitKind::KernelIr => files.push(text("kernel.cir", kernel_ir(compiled))),
            EmitKind::Lib => files.extend(library.files.iter().cloned()),
            EmitKind::Obj => files.extend(library.objects.iter().cloned()),
            EmitKind::Shared => files.push(shared_library(compiled, settings)?),
            EmitKind::LlvmIr => files.push(text("ll", library.llvm_ir.clone())),
            EmitKind::Mlir => files.push(text("mlir", library.mlir.clone())),
        }
    }
    Ok(files)
}

fn assembly(compiled: &Compiled) -> String {
    let kernels = compiled.library.kernels.iter();
    kernels
        .map(|kernel| format!("{}:\n{}\n", kernel.name, kernel.assembly))
        .collect()
}

fn kernel_ir(compiled: &Compiled) -> String {
    let functions: Vec<String> = compiled
        .program
        .functions
        .iter()
        .map(kernel::print_function)
        .collect();
    functions.join("\n")
}

fn shared_library(compiled: &Compiled, settings: &Settings) -> Result<LibraryFile, Failure> {
    let library = &compiled.library;
    let name = shared::file_name(&library.name, &settings.target).expect("`check` refuses others");
    let folder = linker::temporary_folder()?;
    let archive = linker::write_archive(folder.path(), library)?;
    let output = folder.path().join(&name);
    linker::link_shared(&settings.target, &archive, &output, &library.libm_calls)?;
    let bytes = std::fs::read(&output).map_err(|error| linker::temporary_failed(&error))?;
    Ok(LibraryFile { name, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_add_to_the_library_or_replace_it() {
        let kinds = |text: &str| text.parse::<EmitArg>().unwrap().kinds;
        assert_eq!(kinds(""), [EmitKind::Lib]);
        assert_eq!(
            kinds("asm,obj,asm"),
            [EmitKind::Lib, EmitKind::Asm, EmitKind::Obj]
        );
        assert_eq!(kinds("=asm"), [EmitKind::Asm]);
        assert!("=".parse::<EmitArg>().is_err());
        let error = "asm,exe".parse::<EmitArg>().unwrap_err();
        assert!(
            error.starts_with("there is no kind exe, only asm, graph-ir"),
            "{error}"
        );
        assert!(KINDS.is_sorted_by_key(|(name, _)| name));
    }
}
