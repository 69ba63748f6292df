//! Runs `tests/filetests/<command>/<subject>/*.cir`.
//!
//! | command | prints | and checks that |
//! |---|---|---|
//! | `parse` | the graph, or diagnostics | the text that is printed is read back |
//! | `verify` | `valid`, or diagnostics | |
//! | `pass NAME..` | the graph, or `unchanged` | the result is valid, means the same at every level, and is not changed by a second run |
//! | `lower [lanes=N] [registers=N] [print=steps]` | kernels and steps, or diagnostics | kernels are valid |
//! | `run level=all` | what the graph interpreter computes | the lowered program computes the same, for several vector units, and stays inside its buffers |
//!
//! `run` has inputs of seeded numbers in [-1, 1), or what a line `; input %x = [1, 2, 3]` says.
//! Diagnostics are expected as they are rendered, with line and column: the notes and the help of a
//! message are as much part of it as the place.
//!
//! Arguments are parts of names: `cargo test --test filetests -- fuse`. `UPDATE_EXPECT=1` rewrites
//! what files expect.

use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::kernel::{Argument, Machine, Program, Symbol, print_function, verify_function};
use condensec_ir::ops::MNEMONICS;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::text::{parse_graph, print_graph};
use condensec_ir::verify::verify_graph;
use condensec_ir::{Diagnostic, Graph, LevelId};
use condensec_passes::{PIPELINE, Pass, lower};
use harness::filetest::{self, Filetest};
use harness::{numbers, workspace};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

/// What a command prints, or what it found to be wrong whatever the expectation says.
type Outcome = Result<String, String>;

fn main() -> ExitCode {
    let filters = filters(std::env::args().skip(1));
    let root = workspace::root().join("tests/filetests");
    let is_wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f));
    let (mut n_passed, mut n_failed) = (0, 0);
    let mut report = |name: &str, result: Result<(), String>| match result {
        Ok(()) => {
            n_passed += 1;
            println!("pass {name}");
        }
        Err(reason) => {
            n_failed += 1;
            println!("FAIL {name}\n     {}", reason.replace('\n', "\n     "));
        }
    };
    for path in filetest::find(&root) {
        let name = name_of(&root, &path);
        if is_wanted(&name) {
            report(&name, run_file(&root, &path));
        }
    }
    if filters.is_empty() {
        report(
            "everything registered has a filetest",
            check_coverage(&root),
        );
    }
    println!("{n_passed} passed, {n_failed} failed");
    match n_failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Parts of names; options of the standard test runner mean nothing here.
fn filters(mut arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut filters = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--test-threads" | "--skip" | "--color" | "--format" => {
                arguments.next();
            }
            option if option.starts_with('-') => {}
            _ => filters.push(argument),
        }
    }
    filters
}

/// Path below the root, with `/` on every system.
fn name_of(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).expect("found below the root");
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn run_file(root: &Path, path: &Path) -> Result<(), String> {
    let test = Filetest::read(path)?;
    let name = name_of(root, path);
    let folders: Vec<&str> = name.split('/').collect();
    if folders.len() != 3 || folders[0] != test.command[0] {
        return Err("the file must be <command>/<subject>/<behaviour>.cir".into());
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| run_command(&test)));
    let found = outcome.unwrap_or_else(|_| Err("it panics, see above".into()))?;
    test.check(&found)
}

fn run_command(test: &Filetest) -> Outcome {
    let words: Vec<&str> = test.command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["parse"] => parse(&test.input),
        ["verify"] => verify(&test.input),
        ["pass", names @ ..] if !names.is_empty() => run_passes(&test.input, names),
        ["lower", options @ ..] => run_lower(&test.input, options),
        ["run", "level=all"] => run_levels(&test.input),
        _ => Err(format!("unknown command: {}", words.join(" "))),
    }
}

/// Every op has a file that parses it and one that runs it, every pass has one.
fn check_coverage(root: &Path) -> Result<(), String> {
    let mut missing = Vec::new();
    let mut need = |folder: String| {
        if !root.join(&folder).is_dir() {
            missing.push(format!("no filetest in {folder}"));
        }
    };
    for op in MNEMONICS {
        need(format!("parse/{op}"));
        need(format!("run/{op}"));
    }
    for pass in PIPELINE {
        need(format!("pass/{}", pass.name));
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(missing.join("\n")),
    }
}

fn render(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
    lines.join("\n")
}

fn valid_graph(input: &str) -> Result<Graph, String> {
    let graph = parse_graph(input).map_err(|diagnostics| render(&diagnostics))?;
    check_valid(&graph)?;
    Ok(graph)
}

fn check_valid(graph: &Graph) -> Result<(), String> {
    verify_graph(graph).map_err(|diagnostics| render(&diagnostics))
}

