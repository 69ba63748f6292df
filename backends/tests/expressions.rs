//! Every expression of the kernel IR with edge values: machine code against the interpreter.

use crate::support::agreement::{
    Agreement, FLOATS, INTEGERS, LANES, Output, check, cycle, integer_values, integers, load_float,
    program,
};
use crate::support::programs::Widths;
use condensec_ir::kernel::{
    CompareOp, DataId, FloatBinaryOp, FloatUnaryOp, FunctionBuilder, Half, IntBinaryOp, MemoryType,
    Parity, Symbol, Value,
};

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
    let program = |widths| {
        program(
            "float_scalars",
            widths,
            vec![],
            FLOATS.len(),
            |f, i, x, out| {
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
            },
        )
    };
    check(program, &[&cycle(&FLOATS)], Agreement::Exact);
}

#[test]
fn float_vectors() {
    for lanes in LANES {
        let n_vectors = FLOATS.len().div_ceil(lanes);
        let program = |widths| {
            program(
                "float_vectors",
                widths,
                vec![],
                n_vectors,
                |f, i, x, out| {
                    let a = f.load_lanes(lanes, x, 4 * i * lanes);
                    for op in UNARY {
                        let value = f.float_unary(op, a);
                        out.vector(f, value);
                    }
                    // Lanes against each other: every pair, by an unaligned load.
                    for j in 0..FLOATS.len() {
                        let b = f.load_lanes(lanes, x, 4 * j);
                        for op in BINARY {
                            let value = f.float(op, a, b);
                            out.vector(f, value);
                        }
                    }
                    for lane in 0..lanes {
                        let scalar = f.extract(a, lane);
                        out.f32(f, scalar);
                        let splat = f.splat(scalar, lanes);
                        out.vector(f, splat);
                    }
                    let scalar = load_float(f, x, i);
                    let splat = f.splat(scalar, lanes);
                    out.vector(f, splat);
                    let constant = f.f32_like(x, -0.0);
                    let splat = f.splat(constant, lanes);
                    out.vector(f, splat);
                },
            )
        };
        check(program, &[&cycle(&FLOATS)], Agreement::Exact);
    }
}

#[test]
fn lanes_of_pairs() {
    for lanes in LANES {
        let program = |widths| {
            program("lanes_of_pairs", widths, vec![], 1, |f, _, x, out| {
                let a = f.load_lanes(lanes, x, 0);
                for b in [4, 0, 1] {
                    let b = f.load_lanes(lanes, x, 4 * b);
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
                    f.splat(scalar, lanes)
                });
                let value = f.interleave(Half::Low, even, odd);
                out.vector(f, value);
            })
        };
        check(program, &[&cycle(&FLOATS)], Agreement::Exact);
    }
}

#[test]
fn mul_add() {
    let scalars = |widths| {
        program("mul_add", widths, vec![], 1, |f, _, x, out| {
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
        })
    };
    check(scalars, &[&cycle(&FLOATS)], Agreement::Exact);
    for lanes in LANES {
        let vectors = |widths| {
            program("vector_mul_add", widths, vec![], 1, |f, _, x, out| {
                let [a, b, c] = [0, 4, 8].map(|at| f.load_lanes(lanes, x, 4 * at));
                for (a, b, c) in [(a, b, c), (c, b, a), (b, b, b)] {
                    let value = f.mul_add(a, b, c);
                    out.vector(f, value);
                }
                let scalar = load_float(f, x, 9);
                let splat = f.splat(scalar, lanes);
                let value = f.mul_add(splat, b, c);
                out.vector(f, value);
                let value = f.mul_add(b, splat, c);
                out.vector(f, value);
            })
        };
        check(vectors, &[&cycle(&FLOATS)], Agreement::Exact);
    }
}

