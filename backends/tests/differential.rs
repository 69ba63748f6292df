//! Machine code against the checked interpreter: every expression and statement of the kernel IR, with
//! edge values, on every target that this machine can run.

mod support;

use condensec_ir::kernel::{
    Argument, CompareOp, Data, FloatBinaryOp, FloatUnaryOp, Function, FunctionBuilder, IntBinaryOp,
    Machine, MemoryType, Program, Section, Symbol, Type, Value,
};
use condensec_ir::tensor::LevelId;
use support::micro_kernel::{Tile, list_program};
use support::programs::{add_step, empty, kernel, port};
use support::run_on::{all_targets, run_on, title};

/// Edge values of f32.
const FLOATS: [f32; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.4999998,
    1e-45,
    -1e-45,
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    8388607.5,
    8388609.0,
    -8388607.5,
    16777216.0,
    1e10,
    -0.49999997,
];

/// Edge values of indices; the low half is used as i32.
const INTEGERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    7,
    31,
    100,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x0123_4567_89ab_cdef,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

const UNARY: [FloatUnaryOp; 6] = [
    FloatUnaryOp::Abs,
    FloatUnaryOp::Ceil,
    FloatUnaryOp::Floor,
    FloatUnaryOp::Nearest,
    FloatUnaryOp::Neg,
    FloatUnaryOp::Sqrt,
];

const BINARY: [FloatBinaryOp; 6] = [
    FloatBinaryOp::Add,
    FloatBinaryOp::Div,
    FloatBinaryOp::Max,
    FloatBinaryOp::Min,
    FloatBinaryOp::Mul,
    FloatBinaryOp::Sub,
];

const COMPARE: [CompareOp; 4] = [CompareOp::Eq, CompareOp::Ge, CompareOp::Lt, CompareOp::Ne];

const INTEGER: [IntBinaryOp; 12] = [
    IntBinaryOp::Add,
    IntBinaryOp::And,
    IntBinaryOp::DivU,
    IntBinaryOp::MaxU,
    IntBinaryOp::MinU,
    IntBinaryOp::Mul,
    IntBinaryOp::Or,
    IntBinaryOp::RemU,
    IntBinaryOp::Shl,
    IntBinaryOp::ShrU,
    IntBinaryOp::Sub,
    IntBinaryOp::Xor,
];

/// How results may differ.
#[derive(Clone, Copy, PartialEq)]
enum Agreement {
    /// Bit by bit, but any NaN is as good as another.
    Exact,
    /// Up to a relative error: another libm, or a multiply-add that rounds twice.
    Close(f32),
}

fn agree(want: f32, got: f32, agreement: Agreement) -> bool {
    match agreement {
        _ if want.is_nan() && got.is_nan() => true,
        Agreement::Exact => want.to_bits() == got.to_bits(),
        Agreement::Close(error) => want == got || (want - got).abs() <= error * want.abs(),
    }
}

fn check(program: &Program, inputs: &[&[f32]], agreement: Agreement) {
    let want = Machine::run(program, LevelId(0), inputs).unwrap();
    for target in all_targets() {
        let needs_vectors = program.functions.iter().flat_map(|f| &f.types).any(is_vector);
        if needs_vectors && target.info().lanes == 1 {
            continue;
        }
        let has_fma = target.info().has_fma;
        let agreement = match agreement {
            Agreement::Close(_) => agreement,
            Agreement::Exact if has_fma || !uses_mul_add(program) => Agreement::Exact,
            Agreement::Exact => Agreement::Close(1e-6),
        };
        let Some(got) = run_on(&target, program, 0, inputs) else { continue };
        for (port, (want, got)) in program.outputs.iter().zip(want.iter().zip(&got)) {
            assert_eq!(want.len(), got.len());
            for (i, (&want, &got)) in want.iter().zip(got).enumerate() {
                assert!(
                    agree(want, got, agreement),
                    "{}: {}: {}[{i}] is {got:?} ({:#010x}), should be {want:?} ({:#010x})",
                    title(&target),
                    program.name,
                    port.name,
                    got.to_bits(),
                    want.to_bits(),
                );
            }
        }
    }
}

fn is_vector(ty: &Type) -> bool {
    matches!(ty, Type::Vector(_) | Type::IntVector(_))
}

fn uses_mul_add(program: &Program) -> bool {
    program.functions.iter().any(|f| format!("{f:?}").contains("MulAdd"))
}

/// Writes results one after the other.
struct Output {
    base: Value,
    n: usize,
}

impl Output {
    fn f32(&mut self, f: &mut FunctionBuilder, value: Value) {
        f.store(MemoryType::F32, value, self.base, 4 * self.n);
        self.n += 1;
    }

