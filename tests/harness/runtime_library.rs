//! The runtime crate as a library for programs that Cargo does not build: C, and Rust by `rustc` alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace;

/// Builds it with the feature `std`; `crate_type` is `staticlib` or `rlib`.
///
/// # Panics
/// When it cannot be built.
pub fn build(crate_type: &str) -> PathBuf {
    let folder = workspace::root().join("target/runtime-std");
    cargo(
        &folder,
        &["--features", "std", "--crate-type", crate_type],
        &[],
    );
    library(&folder.join("release"), crate_type)
}

/// Builds the static library for programs without an operating system, for `target` or for this machine, and
/// returns its path.
///
/// # Panics
/// When it cannot be built.
pub fn build_bare(target: Option<&str>) -> PathBuf {
    let folder = workspace::root().join("target/runtime-bare");
    let mut args = vec!["--features", "panic-handler", "--crate-type", "staticlib"];
    args.extend(target.into_iter().flat_map(|target| ["--target", target]));
    // As targets without an operating system have it anyway.
    cargo(&folder, &args, &["-C", "panic=abort"]);
    library(
        &folder.join(target.unwrap_or_default()).join("release"),
        "staticlib",
    )
}

/// Whether this toolchain compiles for `target`.
pub fn is_target_installed(target: &str) -> bool {
    let output = Command::new(rustc())
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .expect("rustc runs");
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_string();
    output.status.success() && Path::new(&folder).is_dir()
}

/// The compiler that builds this.
pub fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn library(folder: &Path, crate_type: &str) -> PathBuf {
    let ending = if crate_type == "rlib" { "rlib" } else { "a" };
    folder.join(format!("libcondensec_runtime.{ending}"))
}

/// In a target folder of its own: other features must not replace the library that the rest links.
fn cargo(folder: &Path, args: &[&str], rustc_args: &[&str]) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "rustc",
            "--quiet",
            "--release",
            "--package",
            "condensec-runtime",
        ])
        .arg("--target-dir")
        .arg(folder)
        .args(args)
        .arg("--")
        .args(rustc_args)
        .current_dir(workspace::root());
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "building the runtime: {status}");
}
