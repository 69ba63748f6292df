//! Runs a program on any target: on this machine, or linked by a cross compiler into a static
//! program and run by an emulator.

use super::loaded::{self, Loaded};
use condensec_backends::{Library, Target, find_backend, targets};
use condensec_ir::kernel::Program;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// The first of `commands` that this machine has.
pub fn find_command(commands: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let candidates = commands
        .iter()
        .flat_map(|c| folders.iter().map(move |f| f.join(c)));
    candidates.into_iter().find(|c| c.is_file())
}

/// The C compiler for `target`.
pub fn c_compiler(target: &Target) -> Option<PathBuf> {
    let is_native = target.triple().starts_with(std::env::consts::ARCH);
    find_command(&[if is_native {
        "cc"
    } else {
        target.spec().c_compiler
    }])
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
    let name = title(target);
    let Some(compiler) = c_compiler(target) else {
        println!("skipped: {name}: no {}", target.spec().c_compiler);
        return None;
    };
    let emulator = target.emulator().unwrap_or_default();
    let Some(emulator_path) = emulator.first().and_then(|e| find_command(&[e])) else {
        println!("skipped: {name}: no {emulator:?}");
        return None;
    };
    let library = loaded::build(program, target);
    let folder = tempfile::tempdir().unwrap();
    loaded::write_files(&library, folder.path());
    let binary = link_static(&library, folder.path(), &compiler);
    let bytes: Vec<u8> = inputs
        .iter()
        .copied()
        .flatten()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let mut command = Command::new(emulator_path);
    command
        .args(&emulator[1..])
        .arg(binary)
        .arg(level.to_string());
    let output = run_with_input(&mut command, &bytes);
    let mut values = output
        .chunks_exact(4)
        .map(|c| f32::from_le_bytes(c.try_into().expect("chunks of 4")));
    let take = |port: &condensec_ir::kernel::Port| {
        values.by_ref().take(port.shape.iter().product()).collect()
    };
    Some(program.outputs.iter().map(take).collect())
}

/// A C program that reads inputs from its standard input and writes outputs.
fn main_c(name: &str) -> String {
    let upper = name.to_uppercase();
    format!(
        r#"#include "{name}.h"
#include <stdio.h>
#include <stdlib.h>

static _Alignas({upper}_STATE_ALIGN) unsigned char memory[{upper}_STATE_BYTES];

int main(int argc, char **argv)
{{
    const cnd_model *model = {name}_model();
    const void **inputs = malloc((model->n_inputs + 1) * sizeof(void *));
    void **outputs = malloc((model->n_outputs + 1) * sizeof(void *));
    {name} *state;
    cnd_status status;
    uint32_t i;
    if (argc != 2 || model->abi_version != CND_ABI_VERSION || model->state_bytes != sizeof memory)
        return 2;
    for (i = 0; i < model->n_inputs; i++) {{
        void *bytes = malloc(model->inputs[i].bytes);
        if (fread(bytes, 1, model->inputs[i].bytes, stdin) != model->inputs[i].bytes)
            return 3;
        inputs[i] = bytes;
    }}
    for (i = 0; i < model->n_outputs; i++)
        outputs[i] = malloc(model->outputs[i].bytes);
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
    for (i = 0; i < model->n_outputs; i++)
        if (fwrite(outputs[i], 1, model->outputs[i].bytes, stdout) != model->outputs[i].bytes)
            return 9;
    return 0;
}}
"#
    )
}

/// Compiles [`main_c`] with all warnings and links it with the archive in `folder`.
pub fn link_static(library: &Library, folder: &Path, compiler: &Path) -> PathBuf {
    let source = folder.join("main.c");
    std::fs::write(&source, main_c(&library.name)).unwrap();
    let binary = folder.join("main");
    let archive = folder.join(library.archive_name());
    let warnings = [
        "-std=c11",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-static",
    ];
    let mut command = Command::new(compiler);
    command
        .args(warnings)
        .args([&source, &archive])
        .arg("-o")
        .arg(&binary);
    if !library.libm_calls.is_empty() {
        command.arg("-lm");
    }
    loaded::run(&mut command);
    binary
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
