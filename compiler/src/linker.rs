//! Static library to shared library, by the C compiler of the machine.
//!
//! `run`, `bench` and `eval` load what the user would link, so they exercise the very archive that is written.
//! condensec brings no linker of its own: the one behind `cc` knows where the machine keeps its libm.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use condensec_backends::{Library, TARGETS, Target, shared, targets};
use condensec_ir::Diagnostic;

use crate::output::describe;
use crate::report::Failure;
use tempfile::TempDir;

/// Lines of the linker's own words that a diagnostic repeats.
const MAX_NOTES: usize = 8;

/// Links the static library `archive` into the shared library `output` for `target`.
///
/// # Errors
/// `linker-not-found` if there is no C compiler for `target`, `link-failed` if it refuses.
pub fn link_shared(
    target: &Target,
    archive: &Path,
    output: &Path,
    libm_calls: &[String],
) -> Result<(), Failure> {
    let compiler = compiler_for(target);
    let file_name = output.file_name().unwrap_or_default();
    let arguments = shared::link_arguments(
        target,
        &file_name.to_string_lossy(),
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
fn compiler_for(target: &Target) -> &'static str {
    match is_host_architecture(target) {
        true => "cc",
        false => target.spec().c_compiler,
    }
}

/// This machine as a target.
///
/// # Errors
/// `unknown-host`
pub fn host() -> Result<Target, Failure> {
    let none: &[&str] = &[];
    targets::resolve("host", None, none)
        .map_err(|error| Diagnostic::error("unknown-host", error.to_string()).into())
}

/// Whether this machine and `target` have the same system and instruction set, whatever their extensions.
pub fn is_host_architecture(target: &Target) -> bool {
    host().is_ok_and(|host| host.name() == target.name())
}

/// Writes the static library of `library` into `folder`; returns its path.
///
/// # Errors
/// `output-not-written`
pub fn write_archive(folder: &Path, library: &Library) -> Result<PathBuf, Failure> {
    let archive = library.archive();
    let path = folder.join(&archive.name);
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
        .with_help(match TARGETS.iter().find(|t| t.c_compiler == compiler) {
            None => {
                "install one, e.g. the package gcc or clang; compiling a library needs none".into()
            }
            Some(spec) => format!("install that cross compiler: {}", spec.c_compiler_from),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_compiler_is_a_diagnostic_with_help() {
        for spec in TARGETS {
            let error = not_found(spec.c_compiler, &io::ErrorKind::NotFound.into());
            let Failure(diagnostics) = error;
            assert_eq!(diagnostics[0].code, "linker-not-found");
            let help = diagnostics[0].help.as_deref().unwrap();
            assert!(help.ends_with(spec.c_compiler_from), "{help}");
        }
    }
}
