//! Models in Cargo builds: a build script that compiles an ONNX file for the target of the build.
//!
//! ```no_run
//! // build.rs, with condensec-build among the build-dependencies
//! fn main() {
//!     condensec_build::Model::new("models/digits.onnx").compile();
//! }
//! ```
//! ```ignore
//! // src/main.rs
//! mod digits {
//!     include!(concat!(env!("OUT_DIR"), "/digits.rs"));
//! }
//! ```
//! The compiler itself is the `condensec` in `PATH`, or what the environment variable `CONDENSEC` names: building it
//! within every project would take minutes and LLVM. What was compiled with the same compiler from the
//! same files and options is not compiled again.

#![deny(missing_docs)]
// A build script is a program.
#![allow(clippy::needless_doctest_main)]

mod cargo;
mod stamp;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stamp::Stamp;

/// Names the compiler.
const COMPILER_VARIABLE: &str = "CONDENSEC";

/// A model to compile, and how.
#[derive(Debug, Clone)]
pub struct Model {
    path: PathBuf,
    name: Option<String>,
    target: Option<String>,
    options: Vec<OsString>,
    /// Files that options name.
    inputs: Vec<PathBuf>,
}

/// Why a model could not be compiled, for the user to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError(pub String);

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

impl Model {
    /// An ONNX file, relative to the package.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            name: None,
            target: None,
            options: Vec::new(),
            inputs: Vec::new(),
        }
    }

    /// Name of the library, its symbols and the bindings; the file's name if not given.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// One of `condensec targets`, instead of what Cargo builds for.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// CPU of the target, see `condensec targets`.
    #[must_use]
    pub fn cpu(self, cpu: impl AsRef<OsStr>) -> Self {
        self.option("--cpu").option(cpu)
    }

    /// Level data in a file of its own.
    #[must_use]
    pub fn masks(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let mut model = self.option("--masks").option(&path);
        model.inputs.push(path);
        model
    }

    /// An option for condensec, as it is.
    #[must_use]
    pub fn option(mut self, option: impl AsRef<OsStr>) -> Self {
        self.options.push(option.as_ref().to_os_string());
        self
    }

    /// Compiles into `OUT_DIR`, tells Cargo where to link, and returns the path of the bindings, `<name>.rs`. Ends the
    /// build with a message where that fails.
    pub fn compile(&self) -> PathBuf {
        self.try_compile().unwrap_or_else(|error| {
            // Cargo shows the standard error of a build script that fails.
            eprintln!("error: {error}");
            std::process::exit(1)
        })
    }

    /// [`Model::compile`] that leaves errors to the caller.
    ///
    /// # Errors
    /// This is no build script, there is no compiler, or it refuses the model.
    pub fn try_compile(&self) -> Result<PathBuf, BuildError> {
        let variable = |name: &str| {
            env::var_os(name)
                .ok_or_else(|| BuildError(format!("{name} is not set: is this a build script?")))
        };
        let folder = PathBuf::from(variable("OUT_DIR")?);
        let triple = variable("TARGET")?.to_string_lossy().into_owned();
        let host = variable("HOST")?.to_string_lossy().into_owned();
        println!("cargo::rerun-if-env-changed={COMPILER_VARIABLE}");
        for input in [&self.path].into_iter().chain(&self.inputs) {
            println!("cargo::rerun-if-changed={}", input.display());
        }

        let name = self.library_name()?;
        let target = match &self.target {
            Some(target) => target.clone(),
            None => cargo::target_name(&triple)
                .ok_or_else(|| BuildError(format!("condensec has no code for {triple}")))?
                .to_string(),
        };
        let compiler = env::var_os(COMPILER_VARIABLE).unwrap_or_else(|| "condensec".into());
        let mut command = Command::new(&compiler);
        command.arg(&self.path);
        command.args(["--name", &name, "--target", &target, "-o"]);
        command.arg(&folder).args(&self.options);

        let version = output(Command::new(&compiler).arg("--version"), &compiler)?;
        let files = [&self.path].into_iter().chain(&self.inputs);
        let stamp = Stamp::new(&format!("{version}{command:?}{host}"), files)?;
        let bindings = folder.join(format!("{name}.rs"));
        let stamp_path = folder.join(format!("{name}.stamp"));
        if !(bindings.exists() && stamp.is_at(&stamp_path)) {
            output(&mut command, &compiler)?;
            stamp.write(&stamp_path)?;
        }
        println!("cargo::rustc-link-search=native={}", folder.display());
        Ok(bindings)
    }

    /// The name that condensec is told: it derives the same from a file, but here it must be known.
    fn library_name(&self) -> Result<String, BuildError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let stem = self
            .path
            .file_stem()
            .and_then(OsStr::to_str)
            .unwrap_or_default();
        let letter = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        };
        let name: String = stem.chars().map(letter).collect();
        match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            true => Ok(name),
            false => {
                let path = self.path.display();
                Err(BuildError(format!(
                    "{path} gives no name: call Model::name"
                )))
            }
        }
    }
}

/// Runs `command` to success and returns what it prints.
fn output(command: &mut Command, compiler: &OsStr) -> Result<String, BuildError> {
    let compiler = Path::new(compiler).display();
    let output = command.output().map_err(|error| {
        BuildError(format!(
            "{compiler} does not start: {error}\n  = help: install condensec, or set {COMPILER_VARIABLE} to its path"
        ))
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut message = format!("{compiler} failed ({})", output.status);
    let _ = write!(
        message,
        "\n{}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Err(BuildError(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        let name = |path: &str| Model::new(path).library_name().ok();
        assert_eq!(
            name("models/MobileNet-v2.onnx").as_deref(),
            Some("mobilenet_v2")
        );
        assert_eq!(name("models/2.onnx"), None);
        assert_eq!(
            Model::new("2.onnx").name("two").library_name().as_deref(),
            Ok("two")
        );
    }
}
