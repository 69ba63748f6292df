//! The inner loops of list micro-kernels, read from the assembly: as many multiply-adds as the tile
//! has accumulators, and no stack access. A code generator that spills there is several times slower
//! and still right, so no other test would notice.

mod support;

use condensec_backends::{Target, find_backend, targets};
use support::loaded::build;
use support::micro_kernel::{Tile, list_kernel, list_program};
use support::run_on::{all_targets, title};

/// Mnemonics of multiply-adds; on x86 without FMA, its multiplications.
const MULTIPLY_ADDS: [&str; 5] = ["fmla ", "vfmacc.vf ", "vfmadd", "mulps ", "fmadd.s "];

/// How assembly names memory relative to the stack.
const STACK: [&str; 5] = ["%rsp", "%rbp", "[sp", "[fp", "(sp)"];

/// Instructions of the basic block with the most multiply-adds.
fn hot_block(assembly: &str) -> Vec<&str> {
    let blocks = assembly.split("block").map(|block| block.lines().skip(1).map(str::trim).collect());
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
    build(&list_program(tile, 16), target).kernels[0].assembly.clone()
}

#[test]
fn tiles_that_fit_stay_in_registers() {
    let tiles = [
        (1, 1), (1, 4), (1, 8), (1, 12), (2, 2), (2, 4), (2, 5), (3, 1), (3, 3), (4, 1), (4, 2), (4, 3),
        (4, 5), (4, 6), (5, 2), (8, 1), (8, 3),
    ];
    let backend = find_backend(None).unwrap();
    let mut n_checked = 0;
    for target in all_targets() {
        let info = backend.target_info(&target);
        for (rows, vectors) in tiles {
            if rows * vectors + rows.min(vectors) + 1 > info.vector_registers {
                continue;
            }
            let tile = Tile { rows, vectors, lanes: info.lanes };
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
        let assembly = inner_loop(&target, Tile { rows: tile.0, vectors: tile.1, lanes });
        let hot = hot_block(&assembly);
        assert!(hot.iter().any(|i| i.contains(expected)), "{expected}:\n{}", hot.join("\n"));
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
    let function = list_kernel(Tile { rows: 1, vectors: 1, lanes: 8 });
    let mut program = list_program(Tile { rows: 1, vectors: 1, lanes: 4 }, 4);
    program.functions[0] = function;
    let options = condensec_backends::LibraryOptions::default();
    let backend = find_backend(None).unwrap();
    let error = condensec_backends::build_library(&program, &target, backend, &options);
    assert_eq!(
        error.unwrap_err().to_string(),
        "back end cranelift, kernel list__list_1x1: no f32x8: vectors have 4 lanes"
    );
}
