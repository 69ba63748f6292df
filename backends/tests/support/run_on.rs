//! Runs a program on any target: on this machine, or linked by a cross compiler into a static
//! program and run by an emulator.

use super::bare_metal;
use super::loaded::{self, Loaded, host};
use condensec_backends::{Library, Target, find_backend, targets};
use condensec_ir::kernel::Program;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use target_lexicon::BinaryFormat;

/// Every CPU of every target.
pub fn every_cpu() -> Vec<Target> {
    let cpus = targets::TARGETS
        .iter()
        .flat_map(|t| t.cpus.iter().map(|c| (t.name, c.name)));
    cpus.map(|(target, cpu)| targets::resolve(target, Some(cpu), &[] as &[&str]).unwrap())
        .collect()
}

/// Every CPU of every target that a back end of this build serves.
pub fn all_targets() -> Vec<Target> {
    let is_served = |target: &Target| find_backend(None, target).is_ok();
    every_cpu().into_iter().filter(is_served).collect()
}

/// Those of [`all_targets`] that differ in what a back end makes of an expression: one of several
/// CPUs, or systems, that have the same instructions.
pub fn instruction_sets() -> Vec<Target> {
    let mut seen = BTreeSet::new();
    let is_new = |target: &Target| {
        let features: Vec<&str> = target.features().collect();
        seen.insert((target.lexicon().architecture.to_string(), features))
    };
    all_targets().into_iter().filter(is_new).collect()
}

/// `target cpu`, for messages.
pub fn title(target: &Target) -> String {
    format!("{} {}", target.name(), target.cpu())
}

/// `name` in the search path.
pub fn find_command(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|c| c.is_file())
}

/// The C compiler for `target`, or prints `skipped` and why.
pub fn c_compiler(target: &Target) -> Option<PathBuf> {
    // Android's calling convention is Linux's, and libraries need no C library.
    let like = match target.name() {
        "aarch64-android" => "aarch64",
        name => name,
    };
    let spec = targets::TARGETS.iter().find(|t| t.name == like).unwrap();
    let command = match host().name() == like {
        true => "cc",
        false => spec.c_compiler,
    };
    let found = find_command(command);
    if found.is_none() {
        println!("skipped: {}: no {command}", title(target));
    }
    found
}

/// What runs `binary` of `target`, or prints `skipped` and why.
fn runner(target: &Target, binary: &Path) -> Option<Command> {
    if target.is_host() {
        return Some(Command::new(binary));
    }
    let Some(words) = target.emulator() else {
        println!("skipped: {}: no emulator", title(target));
        return None;
    };
    let Some(program) = find_command(&words[0]) else {
        println!("skipped: {}: no {}", title(target), words[0]);
        return None;
    };
    let mut command = Command::new(program);
    // Wine prints what it has not implemented.
    command.args(&words[1..]).env("WINEDEBUG", "-all");
    command.arg(binary);
    if target.is_bare_metal() {
        command.arg("-append");
    }
    Some(command)
}

/// Runs `program` at `level` on `target`, or prints `skipped` and why.
pub fn run_on(
    target: &Target,
    program: &Program,
    level: u32,
    inputs: &[&[f32]],
) -> Option<Vec<Vec<f32>>> {
    if target.is_host() {
        let loaded = Loaded::for_target(program, target);
        assert_eq!(loaded.set_level(level), 0);
        return Some(loaded.run(inputs));
    }
    emulate(target, || loaded::build(program, target), level, inputs)
}