fn parse(input: &str) -> Outcome {
    let graph = match parse_graph(input) {
        Ok(graph) => graph,
        Err(diagnostics) => return Ok(render(&diagnostics)),
    };
    let text = print_graph(&graph);
    let copy = parse_graph(&text).map_err(|diagnostics| render(&diagnostics))?;
    match print_graph(&copy) == text {
        true => Ok(text),
        false => Err(format!(
            "what is printed\n{text}is read as\n{}",
            print_graph(&copy)
        )),
    }
}

fn verify(input: &str) -> Outcome {
    let graph = parse_graph(input).map_err(|diagnostics| render(&diagnostics))?;
    match verify_graph(&graph) {
        Ok(()) => Ok("valid".into()),
        Err(diagnostics) => Ok(render(&diagnostics)),
    }
}

/// 128-bit vectors and 16 registers, if the file does not say anything else.
fn target_info(lanes: usize, vector_registers: usize) -> TargetInfo {
    TargetInfo {
        l2_bytes: 256 << 10,
        ..TargetInfo::typical(lanes, vector_registers)
    }
}

/// Lanes and registers of the vector units that targets have.
const VECTOR_UNITS: &[(usize, usize)] = &[(1, 16), (1, 32), (4, 16), (4, 32), (8, 16), (16, 32)];

fn run_passes(input: &str, names: &[&str]) -> Outcome {
    let before = valid_graph(input)?;
    let mut after = before.clone();
    let target = target_info(4, 16);
    let find = |name: &&str| match PIPELINE.iter().find(|pass| pass.name == *name) {
        Some(pass) => Ok(pass),
        None => Err(format!("there is no pass {name}")),
    };
    let passes: Vec<&Pass> = names.iter().map(find).collect::<Result<_, _>>()?;
    let mut changed = false;
    for pass in passes {
        changed |= (pass.run)(&mut after, &target);
        check_valid(&after).map_err(|e| format!("{} leaves a broken graph\n{e}", pass.name))?;
        let once = print_graph(&after);
        if (pass.run)(&mut after, &target) || print_graph(&after) != once {
            let twice = print_graph(&after);
            return Err(format!(
                "{} run twice changes\n{once}to\n{twice}",
                pass.name
            ));
        }
    }
    let inputs = inputs(&before, input)?;
    for level in (0..before.n_levels).map(LevelId) {
        let expected = evaluate(&before, level, &inputs)?;
        let found = evaluate(&after, level, &inputs)?;
        check_close(&expected, &found)
            .map_err(|e| format!("the meaning changes at {level}: {e}"))?;
    }
    match (changed, print_graph(&after) == print_graph(&before)) {
        (true, _) => Ok(print_graph(&after)),
        (false, true) => Ok("unchanged".into()),
        (false, false) => Err("a pass changes the graph and says that it does not".into()),
    }
}

/// The program that the whole pipeline makes of `graph`.
fn compile(graph: &Graph, target: &TargetInfo) -> Result<Program, Vec<Diagnostic>> {
    let mut graph = graph.clone();
    for pass in PIPELINE {
        (pass.run)(&mut graph, target);
        verify_graph(&graph)?;
    }
    lower::lower(&graph, "model", target)
}

/// What `lower` prints of a program.
#[derive(Clone, Copy, PartialEq)]
enum Printed {
    /// Kernels and steps.
    Everything,
    /// For tests of how steps and levels use kernels, whatever is in them.
    Steps,
}

fn run_lower(input: &str, options: &[&str]) -> Outcome {
    let (mut lanes, mut registers, mut printed) = (4, 16, Printed::Everything);
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let number = || value.parse().map_err(|error| format!("{option}: {error}"));
        match (name, value) {
            ("lanes", _) => lanes = number()?,
            ("registers", _) => registers = number()?,
            ("print", "steps") => printed = Printed::Steps,
            _ => return Err(format!("unknown option: {option}")),
        }
    }
    let graph = valid_graph(input)?;
    match compile(&graph, &target_info(lanes, registers)) {
        Ok(program) => print_program(&program, printed),
        Err(diagnostics) => Ok(render(&diagnostics)),
    }
}

fn print_program(program: &Program, printed: Printed) -> Outcome {
    let mut text = String::new();
    for function in &program.functions {
        verify_function(function).map_err(|error| format!("{}: {error}", function.name))?;
        if printed == Printed::Everything {
            text.push_str(&print_function(function));
        }
    }
    for level in (0..program.n_levels()).map(LevelId) {
        for step in program.level_steps(level) {
            let kernel = &program.function(step.kernel).name;
            let arguments: Vec<String> = step
                .arguments
                .iter()
                .map(|argument| print_argument(program, argument))
                .collect();
            let (node, n_tasks) = (&step.node, step.n_tasks);
            let arguments = arguments.join(", ");
            let _ = writeln!(
                text,
                "{level} %{node} = @{kernel}({arguments}) tasks {n_tasks}"
            );
        }
    }
    Ok(text)
}

