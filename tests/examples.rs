//! The examples work as `examples/README.md` says, with the compilers, emulators and checkers of this machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ::condensec::frontend::onnx::proto::encode_model;
use condensec_backends::{find_backend, targets};
use condensec_examples::model_zoo::{
    self, BatchNorm, MaskRule, Network, Sparsity, ZooModel, ZooOptions,
};
use harness::program::{is_installed, succeed};
use harness::python::Python;
use harness::{condensec, runtime_library, skip, workspace};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use serde_json::Value;
use tempfile::TempDir;

const LEVELS: usize = 5;
const NO_ARGS: &[&str] = &[];
/// Runs during switches where each takes a thousand times as long, emulated or in valgrind.
const FEW_RUNS: &str = "10";

/// What the READMEs tell users to compile with, and every warning as an error.
const C_FLAGS: &[&str] = &[
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Werror",
];
const CXX_FLAGS: &[&str] = &[
    "-x",
    "c++",
    "-std=c++11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
];

#[test]
fn the_c_example_runs() {
    let dir = TempDir::new().unwrap();
    let program = compile_c("cc", C_FLAGS, "digits", host_library(), dir.path());
    check_output(&run(&program, NO_ARGS));
}

#[test]
fn the_c_example_is_cplusplus_too() {
    if !is_installed("g++") {
        return skip::report("the C example as C++ (no g++)");
    }
    let dir = TempDir::new().unwrap();
    let program = compile_c("g++", CXX_FLAGS, "digits", host_library(), dir.path());
    check_output(&run(&program, NO_ARGS));
}

#[test]
fn the_c_example_on_two_threads_runs() {
    let dir = TempDir::new().unwrap();
    let mut compilers = vec![("cc", C_FLAGS)];
    match is_installed("g++") {
        true => compilers.push(("g++", CXX_FLAGS)),
        false => skip::report("the C example on two threads as C++ (no g++)"),
    }
    for (compiler, flags) in compilers {
        let program = compile_c(compiler, flags, "parallel", host_library(), dir.path());
        check_parallel_output(&run(&program, NO_ARGS));
    }
}

#[test]
fn the_c_example_with_a_governor_runs() {
    let dir = TempDir::new().unwrap();
    let runtime = runtime_library::build("staticlib");
    let include = workspace::root().join("runtime/include");
    let mut compilers = vec![("cc", C_FLAGS)];
    match is_installed("g++") {
        true => compilers.push(("g++", CXX_FLAGS)),
        false => skip::report("the C example with a governor as C++ (no g++)"),
    }
    for (compiler, flags) in compilers {
        let mut flags = flags.to_vec();
        flags.extend(["-I", include.to_str().unwrap()]);
        let libraries = [host_library().join("libdigits.a"), runtime.clone()];
        let program = link_c(compiler, &flags, "governor", &libraries, dir.path());
        check_governor_output(&run(&program, NO_ARGS));
    }
}

