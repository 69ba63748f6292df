//! Memory, loops, conditionals, calls and whole micro-kernels: machine code against the interpreter.

use crate::support::agreement::{
    Agreement, FLOATS, LANES, Output, check, cycle, integers, load_float, program,
};
use crate::support::micro_kernel::{Tile, list_program};
use crate::support::programs::{Widths, add_step, empty, kernel, port};
use condensec_ir::kernel::{
    Argument, CompareOp, DataId, FloatUnaryOp, Function, FunctionBuilder, MemoryType, Program,
    Symbol, Value,
};

#[test]
fn memory_types() {
    let program = |widths: Widths| {
        // The same bytes for every width.
        let data = vec![integers(Widths::WIDE)];
        let mut program = program("memory_types", widths, data, 1, |f, _, _, out| {
            let table = f.address(Symbol::Data(DataId(0), 8));
            for offset in [0, 1, 2, 3, 77, 88] {
                let byte = f.load(MemoryType::U8, table, offset);
                out.index(f, byte);
            }
            for offset in [0, 2, 66, 80] {
                let short = f.load(MemoryType::U16, table, offset);
                out.index(f, short);
            }
            for offset in [0, 4, 56, 80] {
                let word = f.load(MemoryType::U32, table, offset);
                out.index(f, word);
                let word = f.load(MemoryType::I32, table, offset);
                out.i32(f, word);
                let word = f.atomic_load(table, offset);
                out.i32(f, word);
            }
            let behind = f.ptr_add_const(table, 80);
            let back = f.index(-16);
            let back = f.ptr_add(behind, back);
            let value = f.load(MemoryType::Index, back, 0);
            out.index(f, value);
            let (a, b) = (f.ptr_to_index(behind), f.ptr_to_index(table));
            let distance = f.sub(a, b);
            out.index(f, distance);
        });
        program.outputs.push(port("scratch", &[16]));
        add_step(&mut program, stores(widths), &[]);
        program
    };
    check(program, &[&cycle(&FLOATS)], Agreement::Exact);
}

/// Stores of every type go through the arena and come back as words.
fn stores(widths: Widths) -> Function {
    kernel("stores", |f, [bases, ..]| {
        let arena = f.load(MemoryType::Ptr, bases, 0);
        let y = f.load(MemoryType::Ptr, bases, widths.word(3));
        let value = f.index((0x0123_4567_89ab_cdef & widths.max_index()) as i64);
        let zero = f.i32(0);
        for at in 0..16 {
            f.store(MemoryType::I32, zero, arena, 4 * at);
        }
        f.store(MemoryType::U8, value, arena, 1);
        f.store(MemoryType::U16, value, arena, 10);
        f.store(MemoryType::U32, value, arena, 20);
        f.store(MemoryType::Index, value, arena, 24);
        let word = f.i32(-2);
        f.store(MemoryType::I32, word, arena, 32);
        f.atomic_store(word, arena, 44);
        f.store(MemoryType::Ptr, arena, arena, 48);
        let pointer = f.load(MemoryType::Ptr, arena, 48);
        let float = f.f32(1.25);
        f.store(MemoryType::F32, float, pointer, 56);
        let null = f.index(0);
        f.store(MemoryType::Index, null, arena, 48);
        f.for_range(16, |f, i| {
            let from = f.ptr_offset(arena, i, 4);
            let to = f.ptr_offset(y, i, 4);
            let word = f.load(MemoryType::F32, from, 0);
            f.store(MemoryType::F32, word, to, 0);
        });
    })
}

