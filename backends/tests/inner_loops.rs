//! The inner loops of list micro-kernels, read from the assembly: as many multiply-adds as the tile
//! has accumulators, and no stack access. A code generator that spills there is several times slower
//! and still right, so no other test would notice.

mod support;

use condensec_backends::{Target, find_backend, targets};
use condensec_ir::kernel::{FloatUnaryOp, FunctionBuilder, Value};
use support::loaded::build;
use support::micro_kernel::{Tile, list_kernel, list_program};
use support::programs::map;
use support::run_on::{instruction_sets, title};

/// Mnemonics of multiply-adds; on x86 without FMA, its multiplications.
const MULTIPLY_ADDS: [&str; 5] = ["fmla ", "vfmacc.vf ", "vfmadd", "mulps ", "fmadd.s "];

/// How assembly names memory relative to the stack.
const STACK: [&str; 5] = ["%rsp", "%rbp", "[sp", "[fp", "(sp)"];

/// Instructions of the basic block with the most multiply-adds.
fn hot_block(assembly: &str) -> Vec<&str> {
    let blocks = assembly
        .split("block")
        .map(|block| block.lines().skip(1).map(str::trim).collect());
    let count = |block: &Vec<&str>| block.iter().filter(|i| is_multiply_add(i)).count();
    blocks.max_by_key(count).unwrap()
}

fn is_multiply_add(instruction: &str) -> bool {
    MULTIPLY_ADDS.iter().any(|m| instruction.starts_with(m))
}

fn has_stack_access(instruction: &str) -> bool {
    STACK.iter().any(|s| instruction.contains(s))
}

fn inner_loop(target: &Target, tile: Tile) -> String {
    build(&list_program(tile, 16), target).kernels[0]
        .assembly
        .clone()
}

#[test]
fn tiles_that_fit_stay_in_registers() {
    let tiles = [
        (1, 1),
        (1, 4),
        (1, 8),
        (1, 12),
        (2, 2),
        (2, 4),
        (2, 5),
        (3, 1),
        (3, 3),
        (4, 1),
        (4, 2),
        (4, 3),
        (4, 5),
        (4, 6),
        (5, 2),
        (8, 1),
        (8, 3),
    ];
    let mut n_checked = 0;
    for target in instruction_sets() {
        let backend = find_backend(None, &target).unwrap();
        let info = backend.target_info(&target);
        for (rows, vectors) in tiles {
            if rows * vectors + rows.min(vectors) + 1 > info.vector_registers {
                continue;
            }
            let tile = Tile {
                rows,
                vectors,
                lanes: info.lanes,
            };
            let assembly = inner_loop(&target, tile);
            let hot = hot_block(&assembly);
            let n = hot.iter().filter(|i| is_multiply_add(i)).count();
            let context = || format!("{} {rows}x{vectors}:\n{}", title(&target), hot.join("\n"));
            assert_eq!(n, rows * vectors, "{}", context());
            assert!(!hot.iter().any(|i| has_stack_access(i)), "{}", context());
            n_checked += 1;
        }
    }
    assert!(n_checked > 60);
}

#[test]
fn weights_are_multiplied_by_lane_where_the_machine_can() {
    let check = |target: &str, cpu: Option<&str>, tile: (usize, usize), expected: &str| {
        let target = targets::resolve(target, cpu, &[] as &[&str]).unwrap();
        let lanes = target.info().lanes;
        let assembly = inner_loop(
            &target,
            Tile {
                rows: tile.0,
                vectors: tile.1,
                lanes,
            },
        );
        let hot = hot_block(&assembly);
        assert!(
            hot.iter().any(|i| i.contains(expected)),
            "{expected}:\n{}",
            hot.join("\n")
        );
    };
    check("aarch64", None, (4, 5), ".s[3]");
    check("riscv64", Some("rv64gcv"), (4, 3), "vfmacc.vf");
    check("riscv64", None, (4, 3), "fmadd.s");
    check("x86_64", None, (4, 2), "vpshufd $0xff");
    // A vector that is used once is an operand in memory.
    check("x86_64", None, (1, 8), "vfmadd132ps 0x70(");
}

#[test]
fn kernels_of_other_widths_are_refused() {
    let target = targets::resolve("x86_64", None, &[] as &[&str]).unwrap();
    let function = list_kernel(Tile {
        rows: 1,
        vectors: 1,
        lanes: 8,
    });
    let mut program = list_program(
        Tile {
            rows: 1,
            vectors: 1,
            lanes: 4,
        },
        4,
    );
    program.functions[0] = function;
    let options = condensec_backends::LibraryOptions::default();
    let backend = find_backend(None, &target).unwrap();
    let error = condensec_backends::build_library(&program, &target, backend, &options);
    assert_eq!(
        error.unwrap_err().to_string(),
        "back end cranelift, kernel list__list_1x1: no f32x8: vectors have 4 lanes"
    );
}

/// Vector instructions of a kernel that computes `body` of two vectors from memory, without its two
/// loads and its store.
fn n_vector_instructions(
    target: &Target,
    body: impl Fn(&mut FunctionBuilder, Value, Value) -> Value,
) -> usize {
    let program = map("pattern", 8, 4, |f, x, y| {
        // Stored as well, so that neither load can be part of another instruction.
        let [a, b] = [0, 16].map(|at| f.load_lanes(4, x, at));
        f.store_lanes(a, y, 0);
        f.store_lanes(b, y, 0);
        let value = body(f, a, b);
        f.store_lanes(value, y, 0);
    });
    let library = build(&program, target);
    let assembly = &library.kernels[0].assembly;
    assembly
        .lines()
        .filter(|l| l.trim_start().starts_with('v'))
        .count()
        - 5
}

#[test]
fn x86_has_one_instruction_for_what_it_has_an_instruction_for() {
    let target = targets::resolve("x86_64", None, &[] as &[&str]).unwrap();
    let count = |body: &dyn Fn(&mut FunctionBuilder, Value, Value) -> Value| {
        n_vector_instructions(&target, body)
    };
    assert_eq!(count(&|f, a, b| f.fmin(a, b)), 1);
    assert_eq!(count(&|f, a, b| f.fmax(a, b)), 1);
    assert_eq!(count(&|f, a, _| f.float_unary(FloatUnaryOp::Nearest, a)), 1);
    assert_eq!(count(&|f, a, _| f.float_unary(FloatUnaryOp::Sqrt, a)), 1);
    assert_eq!(count(&|f, a, b| f.mul_add(a, b, b)), 1);
    let there_and_back = |f: &mut FunctionBuilder, a: Value, _| {
        let int = f.float_to_int(a);
        f.int_to_float(int)
    };
    assert_eq!(count(&there_and_back), 2);
}
