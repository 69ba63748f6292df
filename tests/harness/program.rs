//! Other programs: whether they are there, and what they print.

use std::process::Command;

/// Runs to success, and returns what it prints.
pub fn succeed(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// Whether there is a program of this name.
pub fn is_installed(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok()
}
