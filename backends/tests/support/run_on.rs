//! Runs a program on any target: on this machine, or linked by a cross compiler into a static
//! program and run by an emulator.

use super::bare_metal;
use super::compilers::Compiler;
use super::loaded::{self, Loaded, host};
use condensec_backends::{Library, Target, targets};
use condensec_ir::kernel::Program;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use target_lexicon::BinaryFormat;

/// Every CPU of every target, and this machine's.
pub fn every_cpu() -> Vec<Target> {
    let cpus = targets::TARGETS
        .iter()
        .flat_map(|t| t.cpus.iter().map(|c| (t.name, c.name)));
    cpus.chain([("host", "native")])
        .map(|(target, cpu)| targets::resolve(target, Some(cpu), &[] as &[&str]).unwrap())
        .collect()
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
        report_skipped(target, &format!("no {command}"));
    }
    found
}

/// Past the capture of the test runner, which hides what passing tests print.
fn report_skipped(target: &Target, why: &str) {
    // Nobody reads a report from a closed stream.
    let _ = writeln!(std::io::stdout(), "skipped: {}: {why}", title(target));
}

/// What runs `binary` of `target`, or prints `skipped` and why.
fn runner(target: &Target, binary: &Path) -> Option<Command> {
    if target.is_host() {
        return Some(Command::new(binary));
    }
    let Some(words) = target.emulator() else {
        report_skipped(target, "no emulator has its instructions");
        return None;
    };
    let Some(program) = find_command(&words[0]) else {
        report_skipped(target, &format!("no {}", words[0]));
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

/// Compiles `program` and runs it at `level`, or prints `skipped` and why.
pub fn run_on(
    compiler: &Compiler,
    program: &Program,
    level: u32,
    inputs: &[&[f32]],
) -> Option<Vec<Vec<f32>>> {
    if compiler.target.is_host() {
        let loaded = Loaded::by(compiler, program);
        assert_eq!(loaded.set_level(level), 0);
        return Some(loaded.run(inputs));
    }
    emulate(&compiler.target, || compiler.build(program), level, inputs)
}

/// Links `library` into a program and runs it at `level`, or prints `skipped` and why.
pub fn emulate(
    target: &Target,
    library: impl FnOnce() -> Library,
    level: u32,
    inputs: &[&[f32]],
) -> Option<Vec<Vec<f32>>> {
    let program = LinkedProgram::new(target, library)?;
    program.run_on(target, &[(level, inputs)])?.pop()
}

/// A library in a C program, in a folder of its own.
pub struct LinkedProgram {
    folder: tempfile::TempDir,
    binary: PathBuf,
    /// Elements of each output.
    outputs: Vec<usize>,
}

impl LinkedProgram {
    /// Builds the library and links it, or prints `skipped` and why if this machine cannot, or could
    /// not run the program then.
    pub fn new(target: &Target, library: impl FnOnce() -> Library) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join(match target.binary_format() {
            BinaryFormat::Coff => "main.exe",
            _ => "main",
        });
        let compiler = c_compiler(target)?;
        runner(target, &binary)?;
        let library = library();
        loaded::write_files(&library, folder.path());
        link_static(&library, target, &compiler, &binary);
        let outputs = library.manifest.outputs.iter();
        Some(Self {
            outputs: outputs.map(|port| port.n_elems() as usize).collect(),
            folder,
            binary,
        })
    }

    /// The outputs of runs, each with a level and inputs, on `machine`: the target, or one that runs
    /// its code too. Prints `skipped` and why if there is no such machine here.
    pub fn run_on(
        &self,
        machine: &Target,
        runs: &[(u32, &[&[f32]])],
    ) -> Option<Vec<Vec<Vec<f32>>>> {
        let mut command = runner(machine, &self.binary)?;
        let levels: Vec<String> = runs.iter().map(|(level, _)| level.to_string()).collect();
        match machine.is_bare_metal() {
            // The whole command line is one word to the emulator.
            true => command.arg(levels.join(" ")),
            false => command.args(levels),
        };
        let inputs = runs.iter().flat_map(|(_, inputs)| inputs.iter().copied());
        let bytes: Vec<u8> = inputs.flatten().flat_map(|v| v.to_le_bytes()).collect();
        let output = run_with_input(command.current_dir(&self.folder), &bytes);
        let n_elems: usize = self.outputs.iter().sum();
        assert_eq!(output.len(), 4 * n_elems * runs.len(), "{}", title(machine));
        let mut values = output
            .chunks_exact(4)
            .map(|c| f32::from_le_bytes(c.try_into().expect("chunks of 4")));
        let take_run = |_| {
            let outputs = self.outputs.iter();
            outputs
                .map(|&n| values.by_ref().take(n).collect())
                .collect()
        };
        Some(runs.iter().map(take_run).collect())
    }
}

/// A C program that takes a level for each run, reads its inputs from standard input and writes its
/// outputs.
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
    void **inputs = malloc((model->n_inputs + 1) * sizeof(void *));
    void **outputs = malloc((model->n_outputs + 1) * sizeof(void *));
    {name} *state;
    cnd_status status;
    uint32_t i;
    int run;
#ifdef _WIN32
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
#endif
    if (argc < 2 || model->abi_version != CND_ABI_VERSION || model->state_bytes != sizeof memory)
        return 2;
    for (i = 0; i < model->n_inputs; i++)
        inputs[i] = malloc((size_t)model->inputs[i].bytes);
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
    for (run = 1; run < argc; run++) {{
        if ({name}_set_level(state, (uint32_t)atoi(argv[run])) != CND_OK)
            return 7;
        for (i = 0; i < model->n_inputs; i++) {{
            size_t n = (size_t)model->inputs[i].bytes;
            if (fread(inputs[i], 1, n, stdin) != n)
                return 3;
        }}
        if ({name}_run(state, (const void *const *)inputs, outputs) != CND_OK)
            return 8;
        for (i = 0; i < model->n_outputs; i++) {{
            size_t n = (size_t)model->outputs[i].bytes;
            if (fwrite(outputs[i], 1, n, stdout) != n)
                return 9;
        }}
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
