//! Every expression of the kernel IR with edge values: machine code against the interpreter.

mod support;

use condensec_ir::kernel::{
    CompareOp, DataId, FloatBinaryOp, FloatUnaryOp, Half, IntBinaryOp, MemoryType, Parity, Symbol,
    Value,
};
use support::agreement::{Agreement, FLOATS, INTEGERS, check, integers, load_float, program};

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
fn lanes_of_pairs() {
    let program = program("lanes_of_pairs", vec![], |f, x, out| {
        let a = f.load_lanes(4, x, 0);
        for (a, b) in [(a, 4), (a, 0), (a, 1)] {
            let b = f.load_lanes(4, x, 4 * b);
            let mut halves = Vec::new();
            for parity in [Parity::Even, Parity::Odd] {
                let value = f.deinterleave(parity, a, b);
                out.vector(f, value);
                halves.push(value);
            }
            for half in [Half::Low, Half::High] {
                let value = f.interleave(half, a, b);
                out.vector(f, value);
                let back = f.interleave(half, halves[0], halves[1]);
                out.vector(f, back);
            }
        }
        // The pattern of weights that differ between even and odd pixels.
        let [even, odd] = [2, 6].map(|at| {
            let scalar = load_float(f, x, at);
            f.splat(scalar, 4)
        });
        let value = f.interleave(Half::Low, even, odd);
        out.vector(f, value);
    });
    check(&program, &[&FLOATS], Agreement::Exact);
}

#[test]
fn mul_add() {
    let program = program("mul_add", vec![], |f, x, out| {
        for (i, j, k) in [
            (0, 1, 2),
            (4, 5, 6),
            (9, 9, 3),
            (19, 9, 22),
            (15, 2, 16),
            (17, 0, 0),
        ] {
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
        let table = f.address(Symbol::Data(DataId(0), 0));
        let load = |f: &mut condensec_ir::kernel::FunctionBuilder, i: usize| {
            f.load(MemoryType::Index, table, 8 * i)
        };
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
    let divisors = [
        1,
        2,
        3,
        5,
        6,
        7,
        9,
        10,
        12,
        25,
        56,
        64,
        125,
        641,
        1 << 32,
        (1 << 32) + 1,
        (1 << 63) + 1,
    ];
    let program = program("division_by_constants", vec![integers()], |f, _, out| {
        let table = f.address(Symbol::Data(DataId(0), 0));
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
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        127.0,
        -128.0,
        4194303.0,
        4194304.0,
        8388608.0,
        -8388608.0,
        16777216.0,
        -16777216.0,
        1073741824.0,
        2147483520.0,
        -2147483520.0,
        -2147483648.0,
        100.0,
        -100.0,
        5.0,
        6.0,
        7.0,
        8.0,
        9.0,
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
