//! The companion files, used as a user would: C, C++, Rust, CMake, pkg-config.

use crate::support::c_code;
use crate::support::compilers::Compiler;
use crate::support::loaded::{build, run, write_files};
use crate::support::programs::{add_step, empty, floats, kernel, port};
use crate::support::run_on::emulate;
use condensec_backends::companions::Manifest;
use condensec_ir::kernel::{Argument, MemoryType, Program, Section, Symbol};
use std::path::Path;
use std::process::Command;

/// `out = factor[level] * (a + b)` on vectors of 3, with names that are awkward in C and Rust.
fn program(name: &str, factors: &[f32]) -> Program {
    program_with_ports(name, factors, ["input.1", "type", "out/0*/"])
}

fn program_with_ports(name: &str, factors: &[f32], [a, b, out]: [&str; 3]) -> Program {
    let mut program = empty(name, factors.len());
    program.levels[0].name = "Very Sparse".into();
    program.inputs.extend([port(a, &[1, 3]), port(b, &[3])]);
    program.outputs.push(port(out, &[3, 1]));
    program.arena_bytes = 10;
    let factors_id = program.add_data(floats("factors", Section::Weights, factors));
    let function = kernel("sum", |f, [bases, arguments, begin, end]| {
        let [a, b, out] = [8, 16, 24].map(|at| f.load(MemoryType::Ptr, bases, at));
        let factor = f.load(MemoryType::Ptr, arguments, 0);
        let factor = f.load(MemoryType::F32, factor, 0);
        f.for_each(begin, end, 1, |f, i| {
            let at = |f: &mut condensec_ir::kernel::FunctionBuilder, p| f.ptr_offset(p, i, 4);
            let [a, b, out] = [a, b, out].map(|p| at(f, p));
            let [a, b] = [a, b].map(|p| f.load(MemoryType::F32, p, 0));
            let sum = f.fadd(a, b);
            let product = f.fmul(sum, factor);
            f.store(MemoryType::F32, product, out, 0);
        });
    });
    add_step(&mut program, function, &[]);
    for (level, steps) in program.steps.iter_mut().enumerate() {
        let factor = Symbol::Data(factors_id, 4 * level as u64);
        steps[0].arguments.push(Argument::Address(factor));
        steps[0].n_tasks = 3;
    }
    program
}

/// Two models in one folder, with kernels and data of the same names.
fn two_models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, factors) in [
        ("first", [1.0, 2.0].as_slice()),
        ("second", [10.0, 20.0, 30.0].as_slice()),
    ] {
        write_files(&build(&program(name, factors)), folder.path());
    }
    folder
}

const TWO_MODELS: &str = r#"
#include "first.h"
#include "second.h"
#include "first.h"
#include <stdio.h>

/* Counts its calls in what pool leads to, and does the tasks one by one. */
static void one_by_one(void *pool, cnd_kernel kernel, void *const *bases, const void *arguments, size_t n_tasks)
{
    size_t task;
    ++*(int *)pool;
    for (task = 0; task < n_tasks; task++)
        kernel(bases, arguments, task, task + 1);
}

#ifdef __cplusplus
alignas(FIRST_STATE_ALIGN)
#else
_Alignas(FIRST_STATE_ALIGN)
#endif
static unsigned char memory[FIRST_STATE_BYTES + SECOND_STATE_BYTES];