#[test]
fn the_rust_examples_with_a_governor_run() {
    if !cfg!(target_os = "linux") {
        return skip::report(
            "the Rust examples with a governor (they read Linux' clock frequencies)",
        );
    }
    let dir = TempDir::new().unwrap();
    let library = host_library();
    let profile = dir.path().join("digits.profile.json");
    let args = [
        OsStr::new("profile"),
        library.as_os_str(),
        OsStr::new("-o"),
        profile.as_os_str(),
    ];
    let output = condensec::run(
        args.into_iter()
            .chain(["--emit", "rust", "--runs", "30"].map(OsStr::new)),
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let runtime = runtime_library::build("rlib");
    let build = |name: &str| {
        let program = dir.path().join(name);
        let mut rustc = Command::new(runtime_library::rustc());
        rustc
            .args(["--edition", "2024", "-O", "--deny", "warnings", "-L"])
            .arg(library)
            .arg("--extern")
            .arg(format!("condensec_runtime={}", runtime.display()))
            .arg("-o")
            .arg(&program)
            .arg(examples().join(format!("rust/{name}.rs")));
        for prefix in ["DIGITS", "MODEL"] {
            rustc.env(format!("{prefix}_RS"), library.join("digits.rs"));
            let tables = dir.path().join("digits_profile.rs");
            rustc.env(format!("{prefix}_PROFILE_RS"), tables);
        }
        succeed(&mut rustc);
        program
    };
    check_governor_output(&run(&build("governor"), NO_ARGS));

    let camera = build("camera");
    let log = dir.path().join("frames.csv");
    // Time enough for the highest level.
    let args = [
        "--seconds",
        "0.3",
        "--deadline-ms",
        "1000",
        "--log",
        log.to_str().unwrap(),
    ];
    let said = run(&camera, args);
    assert!(said.contains("0 later than 1000.00 ms"), "{said}");
    let log = std::fs::read_to_string(log).unwrap();
    let levels: Vec<&str> = log
        .lines()
        .filter_map(|line| line.rsplit(',').next())
        .collect();
    assert!(levels.len() > 10 && levels.ends_with(&["4.00"]), "{log}");
    assert!(run(&camera, ["--seconds", "0.1", "--level", "0"]).contains("mean level 0.00"));
    let mixed = ["--seconds", "0.1", "--deadline-ms", "1000", "--mixed"];
    assert!(run(&camera, mixed).contains("mean level 4.00"));
}

#[test]
fn valgrind_finds_nothing_in_the_c_example() {
    if !is_installed("valgrind") {
        return skip::report("valgrind on the C example");
    }
    let dir = TempDir::new().unwrap();
    let library = valgrind_library(dir.path());
    let program = compile_c("cc", C_FLAGS, "digits", &library, dir.path());
    valgrind(&["--leak-check=full"], &program);
}

/// Here the instance lies in memory that nobody has cleared: a read of it before a write shows. What
/// Rust's standard library leaves to the end of the process is no business of ours.
#[test]
fn valgrind_finds_nothing_in_the_rust_example() {
    if !is_installed("valgrind") {
        return skip::report("valgrind on the Rust example");
    }
    let dir = TempDir::new().unwrap();
    let library = valgrind_library(dir.path());
    valgrind(&[], &compile_rust(&library, dir.path()));
}

#[test]
fn the_c_examples_run_on_aarch64() {
    cross("aarch64", "aarch64-linux-gnu-gcc", "qemu-aarch64");
}

#[test]
fn the_c_examples_run_on_riscv64() {
    cross("riscv64", "riscv64-linux-gnu-gcc", "qemu-riscv64");
}

#[test]
fn the_cortex_m_example_runs() {
    for cpu in ["cortex-m4", "cortex-m7"] {
        let target = targets::resolve("thumbv7em", Some(cpu), NO_ARGS).unwrap();
        if find_backend(None, &target).is_err() {
            return skip::report("the Cortex-M example (a build without LLVM)");
        }
        for tool in ["arm-none-eabi-gcc", "qemu-system-arm"] {
            if !is_installed(tool) {
                return skip::report(&format!("the Cortex-M example (no {tool})"));
            }
        }
        let dir = TempDir::new().unwrap();
        let mut script = Command::new("sh");
        script
            .args([&examples().join("cortex_m/run.sh"), Path::new(cpu)])
            .arg(dir.path())
            .env("CONDENSEC", condensec::executable());
        let output = succeed(&mut script);
        // It leaves with success, so these say what the script did.
        assert_eq!(
            output.matches(" 10 right, 0 wrong,").count(),
            LEVELS,
            "{output}"
        );
        assert!(output.ends_with("back at L0: the same bits\n"), "{output}");
        check_firmware(&std::fs::read(dir.path().join("digits.elf")).unwrap());
    }
}

/// Constants are in flash and only what changes is in RAM, in the memory map of the example.
fn check_firmware(bytes: &[u8]) {
    const RAM: u64 = 0x2000_0000;
    let program = object::File::parse(bytes).unwrap();
    let symbol = |name: &str| {
        let mut symbols = program.symbols();
        symbols.find(|s| s.name() == Ok(name))
    };
    let [weights, code, memory] = ["digits_weights", "digits_run", "memory"].map(|name| {
        let found = symbol(name);
        found.unwrap_or_else(|| panic!("no {name}")).address()
    });
    assert!(weights < RAM && code < RAM && memory >= RAM);
    for allocator in ["malloc", "_malloc_r", "calloc", "free", "_sbrk"] {
        assert!(symbol(allocator).is_none(), "{allocator}");
    }
    let initialised = program.section_by_name(".data").map_or(0, |s| s.size());
    assert_eq!(initialised, 0, "constants copied to RAM");
}

#[test]
fn the_rust_example_runs() {
    let dir = TempDir::new().unwrap();
    check_output(&run(&compile_rust(host_library(), dir.path()), NO_ARGS));
}

#[test]
fn onnx_runtime_takes_the_model_zoo() {
    let Some(python) = Python::find("import numpy, onnx, onnxruntime") else {
        return skip::report("the model zoo in ONNX Runtime (no Python with onnx and onnxruntime)");
    };
    let dir = TempDir::new().unwrap();
    for (index, &network) in model_zoo::NETWORKS.iter().enumerate() {
        // Every network, every kind of batch norm, every kind of mask: not each with each, for time.
        let (batch_norm, rule) = match index % 3 {
            0 => (BatchNorm::PerLevel, MaskRule::Random),
            1 => (BatchNorm::Shared, MaskRule::Magnitude),
            _ => (BatchNorm::Folded, MaskRule::Random),
        };
        let options = ZooOptions {
            sparsity: Some(Sparsity {
                densities: "1.0,0.1,0.5".parse().unwrap(),
                block: "4x1".parse().unwrap(),
                rule,
                dense_classifier: false,
            }),
            batch_norm,
            seed: 1,
        };
        let built = model_zoo::build(network, &options);
        let path = dir.path().join("model.onnx");
        std::fs::write(&path, encode_model(&built.model)).unwrap();
        let report = python.run("model_zoo.py", [&path]);
        check_zoo_report(network, &built, &serde_json::from_str(&report).unwrap());
    }
}

#[test]
fn the_pytorch_recipe_passes_its_tests() {
    let needed = "import matplotlib, onnx, onnxruntime, onnxscript, pytest, torch, tqdm";
    let Some(python) = Python::find(needed) else {
        return skip::report("the PyTorch recipe (no Python with torch)");
    };
    let condensec = condensec::executable();
    let environment = [("CONDENSEC", condensec.as_os_str())];
    let output = python.run_module("pytest", &examples().join("pytorch"), &environment);
    let summary = output.lines().last().unwrap_or_default();
    assert!(summary.contains(" passed"), "{output}");
    assert!(!summary.contains("skipped"), "{output}");
}

fn check_zoo_report(network: Network, built: &ZooModel, report: &Value) {
    assert_eq!(report["problems"], serde_json::json!([]), "{network:?}");
    assert_eq!(report["macs"], built.macs, "{network:?}");
    assert_eq!(report["n_parameters"], built.n_parameters, "{network:?}");
    // Far from what overflows; see the generator about batch norm's statistics.
    assert!(report["largest"].as_f64().unwrap() < 100.0, "{report}");
    let levels = report["levels"].as_array().unwrap();
    assert_eq!(levels.len(), built.levels.len());
    for (level, expected) in levels.iter().zip(&built.levels) {
        let density = level["density"].as_f64().unwrap();
        assert!((density - expected.density).abs() < 1e-12, "{network:?}");
        assert!(level["rms"].as_f64().unwrap() > 0.01, "{report}");
    }
}

/// Compiles the C examples for `target`, statically, and runs them in the emulator.
fn cross(target: &str, compiler: &str, emulator: &str) {
    for tool in [compiler, emulator] {
        if !is_installed(tool) {
            return skip::report(&format!("the C examples on {target} (no {tool})"));
        }
    }
    let dir = TempDir::new().unwrap();
    compile_digits(dir.path(), &["--target", target]);
    let flags: Vec<&str> = C_FLAGS.iter().copied().chain(["-static"]).collect();
    let program = compile_c(compiler, &flags, "digits", dir.path(), dir.path());
    check_output(&run(
        Path::new(emulator),
        [program.as_os_str(), FEW_RUNS.as_ref()],
    ));
    let program = compile_c(compiler, &flags, "parallel", dir.path(), dir.path());
    check_parallel_output(&run(Path::new(emulator), [program]));
}

/// The library of the digits supernet for this machine.
fn host_library() -> &'static Path {
    static LIBRARY: OnceLock<TempDir> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            let dir = TempDir::new().unwrap();
            compile_digits(dir.path(), &[]);
            dir
        })
        .path()
}

