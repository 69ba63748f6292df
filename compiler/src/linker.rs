//! Static library to shared library, by the C compiler of the machine.
//!
//! `run`, `bench` and `eval` load what the user would link, so they exercise the very archive that is written.
//! condensec brings no linker of its own: the one behind `cc` knows where the machine keeps its libm.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use condensec_backends::{Library, Target, shared};
use condensec_ir::Diagnostic;

use crate::output::describe;
use crate::report::Failure;
use tempfile::TempDir;

/// Lines of the linker's own words that a diagnostic repeats.
const MAX_NOTES: usize = 8;

/// Links the static library `archive` of the model `name` into the shared library `output`.
///
/// # Errors
/// `linker-not-found` if there is no C compiler for `target`, `link-failed` if it refuses.
pub fn link_shared(
    name: &str,
    archive: &Path,
    output: &Path,
    compiler: &str,
    libm_calls: &[String],
) -> Result<(), Failure> {
    let arguments = shared::link_arguments(
        name,
        &archive.to_string_lossy(),
        &output.to_string_lossy(),
        libm_calls,
    );
    let linked = Command::new(compiler)
        .args(&arguments)
        .output()
        .map_err(|error| not_found(compiler, &error))?;
    if linked.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&linked.stderr);
    let mut diagnostic = Diagnostic::error(
        "link-failed",
        format!(
            "{compiler} could not link {}: {}",
            archive.display(),
            linked.status
        ),
    );
    for line in said.lines().take(MAX_NOTES) {
        diagnostic = diagnostic.with_note(line);
    }
    Err(diagnostic.into())
}

/// The C compiler driver that links for `target` on this machine.
pub fn compiler_for(target: &Target) -> &'static str {
    match is_host_architecture(target) {
        true => "cc",
        false => target.spec().c_compiler,
    }
}

/// Whether this machine and `target` have the same instruction set, whatever their extensions.
pub fn is_host_architecture(target: &Target) -> bool {
    let none: &[&str] = &[];
    condensec_backends::targets::resolve("host", None, none)
        .is_ok_and(|host| host.name() == target.name())
}

/// Writes the static library of `library` into `folder`; returns its path.
///
/// # Errors
/// `output-not-written`
pub fn write_archive(folder: &Path, library: &Library) -> Result<PathBuf, Failure> {
    let name = library.archive_name();
    let archive = library.file(&name).expect("a library has its archive");
    let path = folder.join(&name);
    std::fs::write(&path, &archive.bytes).map_err(|error| temporary_failed(&error))?;
    Ok(path)
}

/// A folder for what only the linker and the loader see; it goes with the value.
///
/// # Errors
/// `output-not-written`
pub fn temporary_folder() -> Result<TempDir, Failure> {
    let folder = tempfile::Builder::new().prefix("condensec-").tempdir();
    folder.map_err(|error| temporary_failed(&error))
}

/// What went wrong in a [`temporary_folder`].
pub fn temporary_failed(error: &io::Error) -> Failure {
    let message = format!(
        "cannot write to the folder for temporary files: {}",
        describe(error)
    );
    Diagnostic::error("output-not-written", message)
        .with_help("set TMPDIR to a folder with free space")
        .into()
}

fn not_found(compiler: &str, error: &io::Error) -> Failure {
    let diagnostic = match error.kind() {
        io::ErrorKind::NotFound => Diagnostic::error(
            "linker-not-found",
            format!("there is no C compiler \"{compiler}\" to link a shared library with"),
        )
        .with_help(match compiler {
            "cc" => {
                "install one, e.g. the package gcc or clang; compiling a library needs none".into()
            }
            _ => format!(
                "install a cross compiler, on Debian the package {}",
                debian_package(compiler)
            ),
        }),
        _ => Diagnostic::error(
            "linker-not-found",
            format!(
                "the C compiler \"{compiler}\" does not start: {}",
                describe(error)
            ),
        ),
    };
    diagnostic.into()
}

/// `aarch64-linux-gnu-gcc` is in `gcc-aarch64-linux-gnu`.
fn debian_package(compiler: &str) -> String {
    match compiler.strip_suffix("-gcc") {
        Some(triple) => format!("gcc-{}", triple.replace('_', "-")),
        None => compiler.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_compiler_is_a_diagnostic_with_help() {
        let Failure(diagnostics) = link_shared(
            "m",
            Path::new("libm.a"),
            Path::new("libm.so"),
            "no-such-linux-gnu-gcc",
            &[],
        )
        .unwrap_err();
        assert_eq!(diagnostics[0].code, "linker-not-found");
        let help = diagnostics[0].help.as_deref().unwrap();
        assert!(
            help.ends_with("the package gcc-no-such-linux-gnu"),
            "{help}"
        );
    }
}