int main(void)
{
    const float a[3] = {1, 2, 3}, b[3] = {4, 5, 6};
    float out[3];
    first *f;
    second *s;
    if (first_init(memory, FIRST_STATE_BYTES, &f) != CND_OK)
        return 1;
    if (second_init(memory + FIRST_STATE_BYTES, SECOND_STATE_BYTES, &s) != CND_OK)
        return 2;
    if (first_set_level(f, FIRST_LEVEL_VERY_SPARSE) != CND_OK || first_level(f) != 0)
        return 3;
    if (first_infer(f, a, b, out) != CND_OK)
        return 4;
    printf("%g %g %g\n", out[0], out[1], out[2]);
    if (second_infer(s, a, b, out) != CND_OK)
        return 5;
    printf("%g %g %g\n", out[0], out[1], out[2]);
    printf("%s %s %d %d\n", first_model()->name, second_model()->inputs[SECOND_INPUT_TYPE].name,
           FIRST_LEVELS, SECOND_OUTPUT_OUT_0);
    {
        const void *const inputs[] = {a, b};
        void *const outputs[] = {out};
        int n_calls = 0;
        if (first_run_parallel(f, inputs, outputs, one_by_one, &n_calls) != CND_OK)
            return 7;
        printf("%g %g %g in %d\n", out[0], out[1], out[2], n_calls);
        if (second_model()->run_parallel(s, inputs, outputs, NULL, NULL) != CND_OK)
            return 8;
    }
    return ((const float *)(const void *)second_weights)[2] == 30 ? 0 : 6;
}
"#;

const PRINTED: &str = "5 7 9\n150 210 270\nfirst type 2 0\n5 7 9 in 1\n";

fn compile_and_run(folder: &Path, compiler: &str, source: &str, options: &[&str]) -> String {
    std::fs::write(folder.join(source), TWO_MODELS).unwrap();
    let warnings = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion"];
    run(Command::new(compiler)
        .args(warnings)
        .args(options)
        .current_dir(folder)
        .args([source, "libfirst.a", "libsecond.a", "-o", "two"]));
    run(&mut Command::new(folder.join("two")))
}

#[test]
fn two_models_in_one_c_program() {
    let folder = two_models();
    for standard in ["-std=c11", "-std=c17"] {
        assert_eq!(
            compile_and_run(folder.path(), "cc", "two.c", &[standard]),
            PRINTED
        );
    }
    // A program whose address is fixed, and one without any executable-stack warning.
    let options = ["-std=c11", "-no-pie", "-Wl,--fatal-warnings"];
    assert_eq!(
        compile_and_run(folder.path(), "cc", "two.c", &options),
        PRINTED
    );
}

#[test]
fn two_models_in_one_cpp_program() {
    if Command::new("c++").arg("--version").output().is_err() {
        println!("skipped: C++: no c++");
        return;
    }
    let folder = two_models();
    for standard in ["-std=c++11", "-std=c++20"] {
        assert_eq!(
            compile_and_run(folder.path(), "c++", "two.cpp", &[standard]),
            PRINTED
        );
    }
}

const CPP_OWNER: &str = r#"
#include "first.hpp"
#include "second.hpp"
#include <cstdio>

int main()
{
    const float a[3] = {1, 2, 3}, b[3] = {4, 5, 6};
    float out[3];
    condensec::first moved_from;
    if (moved_from.level() != condensec::first::levels - 1 || !moved_from.set_level(0) || moved_from.set_level(9))
        return 1;
    condensec::first net(std::move(moved_from));
    if (moved_from.infer(a, b, out) || !net.infer(a, b, out) || net.level() != 0)
        return 2;
    std::printf("%g %g %g\n", out[0], out[1], out[2]);
    condensec::second other;
    int n_steps = 0;
    if (!other.infer_adaptive([&](std::size_t, std::uint32_t level) { ++n_steps; return level - 1; }, a, b, out))
        return 3;
    std::printf("%g %g %g in %d, %s\n", out[0], out[1], out[2], n_steps, condensec::second::model().name);
    other = condensec::second();
    return other.get() == nullptr;
}
"#;