/// The same in `dir` for the common CPUs of this machine's kind: valgrind knows no AVX-512.
fn valgrind_library(dir: &Path) -> PathBuf {
    let library = dir.join("library");
    compile_digits(&library, &["--target", std::env::consts::ARCH]);
    library
}

fn compile_digits(out: &Path, args: &[&str]) {
    let mut all = vec!["--name", "digits"];
    all.extend(args);
    condensec::compile(&examples().join("digits/digits_supernet.onnx"), out, &all);
}

/// Compiles the C example `name` against the library of the digits.
fn compile_c(compiler: &str, flags: &[&str], name: &str, library: &Path, out: &Path) -> PathBuf {
    link_c(compiler, flags, name, &[library.join("libdigits.a")], out)
}

/// Compiles the C example `name`; the first library has the model's header beside it.
fn link_c(
    compiler: &str,
    flags: &[&str],
    name: &str,
    libraries: &[PathBuf],
    out: &Path,
) -> PathBuf {
    let program = out.join(name);
    let mut command = Command::new(compiler);
    command
        .args(flags)
        .arg("-I")
        .arg(libraries[0].parent().expect("libraries lie in a folder"))
        .arg(examples().join(format!("c/{name}.c")))
        // The language of what follows comes from its name again, not from `-x c++`.
        .args(
            flags
                .contains(&"-x")
                .then_some(["-x", "none"])
                .into_iter()
                .flatten(),
        )
        .args(libraries)
        .args(["-lm", "-pthread", "-o"])
        .arg(&program);
    succeed(&mut command);
    program
}

