//! C programs of one file that use the digits supernet and the runtime crate's static library.

use std::process::Command;

use tempfile::TempDir;

use crate::program::succeed;
use crate::{condensec, runtime_library, workspace};

/// Compiles the digits supernet as `digits`, the runtime crate with its pool, and `program`; runs it, and returns what it
/// prints.
pub fn run_with_runtime(program: &str) -> String {
    let folder = TempDir::new().expect("a temporary folder");
    let model = workspace::root().join("examples/digits/digits_supernet.onnx");
    condensec::compile(&model, folder.path(), &["--name", "digits"]);
    let runtime = runtime_library::build("staticlib");
    std::fs::write(folder.path().join("main.c"), program).expect("writable");
    let flags = [
        "-std=c11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
    ];
    succeed(
        Command::new("cc")
            .args(flags)
            .arg("-I")
            .arg(workspace::root().join("runtime/include"))
            .args(["main.c", "libdigits.a"])
            .arg(runtime)
            .args(["-lm", "-ldl", "-pthread", "-o", "main"])
            .current_dir(folder.path()),
    );
    succeed(&mut Command::new(folder.path().join("main")))
}