#[test]
fn a_cpp_owner_of_the_state() {
    if Command::new("c++").arg("--version").output().is_err() {
        println!("skipped: C++ header: no c++");
        return;
    }
    let folder = two_models();
    std::fs::write(folder.path().join("owner.cpp"), CPP_OWNER).unwrap();
    for standard in ["-std=c++17", "-std=c++20"] {
        run(Command::new("c++")
            .args([
                standard,
                "-pedantic",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wconversion",
            ])
            .args(["owner.cpp", "libfirst.a", "libsecond.a", "-o", "owner"])
            .current_dir(folder.path()));
        let printed = run(&mut Command::new(folder.path().join("owner")));
        assert_eq!(printed, "5 7 9\n100 140 180 in 1, second\n");
    }
}

#[test]
fn every_target_runs_in_a_program_of_its_own_compiler() {
    for compiler in Compiler::every() {
        let target = &compiler.target;
        let program = c_code::program(target.pointer_bytes());
        for level in [0, 1] {
            let x = [1.0, 10.0, 2.5];
            let library = || compiler.build(&program);
            let Some(results) = emulate(target, library, level, &[&x]) else {
                break;
            };
            let expected = c_code::expected(x, level as usize);
            assert_eq!(results, [expected], "{compiler}");
        }
    }
}

#[test]
fn the_rust_bindings_are_safe_to_use() {
    let folder = two_models();
    let source = r#"
#![deny(warnings)]
#[path = "second.rs"]
mod second;

fn main() {
    let mut memory = Box::new(second::State::new());
    let mut model = second::Model::new(&mut memory);
    let switch = model.level_switch();
    let mut out = [0.0; 3];
    assert_eq!(model.level(), second::LEVELS - 1);
    model.run(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], &mut out);
    println!("{out:?}");
    std::thread::scope(|s| {
        s.spawn(move || switch.set_level(second::LEVEL_VERY_SPARSE).unwrap());
    });
    model.run(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], &mut out);
    println!("{out:?} at {}", model.level());
    assert_eq!(model.set_level(second::LEVELS), Err(second::BadLevel));
    assert!(!second::Model::descriptor().is_null());
    let mut n_calls = 0;
    let pool = (&raw mut n_calls).cast();
    unsafe { model.run_parallel(one_by_one, pool, &[1.0, 0.0, 0.0], &[0.0, 0.0, 1.0], &mut out) };
    println!("{out:?} in {n_calls}");
    let mut steps = Vec::new();
    let choose = |step, level| {
        steps.push((step, level));
        1
    };
    model.run_adaptive(choose, &[1.0, 0.0, 0.0], &[0.0, 0.0, 1.0], &mut out);
    println!("{out:?} by {steps:?}");
}

unsafe extern "C" fn one_by_one(
    pool: *mut std::ffi::c_void,
    kernel: second::Kernel,
    bases: *const *mut std::ffi::c_void,
    arguments: *const std::ffi::c_void,
    n_tasks: usize,
) {
    const _: second::ParallelFor = one_by_one;
    unsafe {
        *pool.cast::<i32>() += 1;
        (0..n_tasks).for_each(|task| kernel(bases, arguments, task, task + 1));
    }
}
"#;
    std::fs::write(folder.path().join("main.rs"), source).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    run(Command::new(rustc)
        .args(["--edition=2024", "-L", ".", "-o", "main", "main.rs"])
        .current_dir(folder.path()));
    let printed = run(&mut Command::new(folder.path().join("main")));
    let expected = "[150.0, 210.0, 270.0]\n[50.0, 70.0, 90.0] at 0\n[10.0, 0.0, 10.0] in 1\n\
                    [20.0, 0.0, 20.0] by [(0, 0)]\n";
    assert_eq!(printed, expected);
}