    fn i32(&mut self, f: &mut FunctionBuilder, value: Value) {
        let float = f.bitcast(value);
        self.f32(f, float);
    }

    fn index(&mut self, f: &mut FunctionBuilder, value: Value) {
        let low = f.index_to_i32(value);
        self.i32(f, low);
        let shift = f.index(32);
        let high = f.int(IntBinaryOp::ShrU, value, shift);
        let high = f.index_to_i32(high);
        self.i32(f, high);
    }

    fn bool(&mut self, f: &mut FunctionBuilder, value: Value) {
        let (one, zero) = (f.i32(1), f.i32(0));
        let number = f.select(value, one, zero);
        self.i32(f, number);
    }

    fn vector(&mut self, f: &mut FunctionBuilder, value: Value) {
        f.store_lanes(value, self.base, 4 * self.n);
        self.n += 4;
    }
}

/// A program of one kernel with inputs `x` of `FLOATS` and an output as long as the kernel writes.
fn program(
    name: &str,
    data: Vec<Data>,
    body: impl FnOnce(&mut FunctionBuilder, Value, &mut Output),
) -> Program {
    let mut program = empty(name, 1);
    program.inputs.push(port("x", &[FLOATS.len()]));
    program.arena_bytes = 256;
    for data in data {
        program.add_data(data);
    }
    let mut n = 0;
    let function = kernel("k", |f, [bases, ..]| {
        let x = f.load(MemoryType::Ptr, bases, 8);
        let base = f.load(MemoryType::Ptr, bases, 16);
        let mut output = Output { base, n: 0 };
        body(f, x, &mut output);
        n = output.n;
    });
    program.outputs.push(port("y", &[n]));
    add_step(&mut program, function, &[]);
    program
}

fn integers() -> Data {
    Data {
        name: "integers".into(),
        is_exported: false,
        section: Section::Tables,
        align: 8,
        bytes: INTEGERS.iter().flat_map(|v| v.to_le_bytes()).collect(),
        relocations: Vec::new(),
    }
}

fn load_float(f: &mut FunctionBuilder, x: Value, i: usize) -> Value {
    f.load(MemoryType::F32, x, 4 * i)
}

