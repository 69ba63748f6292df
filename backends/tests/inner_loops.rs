//! The inner loops of convolutions, read from the assembly of every back end for every CPU: as many
//! multiply-adds as the kernel asks for, in a form that needs nothing else; no stack access, no call;
//! no more other instructions than the kernel has statements. A code generator that spills there is
//! several times slower and still right, so no other test would notice.

use crate::support::compilers::Compiler;
use crate::support::loops::innermost_loops;
use condensec_ir::Graph;
use condensec_ir::kernel::{Expr, Function, Program, Statement};
use condensec_ir::text::parse_graph;
use condensec_passes::PIPELINE;
use condensec_passes::lower::{Schedule, Schedules, lower_with};
use target_lexicon::Architecture;

/// Loops that are known to use the stack.
struct Exception {
    /// How the compiler's description and the layer's begin.
    compiler: &'static str,
    layer: &'static str,
    /// Instructions of a kernel's loops that touch it, at most.
    n_accesses: usize,
}

const EXCEPTIONS: &[Exception] = &[
    // Its register allocator loads and stores addresses around twelve sums, never a vector.
    Exception {
        compiler: "cranelift for x86_64",
        layer: "lists of 1",
        n_accesses: 3,
    },
    // Four weights from four places take more of the 16 registers than a vector of four does.
    Exception {
        compiler: "llvm for armv7a",
        layer: "lists of 1, by-column",
        n_accesses: 3,
    },
    // Weights, sums and what they are deinterleaved into take more than 16 registers.
    Exception {
        compiler: "llvm for armv7a",
        layer: "depthwise of stride 2",
        n_accesses: usize::MAX,
    },
    // Groups of registers leave 8 and 16 of them, and LLVM loads ahead of use.
    Exception {
        compiler: "llvm for riscv64 rv64gcv",
        layer: "depthwise",
        n_accesses: usize::MAX,
    },
    Exception {
        compiler: "llvm for riscv64 spacemit-x60",
        layer: "depthwise of stride 2",
        n_accesses: usize::MAX,
    },
];

/// Rows of lists, schedule of all levels: one for each form of the inner loop.
const LISTS: [(usize, &str); 7] = [
    (4, "stored/1"),
    (4, "stored+prefetch/1"),
    (2, "stored/1"),
    (2, "stored+prefetch/1"),
    (1, "stored/1"),
    (1, "stored+prefetch/1"),
    (1, "by-column/1"),
];

/// Pixels of a map whose tiles are all full, on every machine, and what may be left over behind them.
const WHOLE: usize = 960;
const TAILS: [usize; 5] = [0, 4, 12, 20, 56];

/// A layer whose lists have `rows` rows, on a map of `n_pixels`. The second of its two levels keeps
/// everything, so that it can run by columns.
fn list_layer(rows: usize, n_pixels: usize) -> Graph {
    let (n_outputs, n_inputs) = (8, 16);
    let n_weights = n_outputs * n_inputs;
    let weights = join(n_weights, |i| i % 7 + 1);
    let levels = join(n_weights, |i| (i % n_inputs + i / n_inputs / rows) % 2);
    parse(&format!(
        "graph @layer levels(2) (%x: f32[1, {n_inputs}, 1, {n_pixels}]) -> (%y) {{
           tensor @w : f32[{n_outputs}, {n_inputs}, 1, 1] = [{weights}] level [{levels}] block [{rows}, 1, 1, 1]
           %y = conv2d %x {{weight=@w}} : f32[1, {n_outputs}, 1, {n_pixels}]
         }}"
    ))
}

/// A 3x3 window per channel, on a map of `size` squared.
fn depthwise_layer(stride: usize, size: usize) -> Graph {
    let n_channels = 4;
    let weights = join(n_channels * 9, |i| i % 5 + 1);
    let result = size / stride;
    parse(&format!(
        "graph @layer levels(1) (%x: f32[1, {n_channels}, {size}, {size}]) -> (%y) {{
           tensor @w : f32[{n_channels}, 1, 3, 3] = [{weights}]
           %y = conv2d %x {{weight=@w, strides=[{stride}, {stride}], pads=[1, 1, 1, 1], groups={n_channels}}} \
             : f32[1, {n_channels}, {result}, {result}]
         }}"
    ))
}