#[test]
fn loops() {
    let program = |widths| {
        program("loops", widths, vec![], 1, |f, _, x, out| {
            let zero = f.index(0);
            // Zero trips, also with low above high, and bounds that only run time knows.
            let one = f.load(MemoryType::F32, x, 8);
            let one = f.float_to_int(one);
            let one = f.i32_to_index(one);
            let constant = |f: &mut FunctionBuilder, v| f.index(v);
            let bounds: Vec<(Value, Value, usize)> =
                [(0, 0, 1), (3, 3, 1), (5, 2, 1), (0, 7, 3), (2, 9, 1)]
                    .into_iter()
                    .map(|(low, high, step)| (constant(f, low), constant(f, high), step))
                    .collect();
            for (low, high, step) in bounds {
                for runtime in [false, true] {
                    let (low, high) = match runtime {
                        false => (low, high),
                        true => (f.mul(low, one), f.mul(high, one)),
                    };
                    let sums = f.for_loop(low, high, step, &[zero, one], |f, i, carried| {
                        let sum = f.add(carried[0], i);
                        let product = f.mul_const(carried[1], 3);
                        vec![sum, product]
                    });
                    out.index(f, sums[0]);
                    out.index(f, sums[1]);
                }
            }
            // Carried values that swap places, floats and integers.
            let high = f.index(7);
            let (a, b) = (load_float(f, x, 2), load_float(f, x, 4));
            let swapped = f.for_loop(zero, high, 1, &[a, b, zero, one], |f, _, c| {
                let sum = f.add(c[2], c[3]);
                let float = f.fadd(c[0], c[1]);
                vec![c[1], float, c[3], sum]
            });
            for &value in &swapped[..2] {
                out.f32(f, value);
            }
            for &value in &swapped[2..] {
                out.index(f, value);
            }
            // A carried value that is the same before and after, or another one's argument.
            let rotated = f.for_loop(zero, high, 1, &[a, b, a], |_, _, c| vec![c[2], c[0], c[1]]);
            for value in rotated {
                out.f32(f, value);
            }
            // Loops in loops, the inner one bounded by the outer induction variable.
            let n = f.index(5);
            let total = f.for_loop(zero, n, 1, &[zero], |f, i, c| {
                f.for_loop(zero, i, 1, &[c[0]], |f, j, c| {
                    let product = f.mul(i, j);
                    // Invariant in the inner loop, and computed twice.
                    let again = f.mul_const(i, 3);
                    let sum = f.add(c[0], product);
                    let twice = f.mul_const(i, 3);
                    let difference = f.sub(again, twice);
                    let sum = f.add(sum, difference);
                    vec![f.add(sum, again)]
                })
            });
            out.index(f, total[0]);
        })
    };
    check(program, &[&cycle(&FLOATS)], Agreement::Exact);
}

#[test]
fn conditionals() {
    let program = |widths| {
        program("conditionals", widths, vec![], 1, |f, _, x, out| {
            let zero = f.f32(0.0);
            for i in 0..FLOATS.len() {
                let a = load_float(f, x, i);
                let negative = f.compare(CompareOp::Lt, a, zero);
                let results = f.if_else(
                    negative,
                    |f| {
                        let one = f.f32(1.0);
                        let small = f.compare(CompareOp::Lt, a, one);
                        let inner = f.if_else(
                            small,
                            |f| vec![f.float_unary(FloatUnaryOp::Neg, a)],
                            |_| vec![a],
                        );
                        vec![inner[0], zero]
                    },
                    |f| {
                        // A loop in an arm, which reads a value from around it.
                        let (low, high) = (f.index(0), f.index(3));
                        let sum = f.for_loop(low, high, 1, &[a], |f, _, c| vec![f.fadd(c[0], a)]);
                        vec![zero, sum[0]]
                    },
                );
                out.f32(f, results[0]);
                out.f32(f, results[1]);
                // Without results: a store in one arm only.
                let at = out.n;
                out.f32(f, zero);
                f.if_else(
                    negative,
                    |f| {
                        f.store(MemoryType::F32, a, out.base, 4 * at);
                        vec![]
                    },
                    |_| vec![],
                );
            }
        })
    };
    check(program, &[&cycle(&FLOATS)], Agreement::Exact);
}

/// Scalars that are splatted are loaded four at a time where that is right: not across a store, and
/// only if they are adjacent and nothing else needs them.
#[test]
fn splatted_loads() {
    check(splatted_loads_program, &[&FLOATS], Agreement::Exact);
}