/// Links `library` into a program and runs it at `level`, or prints `skipped` and why.
pub fn emulate(
    target: &Target,
    library: impl FnOnce() -> Library,
    level: u32,
    inputs: &[&[f32]],
) -> Option<Vec<Vec<f32>>> {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join(match target.binary_format() {
        BinaryFormat::Coff => "main.exe",
        _ => "main",
    });
    let (compiler, mut command) = (c_compiler(target)?, runner(target, &binary)?);
    let library = library();
    loaded::write_files(&library, folder.path());
    link_static(&library, target, &compiler, &binary);
    command.arg(level.to_string());
    let bytes: Vec<u8> = inputs
        .iter()
        .copied()
        .flatten()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let output = run_with_input(&mut command, &bytes);
    let outputs = &library.manifest.outputs;
    let n_bytes: u64 = outputs.iter().map(|port| 4 * port.n_elems()).sum();
    assert_eq!(output.len() as u64, n_bytes, "{}", title(target));
    let mut values = output
        .chunks_exact(4)
        .map(|c| f32::from_le_bytes(c.try_into().expect("chunks of 4")));
    let take = |n_elems: u64| values.by_ref().take(n_elems as usize).collect();
    Some(
        outputs
            .iter()
            .map(|port| port.n_elems())
            .map(take)
            .collect(),
    )
}

/// A C program that reads inputs from its standard input and writes outputs.
fn main_c(name: &str) -> String {
    let upper = name.to_uppercase();
    format!(
        r#"#include "{name}.h"
#include <stdio.h>
#include <stdlib.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

static _Alignas({upper}_STATE_ALIGN) unsigned char memory[{upper}_STATE_BYTES];

int main(int argc, char **argv)
{{
    const cnd_model *model = {name}_model();
    const void **inputs = malloc((model->n_inputs + 1) * sizeof(void *));
    void **outputs = malloc((model->n_outputs + 1) * sizeof(void *));
    {name} *state;
    cnd_status status;
    uint32_t i;
#ifdef _WIN32
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
#endif
    if (argc != 2 || model->abi_version != CND_ABI_VERSION || model->state_bytes != sizeof memory)
        return 2;
    for (i = 0; i < model->n_inputs; i++) {{
        size_t n = (size_t)model->inputs[i].bytes;
        void *bytes = malloc(n);
        if (fread(bytes, 1, n, stdin) != n)
            return 3;
        inputs[i] = bytes;
    }}
    for (i = 0; i < model->n_outputs; i++)
        outputs[i] = malloc((size_t)model->outputs[i].bytes);
    status = {name}_init(memory, sizeof memory, &state);
    if (status != CND_OK)
        return 4;
    if ({name}_level(state) != {upper}_LEVELS - 1)
        return 5;
    if ({name}_level(NULL) != 0xffffffffu)
        return 10;
    if ({name}_set_level(state, {upper}_LEVELS) != CND_BAD_LEVEL)
        return 6;
    if ({name}_set_level(state, (uint32_t)atoi(argv[1])) != CND_OK)
        return 7;
    if ({name}_run(state, inputs, outputs) != CND_OK)
        return 8;
    for (i = 0; i < model->n_outputs; i++) {{
        size_t n = (size_t)model->outputs[i].bytes;
        if (fwrite(outputs[i], 1, n, stdout) != n)
            return 9;
    }}
    return 0;
}}
"#
    )
}

/// Compiles [`main_c`] with all warnings and links it with the archive in the folder of `binary`.
fn link_static(library: &Library, target: &Target, compiler: &Path, binary: &Path) {
    let folder = binary.parent().unwrap();
    let source = folder.join("main.c");
    std::fs::write(&source, main_c(&library.name)).unwrap();
    let warnings = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"];
    let mut command = Command::new(compiler);
    command.args(warnings).args(target.c_options());
    match target.is_bare_metal() {
        true => command.args(bare_metal::link_options(folder)),
        false => command.arg("-static"),
    };
    command
        .arg(&source)
        .arg(folder.join(&library.archive().name))
        .arg("-o")
        .arg(binary);
    if !library.libm_calls.is_empty() {
        command.arg("-lm");
    }
    loaded::run(&mut command);
}

/// Runs `command` with `input` and returns what it printed.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let mut pipe = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(input));
        child.wait_with_output().unwrap()
    });
    let arguments: Vec<&OsStr> = command.get_args().collect();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        output.status
    );
    output.stdout
}
