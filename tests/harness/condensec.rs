//! The `condensec` program, as users run it.
//!
//! Cargo makes a package's programs known to that package's own tests only, so it is found beside
//! the test's executable, and brought up to date first: a stale compiler would pass for the present one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::workspace;
use condensec_backends::BACKENDS;

/// The program that `CONDENSEC` names, or else the one of this build's profile, built if need be.
///
/// # Panics
/// When it cannot be built.
pub fn executable() -> &'static Path {
    static EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();
    EXECUTABLE.get_or_init(|| match std::env::var_os("CONDENSEC") {
        Some(named) => PathBuf::from(named),
        None => build(),
    })
}

/// Runs it with `args` in the workspace's root.
pub fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let mut command = Command::new(executable());
    command.args(args).current_dir(workspace::root());
    command
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", executable().display()))
}

/// Compiles `model` into the folder `out`; `args` are further options.
///
/// # Panics
/// With the diagnostics, when it fails.
pub fn compile(model: &Path, out: &Path, args: &[&str]) {
    let mut all = vec![model.as_os_str(), OsStr::new("-o"), out.as_os_str()];
    all.extend(args.iter().map(OsStr::new));
    let output = run(&all);
    assert!(
        output.status.success(),
        "condensec {all:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile_dir = test
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in target/<profile>/deps");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "condensec",
            "--bin",
            "condensec",
        ])
        .current_dir(workspace::root());
    // The back ends of this build, since tests ask it for what to expect.
    if BACKENDS.iter().any(|backend| backend.name() == "llvm") {
        cargo.args(["--features", "condensec/llvm"]);
    }
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "building condensec: {status}");
    profile_dir.join("condensec")
}
