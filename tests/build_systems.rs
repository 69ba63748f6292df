//! Models in the builds of other projects: CMake, Cargo, pkg-config and CI, as the examples have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::program::{is_installed, succeed};
use harness::{condensec, skip, workspace};
use tempfile::TempDir;

const DIGITS: &str = "0 1 2 3 4 5 6 7 8 9";

fn example(name: &str) -> PathBuf {
    workspace::root().join("examples").join(name)
}

/// Lines that say what each level sees.
fn assert_digits(said: &str) {
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(DIGITS)).collect();
    assert_eq!(lines.len(), 5, "{said}");
}

#[test]
fn cmake_compiles_a_model() {
    if !is_installed("cmake") || !is_installed("c++") {
        return skip::report("a CMake project (no cmake or no c++)");
    }
    let dir = TempDir::new().unwrap();
    let package = dir.path().join("package");
    succeed(
        Command::new(condensec::executable())
            .args(["cmake", "-o"])
            .arg(&package),
    );
    let build = dir.path().join("build");
    let define = |name: &str, value: &Path| format!("-D{name}={}", value.display());
    succeed(
        Command::new("cmake")
            .arg("-S")
            .arg(example("cmake"))
            .arg("-B")
            .arg(&build)
            .arg(define("condensec_DIR", &package))
            .arg(define("CONDENSEC_EXECUTABLE", condensec::executable())),
    );
    let compile = || succeed(Command::new("cmake").arg("--build").arg(&build));
    assert!(compile().contains("Compiling ../digits/digits_supernet.onnx for host"));
    // Nothing has changed, so nothing is compiled again.
    assert!(!compile().contains("Compiling"));
    assert_digits(&succeed(&mut Command::new(build.join("digits_app"))));
}

#[test]
fn cargo_compiles_a_model() {
    let dir = TempDir::new().unwrap();
    let cargo = |arguments: &[&str], compiler: &Path| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command
            .args(arguments)
            .args(["--offline", "--manifest-path"])
            .arg(example("cargo").join("Cargo.toml"))
            .arg("--target-dir")
            .arg(dir.path())
            .env("CONDENSEC", compiler)
            .env_remove("RUSTFLAGS");
        command
    };
    assert_digits(&succeed(&mut cargo(
        &["run", "--quiet"],
        condensec::executable(),
    )));
    let refused = cargo(&["build"], Path::new("/no/such/condensec"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("does not start"),
        "{said}"
    );
}

#[test]
fn pkg_config_tells_how_to_compile() {
    if !is_installed("pkg-config") {
        return skip::report("a program by pkg-config (no pkg-config)");
    }
    let dir = TempDir::new().unwrap();
    let model = example("digits/digits_supernet.onnx");
    condensec::compile(&model, dir.path(), &["--name", "digits"]);
    let flags = succeed(
        Command::new("pkg-config")
            .args(["--cflags", "--libs", "digits"])
            .env("PKG_CONFIG_PATH", dir.path()),
    );
    let program = dir.path().join("example");
    succeed(
        Command::new("cc")
            .arg("-std=c11")
            .arg(example("c/digits.c"))
            .args(flags.split_whitespace())
            .arg("-pthread")
            .arg("-o")
            .arg(&program),
    );
    assert_digits(&succeed(Command::new(program).arg("10")));
}

#[test]
fn the_script_of_the_ci_workflow_runs() {
    for tool in [
        "aarch64-linux-gnu-gcc",
        "riscv64-linux-gnu-gcc",
        "qemu-aarch64",
        "qemu-riscv64",
    ] {
        if !is_installed(tool) {
            return skip::report(&format!("the CI workflow's script (no {tool})"));
        }
    }
    let dir = TempDir::new().unwrap();
    let said = succeed(
        Command::new("sh")
            .arg(example("github_actions/cross_compile.sh"))
            .env("CONDENSEC", condensec::executable())
            .env("OUT", dir.path()),
    );
    for target in ["x86_64", "aarch64", "riscv64"] {
        assert!(said.contains(&format!("== {target}\n")), "{said}");
    }
    assert_eq!(
        said.lines().filter(|line| line.contains(DIGITS)).count(),
        15,
        "{said}"
    );
}