fn splatted_loads_program(widths: Widths) -> Program {
    let mut program = empty("splatted_loads", 1);
    program.inputs.push(port("x", &[FLOATS.len()]));
    program.arena_bytes = 256;
    let mut n = 0;
    let function = kernel("k", |f, [bases, ..]| {
        let arena = f.load(MemoryType::Ptr, bases, 0);
        let [x, base] = [1, 2].map(|i| f.load(MemoryType::Ptr, bases, widths.word(i)));
        let mut out = Output { base, n: 0, widths };
        for at in (0..64).step_by(16) {
            let values = f.load_lanes(4, x, at);
            f.store_lanes(values, arena, at);
        }
        // Adjacent; adjacent backwards; with a gap; from two bases.
        let second = f.ptr_add_const(arena, 8);
        let places = [
            [(arena, 0), (arena, 4), (arena, 8), (arena, 12)],
            [(arena, 12), (arena, 8), (arena, 4), (arena, 0)],
            [(arena, 0), (arena, 4), (arena, 12), (arena, 16)],
            [(arena, 0), (arena, 4), (second, 8), (second, 12)],
        ];
        for place in places {
            let scalars = place.map(|(base, at)| f.load(MemoryType::F32, base, at));
            for scalar in scalars {
                let splat = f.splat(scalar, 4);
                out.vector(f, splat);
            }
        }
        // A store between the loads, and one between loads and splats.
        let other = f.f32(7.25);
        let first = [0, 4].map(|at| f.load(MemoryType::F32, arena, at));
        f.store(MemoryType::F32, other, arena, 8);
        let second = [8, 12].map(|at| f.load(MemoryType::F32, arena, at));
        f.store(MemoryType::F32, other, arena, 12);
        for scalar in first.into_iter().chain(second) {
            let splat = f.splat(scalar, 4);
            out.vector(f, splat);
        }
        // One of them is needed as a scalar too.
        let scalars = [16, 20, 24, 28].map(|at| f.load(MemoryType::F32, arena, at));
        for scalar in scalars {
            let splat = f.splat(scalar, 4);
            out.vector(f, splat);
        }
        out.f32(f, scalars[2]);
        // A store in the body of a loop between two halves.
        let first = [32, 36].map(|at| f.load(MemoryType::F32, arena, at));
        f.for_range(2, |f, i| {
            let at = f.ptr_offset(arena, i, 4);
            f.store(MemoryType::F32, other, at, 40);
        });
        let second = [40, 44].map(|at| f.load(MemoryType::F32, arena, at));
        for scalar in first.into_iter().chain(second) {
            let splat = f.splat(scalar, 4);
            out.vector(f, splat);
        }
        n = out.n;
    });
    program.outputs.push(port("y", &[n]));
    add_step(&mut program, function, &[]);
    program
}

/// `y[i] = 2 x[i]` over `begin..end`; called by others through its address.
fn double() -> Function {
    kernel("double", |f, [x, y, begin, end]| {
        let two = f.f32(2.0);
        f.for_each(begin, end, 1, |f, i| {
            let from = f.ptr_offset(x, i, 4);
            let value = f.load(MemoryType::F32, from, 0);
            let value = f.fmul(value, two);
            let to = f.ptr_offset(y, i, 4);
            f.store(MemoryType::F32, value, to, 0);
        });
    })
}

#[test]
fn indirect_calls() {
    check(indirect_calls_program, &[&FLOATS], Agreement::Exact);
}

fn indirect_calls_program(widths: Widths) -> Program {
    let mut program = empty("indirect_calls", 1);
    program.inputs.push(port("x", &[FLOATS.len()]));
    program.outputs.push(port("y", &[FLOATS.len()]));
    let double = program.add_kernel(double());
    // The target comes once as an address in the code and once from the argument block.
    let caller = kernel("caller", |f, [bases, arguments, begin, _]| {
        let [x, y] = [1, 2].map(|i| f.load(MemoryType::Ptr, bases, widths.word(i)));
        let target = f.address(Symbol::Function(double));
        let middle = f.index(10);
        f.call_indirect(target, &[x, y, begin, middle]);
        let target = f.load(MemoryType::Ptr, arguments, 0);
        let end = f.load(MemoryType::Index, arguments, widths.word(1));
        f.call_indirect(target, &[x, y, middle, end]);
    });
    let arguments = [
        Argument::Address(Symbol::Function(double)),
        Argument::Index(FLOATS.len() as u64),
    ];
    add_step(&mut program, caller, &arguments);
    program
}

#[test]
fn libm_calls() {
    let program = |widths| {
        program("libm_calls", widths, vec![], 1, |f, _, x, out| {
            for i in 0..FLOATS.len() {
                let a = load_float(f, x, i);
                for name in ["erff", "logf", "log1pf"] {
                    let value = f.call_libm(name, &[a]);
                    out.f32(f, value);
                }
                let b = load_float(f, x, 4);
                let value = f.call_libm("powf", &[a, b]);
                out.f32(f, value);
            }
        })
    };
    check(program, &[&cycle(&FLOATS)], Agreement::Close(1e-6));
}

#[test]
fn list_kernels() {
    for (rows, vectors) in [(4, 2), (4, 3), (2, 5), (1, 8), (3, 1)] {
        for lanes in [1].into_iter().chain(LANES) {
            let tile = Tile {
                rows,
                vectors,
                lanes,
            };
            let program = |widths| list_program(tile, 37, widths);
            let x: Vec<f32> = (0..37 * tile.pixels())
                .map(|i| (i % 29) as f32 * 0.125 - 1.0)
                .collect();
            check(program, &[&x], Agreement::Exact);
        }
    }
}

#[test]
fn an_empty_list() {
    let tile = Tile {
        rows: 4,
        vectors: 2,
        lanes: 4,
    };
    let program = |widths| list_program(tile, 0, widths);
    check(program, &[&[]], Agreement::Exact);
}