fn compile_rust(library: &Path, out: &Path) -> PathBuf {
    let program = out.join("digits");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--edition", "2024", "-O", "--deny", "warnings", "-L"])
        .arg(library)
        .arg("-o")
        .arg(&program)
        .arg(examples().join("rust/digits.rs"))
        .env("DIGITS_RS", library.join("digits.rs"));
    succeed(&mut rustc);
    program
}

/// Runs an example in valgrind.
fn valgrind(options: &[&str], program: &Path) {
    let mut args: Vec<&OsStr> = vec![OsStr::new("--quiet"), OsStr::new("--error-exitcode=3")];
    args.extend(options.iter().map(OsStr::new));
    args.extend([program.as_os_str(), FEW_RUNS.as_ref()]);
    check_output(&run(Path::new("valgrind"), args));
}

/// All levels name all ten images, and no run under a changing level mixes two.
fn check_output(output: &str) {
    let levels: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with('L'))
        .collect();
    assert_eq!(levels.len(), LEVELS, "{output}");
    for (level, line) in levels.iter().enumerate() {
        assert!(line.starts_with(&format!("L{level}")), "{output}");
        let (_, ms) = line
            .split_once(": 0 1 2 3 4 5 6 7 8 9  ")
            .unwrap_or_else(|| panic!("{output}"));
        // The time is a float that lives across the calls: NaN where the library spoils a register.
        let ms: f64 = ms.strip_suffix(" ms an image").unwrap().parse().unwrap();
        assert!(ms > 0.0, "{output}");
    }
    assert!(
        output.ends_with(": 0 results of no single level\n"),
        "{output}"
    );
}

fn check_parallel_output(output: &str) {
    let end = " steps on two threads: 0 results differ from those of one\n";
    assert!(output.ends_with(end), "{output}");
}

/// A neighbour never makes the governor go up. How far down it goes, and how often a frame is late, depends on what
/// else this machine does.
fn check_governor_output(output: &str) {
    let parts: Vec<(&str, f64)> = output
        .lines()
        .filter_map(|line| {
            let (part, rest) = line.split_once(": mean level ")?;
            let (level, late) = rest.split_once(", ")?;
            assert!(late.ends_with(" of 200 frames late"), "{output}");
            Some((part, level.parse().unwrap()))
        })
        .collect();
    let [
        ("alone", before),
        ("with a neighbour", during),
        ("alone again", after),
    ] = parts[..]
    else {
        panic!("{output}");
    };
    assert!(during <= before.max(after), "{output}");
    assert!(before > 0.0, "{output}");
}

fn run(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    succeed(Command::new(program).args(args))
}

fn examples() -> PathBuf {
    workspace::root().join("examples")
}