fn join(n: usize, value: impl Fn(usize) -> usize) -> String {
    let values: Vec<String> = (0..n).map(|i| value(i).to_string()).collect();
    values.join(", ")
}

fn parse(text: &str) -> Graph {
    parse_graph(text).unwrap_or_else(|e| panic!("{e:?}"))
}

/// The kernels for `graph`, with one schedule for all levels that can run so.
fn lowered(mut graph: Graph, compiler: &Compiler, schedule: &str) -> Program {
    let info = compiler.info();
    for pass in PIPELINE {
        (pass.run)(&mut graph, &info);
    }
    let schedule: Schedule = schedule.parse().unwrap();
    lower_with(&graph, "layer", &info, &Schedules::uniform(schedule)).unwrap()
}

/// What an innermost loop with multiply-adds consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Loop {
    n_multiply_adds: usize,
    n_loads: usize,
    n_statements: usize,
}

/// Those of a kernel, sorted.
fn kernel_loops(function: &Function) -> Vec<Loop> {
    fn count(body: &[Statement], is_counted: fn(&Expr) -> bool) -> usize {
        let is_counted =
            |s: &&Statement| matches!(s, Statement::Let { expr, .. } if is_counted(expr));
        body.iter().filter(is_counted).count()
    }
    fn visit(block: &[Statement], found: &mut Vec<Loop>) {
        for statement in block {
            match statement {
                Statement::For { body, .. } => {
                    let has_loop = body.iter().any(|s| matches!(s, Statement::For { .. }));
                    let n_multiply_adds = count(body, |e| matches!(e, Expr::MulAdd(..)));
                    if n_multiply_adds > 0 && !has_loop {
                        found.push(Loop {
                            n_multiply_adds,
                            n_loads: count(body, |e| matches!(e, Expr::Load { .. })),
                            n_statements: body.len() - n_multiply_adds,
                        });
                    }
                    visit(body, found);
                }
                Statement::If {
                    then, otherwise, ..
                } => {
                    visit(then, found);
                    visit(otherwise, found);
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    visit(&function.body, &mut found);
    found.sort_unstable();
    found
}

/// Mnemonics of multiplications: those that add to a register in place, and, where a sum begins with
/// a product, those that do not.
fn forms(compiler: &Compiler) -> &'static [&'static str] {
    let (lanes, has_fma) = (compiler.info().lanes, compiler.info().has_fma);
    let architecture = compiler.target.lexicon().architecture;
    match (architecture, compiler.backend.name()) {
        (Architecture::X86_64, _) if !has_fma => &["mulps"],
        // It has no others, and moves registers instead.
        (Architecture::X86_64, "cranelift") => &["vfmadd132ps", "vfmadd213ps"],
        (Architecture::X86_64, _) => &["vfmadd231ps", "vfmadd213ps", "vmulps"],
        (Architecture::Aarch64(_), _) => &["fmla", "fmul"],
        (Architecture::Riscv64(_), _) if lanes == 1 => &["fmadd.s", "fmul.s"],
        (Architecture::Riscv64(_), _) => &["vfmacc.v", "vfmadd.v", "vfmul.v"],
        (Architecture::Arm(_), _) if lanes == 1 => &["vfma.f32", "vmul.f32"],
        (Architecture::Arm(_), _) => &["vmla.f32", "vmul.f32"],
        (architecture, _) => panic!("{architecture}"),
    }
}

/// Whether an instruction reads or writes the stack or computes an address there.
fn touches_stack(compiler: &Compiler, instruction: &str) -> bool {
    let is_cranelift = compiler.backend.name() == "cranelift";
    let mut words = instruction.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| match word {
        // RISC-V's spilled vectors are as long as the machine says.
        "sp" | "rsp" | "vlenb" => true,
        // LLVM needs no frame pointer: a register like any other.
        "fp" | "rbp" => is_cranelift,
        _ => false,
    })
}

fn is_call(instruction: &str) -> bool {
    let mnemonic = instruction.split_whitespace().next();
    mnemonic.is_some_and(|m| matches!(m, "bl" | "blr" | "blx" | "call" | "callq" | "jal" | "jalr"))
}

/// Whether an instruction takes a lane out of a vector for an address: a code generator that has loaded indices as a
/// vector takes them apart again on the units that should multiply.
fn takes_lane_out(instruction: &str) -> bool {
    let (mnemonic, operands) = instruction
        .split_once(char::is_whitespace)
        .unwrap_or((instruction, ""));
    match mnemonic {
        // The target comes last.
        "movd" | "movq" | "vmovd" | "vmovq" => operands
            .split_once(',')
            .is_some_and(|(from, to)| from.contains("xmm") && !to.contains("xmm")),
        "umov" | "smov" | "vmov.u16" | "vmv.x.s" => true,
        "mov" => operands.starts_with('w') && operands.contains('['),
        _ => mnemonic.trim_start_matches('v').starts_with("pextr"),
    }
}

/// Instructions beside multiply-adds that a loop may have: one for each of the kernel's statements,
/// though many need none, and what the machine or the back end needs more.
fn max_others(compiler: &Compiler, kernel: Loop) -> usize {
    let architecture = compiler.target.lexicon().architecture;
    let is_cranelift = compiler.backend.name() == "cranelift";
    let more = match architecture {
        // A sum and a copy for each product.
        Architecture::X86_64 if is_cranelift || !compiler.info().has_fma => {
            2 * kernel.n_multiply_adds
        }
        Architecture::X86_64 => 0,
        // No offsets in addresses of vectors, or none used.
        Architecture::Riscv64(_) => kernel.n_loads,
        _ if is_cranelift => kernel.n_loads,
        _ => 0,
    };
    kernel.n_statements + more
}

/// What is checked of a layer's kernels.
struct Layer {
    title: String,
    graph: Graph,
    schedule: &'static str,
    /// Whether multiply-adds may be left out of whose results no lane is used.
    has_idle_lanes: bool,
    /// Whether [`max_others`] holds.
    is_lean: bool,
}

impl Layer {
    /// What is wrong with the kernels.
    fn failures(self, compiler: &Compiler) -> Vec<String> {
        let program = lowered(self.graph.clone(), compiler, self.schedule);
        let library = compiler.build(&program);
        let kernels = program.functions.iter().zip(&library.kernels);
        let failures = kernels.filter_map(|(function, text)| {
            let loops = kernel_loops(function);
            let error = self.check(compiler, &loops, &text.assembly).err()?;
            Some(format!("{compiler}: {}: {error}", self.title))
        });
        failures.collect()
    }

    /// Checks the assembly of a kernel with loops `kernel`.
    fn check(&self, compiler: &Compiler, kernel: &[Loop], assembly: &str) -> Result<(), String> {
        let mut loops: Vec<(usize, Vec<&str>)> = innermost_loops(assembly)
            .into_iter()
            .map(|body| (n_multiply_adds(compiler, &body), body))
            .filter(|(n, _)| *n > 0)
            .collect();
        // Of loops with as many multiply-adds, the one with more statements has more instructions.
        loops.sort_by_key(|(n, body)| (*n, body.len()));
        let is_right = |(kernel, (n, _)): (&Loop, &(usize, Vec<&str>))| match self.has_idle_lanes {
            true => (3 * kernel.n_multiply_adds..=4 * kernel.n_multiply_adds).contains(&(4 * n)),
            false => kernel.n_multiply_adds == *n,
        };
        if kernel.len() != loops.len() || !kernel.iter().zip(&loops).all(is_right) {
            let found: Vec<usize> = loops.iter().map(|(n, _)| *n).collect();
            return Err(format!("multiply-adds {found:?}, should be of {kernel:?}"));
        }
        let all = || loops.iter().flat_map(|(_, body)| body);
        if let Some(call) = all().find(|i| is_call(i)) {
            return Err(format!("calls: {call}"));
        }
        if let Some(taken) = all().find(|i| self.is_lean && takes_lane_out(i)) {
            return Err(format!("takes lanes apart: {taken}"));
        }
        let touching: Vec<&&str> = all().filter(|i| touches_stack(compiler, i)).collect();
        if touching.len() > self.max_stack_accesses(compiler) {
            return Err(format!("uses the stack: {touching:?}"));
        }
        let is_lean = self.is_lean && touching.is_empty();
        for (kernel, (n, body)) in kernel.iter().zip(&loops).filter(|_| is_lean) {
            let (n_others, most) = (body.len() - n, max_others(compiler, *kernel));
            if n_others > most {
                return Err(format!(
                    "{n_others} instructions beside {n} multiply-adds, {most} do"
                ));
            }
        }
        Ok(())
    }

    fn max_stack_accesses(&self, compiler: &Compiler) -> usize {
        let compiler = compiler.to_string();
        let is_this =
            |e: &&Exception| compiler.starts_with(e.compiler) && self.title.starts_with(e.layer);
        EXCEPTIONS.iter().find(is_this).map_or(0, |e| e.n_accesses)
    }
}

fn n_multiply_adds(compiler: &Compiler, body: &[&str]) -> usize {
    let forms = forms(compiler);
    // Apple's assembly puts the type behind: `fmla.4s`.
    let is_form = |i: &&&str| forms.iter().any(|form| i.starts_with(form));
    body.iter().filter(is_form).count()
}

/// Every layer for every processor.
fn check(layers: impl Fn() -> Vec<Layer>) {
    let mut failures = Vec::new();
    for compiler in Compiler::every_processor() {
        for layer in layers() {
            failures.extend(layer.failures(&compiler));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn list_convolutions_stay_in_registers() {
    check(|| {
        let shapes = LISTS
            .iter()
            .flat_map(|&list| TAILS.map(|tail| (list, tail)));
        let layer = |((rows, schedule), tail)| Layer {
            title: format!("lists of {rows}, {schedule}, {tail} pixels left"),
            graph: list_layer(rows, WHOLE + tail),
            schedule,
            has_idle_lanes: false,
            is_lean: true,
        };
        shapes.map(layer).collect()
    });
}

#[test]
fn depthwise_convolutions_stay_in_registers() {
    check(|| {
        let shapes = [1, 2]
            .into_iter()
            .flat_map(|s| [14, 56, 112].map(|size| (s, size)));
        let layer = |(stride, size)| Layer {
            title: format!("depthwise of stride {stride}, {size} squared"),
            graph: depthwise_layer(stride, size),
            schedule: "stored/1",
            // Of the last column of an odd window, every other lane.
            has_idle_lanes: stride == 2,
            // Strides shuffle lanes, which takes each machine another number of instructions.
            is_lean: false,
        };
        shapes.map(layer).collect()
    });
}

#[test]
fn a_spill_is_found() {
    let assembly = "\
        \tpushq\t%rbx
        .LBB0_1:
        \tvmovaps\t%ymm3, 32(%rsp)
        .LBB0_2:
        \tvmovups\t(%rdi), %ymm1
        \tvfmadd231ps\t32(%rsp), %ymm1, %ymm0
        \tdecq\t%rcx
        \tjne\t.LBB0_2
        \tdecq\t%rdx
        \tjne\t.LBB0_1
        \tpopq\t%rbx
        \tretq";
    let loops = innermost_loops(assembly);
    assert_eq!(loops.len(), 1);
    assert_eq!(loops[0].len(), 4);
    for compiler in Compiler::of("x86_64", None) {
        let touching = loops[0].iter().filter(|i| touches_stack(&compiler, i));
        assert_eq!(touching.count(), 1, "{compiler}");
    }
}