#[test]
fn float_scalars() {
    let program = program("float_scalars", vec![], |f, x, out| {
        for i in 0..FLOATS.len() {
            let a = load_float(f, x, i);
            for op in UNARY {
                let value = f.float_unary(op, a);
                out.f32(f, value);
            }
            let bits = f.bitcast(a);
            out.i32(f, bits);
            for j in 0..FLOATS.len() {
                let b = load_float(f, x, j);
                for op in BINARY {
                    let value = f.float(op, a, b);
                    out.f32(f, value);
                }
                for op in COMPARE {
                    let value = f.compare(op, a, b);
                    out.bool(f, value);
                }
                let less = f.compare(CompareOp::Lt, a, b);
                let value = f.select(less, a, b);
                out.f32(f, value);
            }
        }
    });
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn float_vectors() {
    let program = program("float_vectors", vec![], |f, x, out| {
        for i in (0..FLOATS.len()).step_by(4) {
            let a = f.load_lanes(4, x, 4 * i);
            for op in UNARY {
                let value = f.float_unary(op, a);
                out.vector(f, value);
            }
            // Lanes against each other: every pair, by an unaligned load.
            for j in 0..FLOATS.len() - 4 {
                let b = f.load_lanes(4, x, 4 * j);
                for op in BINARY {
                    let value = f.float(op, a, b);
                    out.vector(f, value);
                }
            }
            for lane in 0..4 {
                let scalar = f.extract(a, lane);
                out.f32(f, scalar);
                let splat = f.splat(scalar, 4);
                out.vector(f, splat);
            }
            let scalar = load_float(f, x, i);
            let splat = f.splat(scalar, 4);
            out.vector(f, splat);
        }
        let constant = f.f32_like(x, -0.0);
        let splat = f.splat(constant, 4);
        out.vector(f, splat);
    });
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn mul_add() {
    let program = program("mul_add", vec![], |f, x, out| {
        for (i, j, k) in [(0, 1, 2), (4, 5, 6), (9, 9, 3), (19, 9, 22), (15, 2, 16), (17, 0, 0)] {
            let [a, b, c] = [i, j, k].map(|at| load_float(f, x, at));
            let value = f.mul_add(a, b, c);
            out.f32(f, value);
        }
        let [a, b, c] = [0, 4, 8].map(|at| f.load_lanes(4, x, 4 * at));
        for (a, b, c) in [(a, b, c), (c, b, a), (b, b, b)] {
            let value = f.mul_add(a, b, c);
            out.vector(f, value);
        }
        let scalar = load_float(f, x, 9);
        let splat = f.splat(scalar, 4);
        let value = f.mul_add(splat, b, c);
        out.vector(f, value);
        let value = f.mul_add(b, splat, c);
        out.vector(f, value);
    });
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn integer_arithmetic() {
    let program = program("integer_arithmetic", vec![integers()], |f, _, out| {
        let table = f.address(Symbol::Data(condensec_ir::kernel::DataId(0), 0));
        let load = |f: &mut FunctionBuilder, i: usize| f.load(MemoryType::Index, table, 8 * i);
        for i in 0..INTEGERS.len() {
            let a = load(f, i);
            let a32 = f.index_to_i32(a);
            let wide = f.i32_to_index(a32);
            out.index(f, wide);
            for j in 0..INTEGERS.len() {
                let b = load(f, j);
                let b32 = f.index_to_i32(b);
                for op in COMPARE {
                    let value = f.compare(op, a, b);
                    out.bool(f, value);
                    let value = f.compare(op, a32, b32);
                    out.bool(f, value);
                }
                for op in INTEGER {
                    let divides = matches!(op, IntBinaryOp::DivU | IntBinaryOp::RemU);
                    let shifts = matches!(op, IntBinaryOp::Shl | IntBinaryOp::ShrU);
                    let b_value = INTEGERS[j];
                    if !(divides && b_value == 0 || shifts && b_value >= 64) {
                        let value = f.int(op, a, b);
                        out.index(f, value);
                        // The same with an operand that the compiler sees.
                        let constant = f.index(b_value as i64);
                        let value = f.int(op, a, constant);
                        out.index(f, value);
                    }
                    let b_value = b_value as u32;
                    if !(divides && b_value == 0 || shifts && b_value >= 32) {
                        let value = f.int(op, a32, b32);
                        out.i32(f, value);
                        let constant = f.i32(b_value as i32);
                        let value = f.int(op, a32, constant);
                        out.i32(f, value);
                    }
                }
            }
        }
    });
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn division_by_constants() {
    let divisors =
        [1, 2, 3, 5, 6, 7, 9, 10, 12, 25, 56, 64, 125, 641, 1 << 32, (1 << 32) + 1, (1 << 63) + 1];
    let program = program("division_by_constants", vec![integers()], |f, _, out| {
        let table = f.address(Symbol::Data(condensec_ir::kernel::DataId(0), 0));
        for i in 0..INTEGERS.len() {
            let a = f.load(MemoryType::Index, table, 8 * i);
            for divisor in divisors {
                let divisor: u64 = divisor;
                let b = f.index(divisor as i64);
                for op in [IntBinaryOp::DivU, IntBinaryOp::RemU] {
                    let value = f.int(op, a, b);
                    out.index(f, value);
                }
            }
        }
    });
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn integer_vectors() {
    let program = program("integer_vectors", vec![integers()], |f, x, out| {
        let vectors: Vec<Value> = (0..FLOATS.len() / 4)
            .map(|i| {
                let floats = f.load_lanes(4, x, 16 * i);
                f.bitcast(floats)
            })
            .collect();
        let amounts: Vec<Value> = [0, 1, 23, 31].map(|amount| f.i32(amount)).to_vec();
        for &a in &vectors {
            for &b in &vectors {
                for op in [
                    IntBinaryOp::Add,
                    IntBinaryOp::And,
                    IntBinaryOp::Or,
                    IntBinaryOp::Sub,
                    IntBinaryOp::Xor,
                ] {
                    let value = f.int(op, a, b);
                    let value = f.bitcast(value);
                    out.vector(f, value);
                }
            }
            for &amount in &amounts {
                let amount = f.splat(amount, 4);
                for op in [IntBinaryOp::Shl, IntBinaryOp::ShrU] {
                    let value = f.int(op, a, amount);
                    let value = f.bitcast(value);
                    out.vector(f, value);
                }
            }
            // Amounts that differ by lane: the low five bits.
            let mask = f.i32(31);
            let mask = f.splat(mask, 4);
            let amount = f.int(IntBinaryOp::And, a, mask);
            let value = f.int(IntBinaryOp::ShrU, vectors[0], amount);
            let value = f.bitcast(value);
            out.vector(f, value);
            let lane = f.extract(a, 2);
            out.i32(f, lane);
            let floats = f.int_to_float(a);
            out.vector(f, floats);
        }
    });
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn conversions() {
    let integral: [f32; 24] = [
        0.0, -0.0, 1.0, -1.0, 2.0, 127.0, -128.0, 4194303.0, 4194304.0, 8388608.0, -8388608.0,
        16777216.0, -16777216.0, 1073741824.0, 2147483520.0, -2147483520.0, -2147483648.0, 100.0,
        -100.0, 5.0, 6.0, 7.0, 8.0, 9.0,
    ];
    let scalars = program("conversions", vec![], |f, x, out| {
        for i in 0..integral.len() {
            let a = load_float(f, x, i);
            let int = f.float_to_int(a);
            out.i32(f, int);
            let float = f.int_to_float(int);
            out.f32(f, float);
        }
        for constant in [i32::MIN, i32::MAX, -1, 16777217] {
            let int = f.i32(constant);
            let float = f.int_to_float(int);
            out.f32(f, float);
        }
    });
    check(&scalars, &[&integral], Agreement::Exact);
    let vectors = program("vector_conversions", vec![], |f, x, out| {
        for i in 0..integral.len() / 4 {
            let a = f.load_lanes(4, x, 16 * i);
            let int = f.float_to_int(a);
            let float = f.int_to_float(int);
            let bits = f.bitcast(int);
            out.vector(f, bits);
            out.vector(f, float);
        }
    });
    check(&vectors, &[&integral], Agreement::Exact);
}

#[test]
fn memory_types() {
    let mut program = program("memory_types", vec![integers()], |f, x, out| {
        let table = f.address(Symbol::Data(condensec_ir::kernel::DataId(0), 8));
        // The scratch memory is the start of the arena: its address is handed over in the output.
        let scratch = f.load(MemoryType::Ptr, table, 0);
        let _ = (scratch, x);
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
    // Stores go through the arena and come back by every type.
    let stores = kernel("stores", |f, [bases, ..]| {
        let arena = f.load(MemoryType::Ptr, bases, 0);
        let y = f.load(MemoryType::Ptr, bases, 24);
        let value = f.index(0x0123_4567_89ab_cdef);
        let zero = f.index(0);
        for at in 0..8 {
            f.store(MemoryType::Index, zero, arena, 8 * at);
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
    });
    program.outputs.push(port("scratch", &[16]));
    add_step(&mut program, stores, &[]);
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn loops() {
    let program = program("loops", vec![], |f, x, out| {
        let zero = f.index(0);
        // Zero trips, also with low above high, and bounds that only run time knows.
        let one = f.load(MemoryType::F32, x, 8);
        let one = f.float_to_int(one);
        let one = f.i32_to_index(one);
        let constant = |f: &mut FunctionBuilder, v| f.index(v);
        let bounds: Vec<(Value, Value, usize)> = [(0, 0, 1), (3, 3, 1), (5, 2, 1), (0, 7, 3), (2, 9, 1)]
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
    });
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn conditionals() {
    let program = program("conditionals", vec![], |f, x, out| {
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
    });
    check(&program, &[&FLOATS], Agreement::Exact);
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
    let mut program = empty("indirect_calls", 1);
    program.inputs.push(port("x", &[FLOATS.len()]));
    program.outputs.push(port("y", &[FLOATS.len()]));
    let double = program.add_kernel(double());
    // The target comes once as an address in the code and once from the argument block.
    let caller = kernel("caller", |f, [bases, arguments, begin, _]| {
        let x = f.load(MemoryType::Ptr, bases, 8);
        let y = f.load(MemoryType::Ptr, bases, 16);
        let target = f.address(Symbol::Function(double));
        let middle = f.index(10);
        f.call_indirect(target, &[x, y, begin, middle]);
        let target = f.load(MemoryType::Ptr, arguments, 0);
        let end = f.load(MemoryType::Index, arguments, 8);
        f.call_indirect(target, &[x, y, middle, end]);
    });
    let arguments =
        [Argument::Address(Symbol::Function(double)), Argument::Index(FLOATS.len() as u64)];
    add_step(&mut program, caller, &arguments);
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn libm_calls() {
    let program = program("libm_calls", vec![], |f, x, out| {
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
    });
    check(&program, &[&FLOATS], Agreement::Close(1e-6));
}

#[test]
fn list_kernels() {
    for (rows, vectors) in [(4, 2), (4, 3), (2, 5), (1, 8), (3, 1)] {
        for lanes in [1, 4] {
            let tile = Tile { rows, vectors, lanes };
            let program = list_program(tile, 37);
            let x: Vec<f32> =
                (0..37 * tile.pixels()).map(|i| (i % 29) as f32 * 0.125 - 1.0).collect();
            check(&program, &[&x], Agreement::Exact);
        }
    }
}

#[test]
fn an_empty_list() {
    let program = list_program(Tile { rows: 4, vectors: 2, lanes: 4 }, 0);
    check(&program, &[&[]], Agreement::Exact);
}