/// Names that the generated functions have for themselves.
#[test]
fn ports_may_be_called_anything() {
    for ports in [
        ["context", "choose", "call"],
        ["net_run", "net_run_adaptive", "net_run_parallel"],
        ["model_", "model", "net"],
        ["pool", "parallel_for", "status"],
        ["inputs", "outputs", "state"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let library = build(&program_with_ports("net", &[1.0, 2.0], ports));
        write_files(&library, folder.path());
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "net.c",
            "#include \"net.h\"\nint main(void) { return net_infer == 0; }\n",
        );
        let infer = "#include \"net.hpp\"\nint main() { condensec::net net; const float x[3] = {}; float y[3];\n\
                     return !net.infer_adaptive([](std::size_t, std::uint32_t l) { return l; }, x, x, y); }\n";
        write("net.cpp", infer);
        write("main.rs", "#![allow(dead_code)]\nmod net;\nfn main() {}\n");
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        for (program, arguments) in [
            ("cc".into(), &["-std=c11", "-fsyntax-only", "net.c"][..]),
            ("c++".into(), &["-std=c++17", "-fsyntax-only", "net.cpp"]),
            (rustc, &["--edition=2024", "--emit=metadata", "main.rs"]),
        ] {
            run(Command::new(program)
                .args(arguments)
                .current_dir(folder.path()));
        }
    }
}

#[test]
fn cmake_finds_the_library() {
    if Command::new("cmake").arg("--version").output().is_err() {
        println!("skipped: CMake: no cmake");
        return;
    }
    let folder = two_models();
    let lists = "cmake_minimum_required(VERSION 3.16)\n\
                 project(two C)\n\
                 include(first.cmake)\n\
                 include(second.cmake)\n\
                 add_executable(two two.c)\n\
                 target_link_libraries(two PRIVATE condensec::first condensec::second)\n";
    std::fs::write(folder.path().join("CMakeLists.txt"), lists).unwrap();
    std::fs::write(folder.path().join("two.c"), TWO_MODELS).unwrap();
    for arguments in [["-S", ".", "-B", "build"].as_slice(), &["--build", "build"]] {
        let output = Command::new("cmake")
            .args(arguments)
            .current_dir(folder.path())
            .output();
        assert!(output.unwrap().status.success());
    }
    assert_eq!(
        run(&mut Command::new(folder.path().join("build/two"))),
        PRINTED
    );
}

#[test]
fn pkg_config_finds_the_library() {
    let folder = two_models();
    let output = Command::new("pkg-config")
        .args(["--cflags", "--libs", "first", "second"])
        .env("PKG_CONFIG_PATH", folder.path())
        .output();
    let Ok(output) = output else {
        println!("skipped: pkg-config: not installed");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let flags = String::from_utf8(output.stdout).unwrap();
    std::fs::write(folder.path().join("two.c"), TWO_MODELS).unwrap();
    run(Command::new("cc")
        .args(["two.c", "-o", "two"])
        .args(flags.split_whitespace())
        .current_dir(folder.path()));
    assert_eq!(run(&mut Command::new(folder.path().join("two"))), PRINTED);
}

#[test]
fn the_manifest_has_its_documented_keys() {
    let library = build(&program("second", &[1.0, 2.0, 3.0]));
    let file = library.file("second.json").unwrap();
    let text = std::str::from_utf8(&file.bytes).unwrap();
    assert_eq!(Manifest::from_json(text).unwrap(), library.manifest);
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    for key in [
        "name",
        "abi",
        "target",
        "cpu",
        "backend",
        "state_bytes",
        "inputs",
        "outputs",
    ] {
        assert!(!json[key].is_null(), "{key}");
    }
    assert_eq!(json["inputs"][0]["name"], "input.1");
    assert_eq!(json["inputs"][0]["dtype"], "f32");
    assert_eq!(json["outputs"][0]["shape"], serde_json::json!([3, 1]));
    for key in ["weights", "indices", "tables", "code"] {
        assert!(json["bytes"][key].is_u64(), "{key}");
    }
    let level = &json["levels"][1];
    assert_eq!(level["level"], 1);
    for key in [
        "name",
        "density",
        "macs",
        "weight_bytes",
        "predicted_cycles",
    ] {
        assert!(!level[key].is_null(), "{key}");
    }
    assert!(json["layers"].is_array());
}
