//! Finds a Python interpreter with the packages a test needs, and runs scripts and modules in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::workspace;

/// An interpreter that fulfils a test's requirement.
pub struct Python {
    executable: PathBuf,
}

impl Python {
    /// The interpreter that `CONDENSEC_PYTHON` names, or that of `.venv` in the workspace, when `requirement`
    /// runs without error in it, such as `import onnx`.
    pub fn find(requirement: &str) -> Option<Python> {
        let executable = match std::env::var_os("CONDENSEC_PYTHON") {
            Some(named) => PathBuf::from(named),
            None => workspace::root().join(".venv/bin/python"),
        };
        let output = Command::new(&executable)
            .args(["-c", requirement])
            .output()
            .ok()?;
        output.status.success().then_some(Python { executable })
    }

    /// Runs `tests/python/<script>` and returns what it prints.
    ///
    /// # Panics
    /// With all that the script prints, when it fails.
    pub fn run(&self, script: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let mut command = self.command();
        command.arg(workspace::root().join("tests/python").join(script));
        command.args(args);
        succeed(script, command)
    }

    /// Runs the module `name` in `folder`, with `environment`, and returns what it prints.
    ///
    /// # Panics
    /// With all that the module prints, when it fails.
    pub fn run_module(&self, name: &str, folder: &Path, environment: &[(&str, &OsStr)]) -> String {
        let mut command = self.command();
        command.args(["-m", name]).current_dir(folder);
        command.envs(environment.iter().copied());
        succeed(name, command)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        // Scripts import one another; their compiled form has no place in the source tree.
        command.arg("-B");
        command
    }
}

fn succeed(name: &str, mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        status.success(),
        "{name}: {status}\n{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).expect("scripts print UTF-8")
}