fn print_argument(program: &Program, argument: &Argument) -> String {
    match argument {
        Argument::Index(value) => value.to_string(),
        Argument::Address(Symbol::Function(id)) => format!("@{}", program.function(*id).name),
        Argument::Address(Symbol::Data(id, offset)) => {
            format!("@{} + {offset}", program.data_object(*id).name)
        }
    }
}

fn run_levels(input: &str) -> Outcome {
    let graph = valid_graph(input)?;
    let inputs = inputs(&graph, input)?;
    let slices: Vec<&[f32]> = inputs.iter().map(|input| input.data.as_slice()).collect();
    let levels: Vec<LevelId> = (0..graph.n_levels).map(LevelId).collect();
    let mut expected = Vec::new();
    for &level in &levels {
        expected.push(evaluate(&graph, level, &inputs)?);
    }
    for &(lanes, registers) in VECTOR_UNITS {
        let unit = format!("{lanes} lanes, {registers} registers");
        let program = compile(&graph, &target_info(lanes, registers))
            .map_err(|diagnostics| format!("{unit}:\n{}", render(&diagnostics)))?;
        for (&level, expected) in levels.iter().zip(&expected) {
            let outputs = Machine::run(&program, level, &slices)
                .map_err(|error| format!("{unit}, {level}: {error}"))?;
            let ports = program.outputs.iter().zip(outputs);
            let found: Vec<Array> = ports
                .map(|(port, data)| Array::new(&port.shape, data))
                .collect();
            check_close(expected, &found).map_err(|error| format!("{unit}, {level}: {error}"))?;
        }
    }
    let mut text = String::new();
    for (level, outputs) in levels.iter().zip(&expected) {
        for (output, value) in graph.outputs().iter().zip(outputs) {
            let _ = writeln!(text, "{level} {}: {}", output.name, print_values(value));
        }
    }
    Ok(text)
}

/// Numbers to five digits; a long list by its beginning.
fn print_values(array: &Array) -> String {
    const MAX_VALUES: usize = 24;
    let shown = array.data.iter().take(MAX_VALUES).map(|value| {
        let rounded: f32 = format!("{value:.4e}").parse().expect("a printed number");
        rounded.to_string()
    });
    let mut values: Vec<String> = shown.collect();
    if array.data.len() > MAX_VALUES {
        values.push("..".into());
    }
    format!("f32{:?} [{}]", array.shape, values.join(", "))
}

/// What the file says, else seeded numbers.
fn inputs(graph: &Graph, text: &str) -> Result<Vec<Array>, String> {
    let mut inputs = Vec::new();
    for (position, &id) in graph.inputs().iter().enumerate() {
        let node = graph.node(id);
        let n: usize = node.shape.iter().product();
        let start = format!("; input %{} = [", node.name);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&start)?.strip_suffix(']'));
        let data = match line {
            None => numbers::seeded(n, position as u32 + 1),
            Some(values) => {
                let values: Result<Vec<f32>, _> = values
                    .split(',')
                    .map(|value| value.trim().parse())
                    .collect();
                values.map_err(|error| format!("input {}: {error}", node.name))?
            }
        };
        if data.len() != n {
            return Err(format!(
                "input {} has {n} elements, not {}",
                node.name,
                data.len()
            ));
        }
        inputs.push(Array::new(&node.shape, data));
    }
    Ok(inputs)
}

fn evaluate(graph: &Graph, level: LevelId, inputs: &[Array]) -> Result<Vec<Array>, String> {
    eval_graph(graph, level, inputs).map_err(|error| error.to_string())
}

/// f32 values may differ by 1e-4 of the largest of their array: kernels sum in another order than
/// the definition, approximate the transcendental functions to some ulps, and passes multiply
/// factors in advance. NaN and infinities must be where they were.
fn check_close(expected: &[Array], found: &[Array]) -> Result<(), String> {
    for (i, (expected, found)) in expected.iter().zip(found).enumerate() {
        let finite = expected.data.iter().filter(|value| value.is_finite());
        let largest = finite.fold(0.0, |max: f32, value| max.max(value.abs()));
        let is_close = |(&e, &f): (&f32, &f32)| {
            e == f || (e.is_nan() && f.is_nan()) || (e - f).abs() <= 1e-4 * largest
        };
        if expected.shape != found.shape || !expected.data.iter().zip(&found.data).all(is_close) {
            let (expected, found) = (print_values(expected), print_values(found));
            return Err(format!("output {i} is\n{found}\nexpected\n{expected}"));
        }
    }
    match expected.len() == found.len() {
        true => Ok(()),
        false => Err(format!(
            "{} outputs, expected {}",
            found.len(),
            expected.len()
        )),
    }
}