#[test]
fn integer_arithmetic() {
    let arithmetic = |widths: Widths, f: &mut FunctionBuilder, i: usize, out: &mut Output| {
        let table = f.address(Symbol::Data(DataId(0), 0));
        let load = |f: &mut FunctionBuilder, i| f.load(MemoryType::Index, table, widths.word(i));
        let a = load(f, i);
        let a32 = f.index_to_i32(a);
        let wide = f.i32_to_index(a32);
        out.index(f, wide);
        for (j, b_value) in integer_values(widths).into_iter().enumerate() {
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
                let is_defined = |b, bits| !(divides && b == 0 || shifts && b >= u64::from(bits));
                if is_defined(b_value, widths.index_bits) {
                    let value = f.int(op, a, b);
                    out.index(f, value);
                    // The same with an operand that the compiler sees.
                    let constant = f.index(b_value as i64);
                    let value = f.int(op, a, constant);
                    out.index(f, value);
                }
                let b_value = b_value as u32;
                if is_defined(b_value.into(), 32) {
                    let value = f.int(op, a32, b32);
                    out.i32(f, value);
                    let constant = f.i32(b_value as i32);
                    let value = f.int(op, a32, constant);
                    out.i32(f, value);
                }
            }
        }
    };
    let program = |widths| {
        let data = vec![integers(widths)];
        program(
            "integer_arithmetic",
            widths,
            data,
            INTEGERS.len(),
            |f, i, _, out| arithmetic(widths, f, i, out),
        )
    };
    check(program, &[&cycle(&FLOATS)], Agreement::Exact);
}

#[test]
fn division_by_constants() {
    let divisors: [u64; 17] = [
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
    let program = |widths: Widths| {
        let data = vec![integers(widths)];
        program("division_by_constants", widths, data, 1, |f, _, _, out| {
            let table = f.address(Symbol::Data(DataId(0), 0));
            for i in 0..INTEGERS.len() {
                let a = f.load(MemoryType::Index, table, widths.word(i));
                for divisor in divisors.into_iter().filter(|&d| d <= widths.max_index()) {
                    let b = f.index(divisor as i64);
                    for op in [IntBinaryOp::DivU, IntBinaryOp::RemU] {
                        let value = f.int(op, a, b);
                        out.index(f, value);
                    }
                }
            }
        })
    };
    check(program, &[&cycle(&FLOATS)], Agreement::Exact);
}

#[test]
fn integer_vectors() {
    for lanes in LANES {
        let n_vectors = FLOATS.len().div_ceil(lanes);
        let program = |widths| {
            program(
                "integer_vectors",
                widths,
                vec![],
                n_vectors,
                |f, i, x, out| {
                    let vectors: Vec<Value> = (0..n_vectors)
                        .map(|i| {
                            let floats = f.load_lanes(lanes, x, 4 * i * lanes);
                            f.bitcast(floats)
                        })
                        .collect();
                    let a = vectors[i];
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
                    for amount in [0, 1, 23, 31] {
                        let amount = f.i32(amount);
                        let amount = f.splat(amount, lanes);
                        for op in [IntBinaryOp::Shl, IntBinaryOp::ShrU] {
                            let value = f.int(op, a, amount);
                            let value = f.bitcast(value);
                            out.vector(f, value);
                        }
                    }
                    // Amounts that differ by lane: the low five bits.
                    let mask = f.i32(31);
                    let mask = f.splat(mask, lanes);
                    let amount = f.int(IntBinaryOp::And, a, mask);
                    let value = f.int(IntBinaryOp::ShrU, vectors[0], amount);
                    let value = f.bitcast(value);
                    out.vector(f, value);
                    let lane = f.extract(a, 2);
                    out.i32(f, lane);
                    let floats = f.int_to_float(a);
                    out.vector(f, floats);
                },
            )
        };
        check(program, &[&cycle(&FLOATS)], Agreement::Exact);
    }
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
    let scalars = |widths| {
        program("conversions", widths, vec![], 1, |f, _, x, out| {
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
        })
    };
    check(scalars, &[&cycle(&integral)], Agreement::Exact);
    for lanes in LANES {
        let vectors = |widths| {
            program("vector_conversions", widths, vec![], 1, |f, _, x, out| {
                for i in 0..integral.len().div_ceil(lanes) {
                    let a = f.load_lanes(lanes, x, 4 * i * lanes);
                    let int = f.float_to_int(a);
                    let float = f.int_to_float(int);
                    let bits = f.bitcast(int);
                    out.vector(f, bits);
                    out.vector(f, float);
                }
            })
        };
        check(vectors, &[&cycle(&integral)], Agreement::Exact);
    }
}
