//! The functions of [`UnaryKind`] as kernel IR, on a scalar or on a vector of any width.
//!
//! Everything is straight-line float arithmetic and bit operations, so that every kind can end the
//! epilogue of a convolution: the IR has no vector comparison, and a call of libm would cost a lane
//! at a time. A minimum or maximum gives its second operand on NaN; the order of operands below
//! decides whether a NaN gets through, as in [`UnaryKind::eval`].
//!
//! ```text
//! exp(x)   n = round(x / ln 2), r = x - n ln 2 in two parts, polynomial in r, exponent n
//! log(x)   x = 2^k m with m in [sqrt 1/2, sqrt 2), polynomial in m - 1, plus k ln 2
//! ```
//! Relative errors (tests below): `exp` 2e-7, `log`, `tanh`, `erf` 5e-7.

use condensec_ir::kernel::{FloatUnaryOp, FunctionBuilder, IntBinaryOp, Type, Value};
use condensec_ir::ops::UnaryKind;

/// 1.5 * 2^23: in the sum of this and a small number the lowest bits are the number, rounded.
const ROUNDER: f32 = 12_582_912.0;
/// Upper part of ln 2; its product with an exponent is exact.
const LN2_HI: f32 = 355.0 / 512.0;
/// The rest of ln 2.
const LN2_LO: f32 = -2.121_944_4e-4;
/// Bits of sqrt(1/2).
const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
/// Bits of 1.
const ONE_BITS: i32 = 0x3f80_0000;

/// `(e^r - 1 - r) / r^2` for |r| <= ln(2) / 2, highest power first (Cephes `expf`).
const EXP: &[f32] = &[
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];

/// `(log(1 + r) - r + r^2/2) / r^3` for 1 + r between sqrt(1/2) and sqrt(2) (Cephes `logf`).
const LOG: &[f32] = &[
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_9e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_4e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];

/// `tanh(x) / x` as a quotient of polynomials in x^2 for |x| <= [`TANH_ONE`] (from Eigen).
const TANH_NUMERATOR: &[f32] = &[
    -2.760_768_5e-16,
    2.000_188e-13,
    -8.604_672e-11,
    5.122_297e-8,
    1.485_722_4e-5,
    6.372_619e-4,
    4.893_524_6e-3,
];
const TANH_DENOMINATOR: &[f32] = &[1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
/// Beyond this, `tanh` is 1 but for rounding.
const TANH_ONE: f32 = 7.905_311;

/// `erf(x) / x` as a quotient of polynomials in x^2 for |x| <= [`ERF_ONE`] (from Eigen).
const ERF_NUMERATOR: &[f32] = &[
    -2.726_142_3e-10,
    2.770_681_4e-8,
    -2.101_024e-6,
    -5.692_506_4e-5,
    -7.349_906_3e-4,
    -2.954_6e-3,
    -1.609_603_3e-2,
];
const ERF_DENOMINATOR: &[f32] = &[
    -1.456_607_2e-5,
    -2.133_740_6e-4,
    -1.682_827e-3,
    -7.373_329e-3,
    -1.426_473_9e-2,
];
/// Beyond this, `erf` is 1 but for rounding.
const ERF_ONE: f32 = 4.0;

/// `kind(x)`, in the type of `x`: `f32` or a vector of it.
pub(super) fn emit_unary(f: &mut FunctionBuilder, kind: UnaryKind, x: Value) -> Value {
    match kind {
        UnaryKind::Abs => f.float_unary(FloatUnaryOp::Abs, x),
        UnaryKind::Ceil => f.float_unary(FloatUnaryOp::Ceil, x),
        UnaryKind::Clip { lo, hi } => clip(f, x, lo, hi),
        UnaryKind::Elu { alpha } => {
            let (positive, negative) = halves(f, x);
            let exponential = exp_clamped(f, negative);
            let one = f.f32_like(x, 1.0);
            let below = f.fsub(exponential, one);
            let alpha = f.f32_like(x, alpha);
            f.mul_add(below, alpha, positive)
        }
        UnaryKind::Erf => erf(f, x),
        UnaryKind::Exp => emit_exp(f, x),
        UnaryKind::Floor => f.float_unary(FloatUnaryOp::Floor, x),
        UnaryKind::Gelu => {
            // Where `1 + erf` is 0 but for rounding, `x` must not enlarge the rest.
            let bound = f.f32_like(x, -6.0);
            let bounded = f.fmax(bound, x);
            let half = f.f32_like(x, 0.5);
            let half_x = f.fmul(bounded, half);
            let root_half = f.f32_like(x, std::f32::consts::FRAC_1_SQRT_2);
            let scaled = f.fmul(x, root_half);
            let erf = erf(f, scaled);
            f.mul_add(half_x, erf, half_x)
        }
        UnaryKind::HardSigmoid { alpha, beta } => hard_sigmoid(f, x, alpha, beta),
        UnaryKind::HardSwish => {
            let gate = hard_sigmoid(f, x, 1.0 / 6.0, 0.5);
            f.fmul(x, gate)
        }
        UnaryKind::LeakyRelu { alpha } if alpha > 0.0 && alpha <= 1.0 => {
            let alpha = f.f32_like(x, alpha);
            let scaled = f.fmul(x, alpha);
            f.fmax(scaled, x)
        }
        UnaryKind::LeakyRelu { alpha } => {
            let (positive, negative) = halves(f, x);
            let alpha = f.f32_like(x, alpha);
            f.mul_add(negative, alpha, positive)
        }
        UnaryKind::Log => emit_log(f, x),
        UnaryKind::Neg => f.float_unary(FloatUnaryOp::Neg, x),
        UnaryKind::Reciprocal => reciprocal(f, x),
        UnaryKind::Relu => {
            let zero = f.f32_like(x, 0.0);
            f.fmax(x, zero)
        }
        UnaryKind::Round => f.float_unary(FloatUnaryOp::Nearest, x),
        UnaryKind::Sigmoid => sigmoid(f, x),
        UnaryKind::Silu => {
            let gate = sigmoid(f, x);
            f.fmul(x, gate)
        }
        UnaryKind::Softplus => {
            let zero = f.f32_like(x, 0.0);
            let positive = f.fmax(zero, x);
            let distance = f.float_unary(FloatUnaryOp::Abs, x);
            let distance = f.float_unary(FloatUnaryOp::Neg, distance);
            let exponential = exp_clamped(f, distance);
            let rest = log_1p(f, exponential);
            f.fadd(positive, rest)
        }
        UnaryKind::Sqrt => f.float_unary(FloatUnaryOp::Sqrt, x),
        UnaryKind::Tanh => {
            let clipped = clip_nan(f, x, -TANH_ONE, TANH_ONE);
            odd_quotient(f, clipped, TANH_NUMERATOR, TANH_DENOMINATOR)
        }
    }
}

/// `e^x`, with the right values at the ends: 0, infinity, NaN.
pub(super) fn emit_exp(f: &mut FunctionBuilder, x: Value) -> Value {
    // Wide enough that the ends round to 0 and overflow to infinity.
    let x = clip_nan(f, x, -104.0, 89.0);
    let (rest, rounded) = exp_parts(f, x);
    // 2^n may not be a number while rest * 2^n is, so it comes in two factors.
    let bits = f.bitcast(rounded);
    let exponents = int_op(
        f,
        IntBinaryOp::Sub,
        bits,
        ROUNDER.to_bits() as i32 - 2 * 127,
    );
    let first = int_op(f, IntBinaryOp::ShrU, exponents, 1);
    let second = f.sub(exponents, first);
    [first, second].into_iter().fold(rest, |product, exponent| {
        let bits = int_op(f, IntBinaryOp::Shl, exponent, 23);
        let factor = f.bitcast(bits);
        f.fmul(product, factor)
    })
}

/// `e^x`; below -87.3 and above 88.3 its value there. Cheaper than [`emit_exp`].
fn exp_clamped(f: &mut FunctionBuilder, x: Value) -> Value {
    // n from -126 to 127.
    let x = clip_nan(f, x, -87.33, 88.37);
    let (rest, rounded) = exp_parts(f, x);
    let bits = f.bitcast(rounded);
    let exponent = int_op(f, IntBinaryOp::Add, bits, 127);
    // The shift drops the rounder's own bits.
    let bits = int_op(f, IntBinaryOp::Shl, exponent, 23);
    let factor = f.bitcast(bits);
    f.fmul(rest, factor)
}

/// `(p, n + ROUNDER)` with `e^x = p * 2^n`, `p` in [0.7, 1.42].
fn exp_parts(f: &mut FunctionBuilder, x: Value) -> (Value, Value) {
    let log2_e = f.f32_like(x, std::f32::consts::LOG2_E);
    let rounder = f.f32_like(x, ROUNDER);
    let rounded = f.mul_add(x, log2_e, rounder);
    let n = f.fsub(rounded, rounder);
    let hi = f.f32_like(x, -LN2_HI);
    let r = f.mul_add(n, hi, x);
    let lo = f.f32_like(x, -LN2_LO);
    let r = f.mul_add(n, lo, r);
    let tail = polynomial(f, r, EXP);
    let square = f.fmul(r, r);
    let sum = f.mul_add(tail, square, r);
    let one = f.f32_like(x, 1.0);
    (f.fadd(sum, one), rounded)
}

/// `log(x)`; subnormal numbers count as 0.
pub(super) fn emit_log(f: &mut FunctionBuilder, x: Value) -> Value {
    let smallest = f.f32_like(x, f32::MIN_POSITIVE);
    let positive = f.fmax(smallest, x);
    let log = log_normal(f, positive);
    // Infinity minus the largest number is infinity; all other numbers leave 0.
    let largest = f.f32_like(x, f32::MAX);
    let finite = f.fmin(x, largest);
    let excess = f.fsub(x, finite);
    let log = f.fadd(log, excess);
    // Below the smallest number: minus infinity.
    let room = f.fsub(x, smallest);
    let is_zero = negative_mask(f, room);
    let bits = f.bitcast(log);
    let minus_infinity = int_op(
        f,
        IntBinaryOp::And,
        is_zero,
        f32::NEG_INFINITY.to_bits() as i32,
    );
    let is_other = int_op(f, IntBinaryOp::Xor, is_zero, -1);
    let kept = f.int(IntBinaryOp::And, bits, is_other);
    let bits = f.int(IntBinaryOp::Or, kept, minus_infinity);
    // Below zero: all bits set, which is a NaN.
    let is_negative = negative_mask(f, x);
    let bits = f.int(IntBinaryOp::Or, bits, is_negative);
    f.bitcast(bits)
}

/// `log(x)` of a positive number that is neither subnormal nor infinite.
fn log_normal(f: &mut FunctionBuilder, x: Value) -> Value {
    let bits = f.bitcast(x);
    let shifted = int_op(f, IntBinaryOp::Add, bits, ONE_BITS - SQRT_HALF_BITS);
    let exponent = int_op(f, IntBinaryOp::ShrU, shifted, 23);
    let exponent = int_op(f, IntBinaryOp::Sub, exponent, 127);
    let k = f.int_to_float(exponent);
    let mantissa = int_op(f, IntBinaryOp::And, shifted, 0x007f_ffff);
    let mantissa = int_op(f, IntBinaryOp::Add, mantissa, SQRT_HALF_BITS);
    let m = f.bitcast(mantissa);
    let one = f.f32_like(x, 1.0);
    let r = f.fsub(m, one);
    let square = f.fmul(r, r);
    let tail = polynomial(f, r, LOG);
    let cube = f.fmul(square, r);
    let sum = f.fmul(tail, cube);
    let lo = f.f32_like(x, LN2_LO);
    let sum = f.mul_add(k, lo, sum);
    let minus_half = f.f32_like(x, -0.5);
    let sum = f.mul_add(square, minus_half, sum);
    let sum = f.fadd(r, sum);
    let hi = f.f32_like(x, LN2_HI);
    f.mul_add(k, hi, sum)
}

/// `log(1 + x)` for x in [0, 1]: the logarithm of the rounded sum, and what the sum lost.
fn log_1p(f: &mut FunctionBuilder, x: Value) -> Value {
    let one = f.f32_like(x, 1.0);
    let sum = f.fadd(x, one);
    let log = log_normal(f, sum);
    let back = f.fsub(sum, one);
    let lost = f.fsub(x, back);
    let correction = f.fdiv(lost, sum);
    f.fadd(log, correction)
}

fn sigmoid(f: &mut FunctionBuilder, x: Value) -> Value {
    let negated = f.float_unary(FloatUnaryOp::Neg, x);
    let exponential = exp_clamped(f, negated);
    let one = f.f32_like(x, 1.0);
    let sum = f.fadd(exponential, one);
    f.fdiv(one, sum)
}

fn hard_sigmoid(f: &mut FunctionBuilder, x: Value, alpha: f32, beta: f32) -> Value {
    let alpha = f.f32_like(x, alpha);
    let beta = f.f32_like(x, beta);
    let line = f.mul_add(x, alpha, beta);
    clip(f, line, 0.0, 1.0)
}

fn erf(f: &mut FunctionBuilder, x: Value) -> Value {
    let clipped = clip_nan(f, x, -ERF_ONE, ERF_ONE);
    odd_quotient(f, clipped, ERF_NUMERATOR, ERF_DENOMINATOR)
}

fn reciprocal(f: &mut FunctionBuilder, x: Value) -> Value {
    let one = f.f32_like(x, 1.0);
    f.fdiv(one, x)
}

/// `x` between the bounds; a NaN gives `lo`.
fn clip(f: &mut FunctionBuilder, x: Value, lo: f32, hi: f32) -> Value {
    let (lo, hi) = (f.f32_like(x, lo), f.f32_like(x, hi));
    let above = f.fmax(x, lo);
    f.fmin(above, hi)
}

/// `x` between the bounds; a NaN stays one.
fn clip_nan(f: &mut FunctionBuilder, x: Value, lo: f32, hi: f32) -> Value {
    let (lo, hi) = (f.f32_like(x, lo), f.f32_like(x, hi));
    let above = f.fmax(lo, x);
    f.fmin(hi, above)
}

/// `(max(x, 0), min(x, 0))`; a NaN stays one in both.
fn halves(f: &mut FunctionBuilder, x: Value) -> (Value, Value) {
    let zero = f.f32_like(x, 0.0);
    (f.fmax(zero, x), f.fmin(zero, x))
}

/// Horner's scheme, highest power first.
fn polynomial(f: &mut FunctionBuilder, x: Value, coefficients: &[f32]) -> Value {
    let first = f.f32_like(x, coefficients[0]);
    coefficients[1..].iter().fold(first, |sum, &coefficient| {
        let coefficient = f.f32_like(x, coefficient);
        f.mul_add(sum, x, coefficient)
    })
}

/// `x * numerator(x^2) / denominator(x^2)`.
fn odd_quotient(
    f: &mut FunctionBuilder,
    x: Value,
    numerator: &[f32],
    denominator: &[f32],
) -> Value {
    let square = f.fmul(x, x);
    let numerator = polynomial(f, square, numerator);
    let numerator = f.fmul(numerator, x);
    let denominator = polynomial(f, square, denominator);
    f.fdiv(numerator, denominator)
}

/// `a op constant` on integers of any width.
fn int_op(f: &mut FunctionBuilder, op: IntBinaryOp, a: Value, constant: i32) -> Value {
    let lanes = match f.type_of(a) {
        Type::IntVector(lanes) => lanes as usize,
        _ => 1,
    };
    let constant = f.i32(constant);
    let constant = f.splat(constant, lanes);
    f.int(op, a, constant)
}

/// All bits set where `x < 0`, none elsewhere (also for NaN).
fn negative_mask(f: &mut FunctionBuilder, x: Value) -> Value {
    let zero = f.f32_like(x, 0.0);
    let negative = f.fmin(x, zero);
    let bits = f.bitcast(negative);
    let sign = int_op(f, IntBinaryOp::ShrU, bits, 31);
    let none = f.bitcast(zero);
    f.sub(none, sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec_ir::kernel::{Machine, Program, verify_function};

    /// `kind` of every number, by vectors of `lanes`; the number of numbers is a multiple of that.
    fn run(kind: UnaryKind, lanes: usize, x: &[f32]) -> Vec<f32> {
        let mut f = FunctionBuilder::new("sweep", &[Type::Ptr, Type::Ptr, Type::Index]);
        let [source, target, n] = f.parameters();
        let zero = f.index(0);
        f.for_each(zero, n, lanes, |f, i| {
            let from = f.ptr_offset(source, i, 4);
            let value = f.load_lanes(lanes, from, 0);
            let result = emit_unary(f, kind, value);
            let to = f.ptr_offset(target, i, 4);
            f.store_lanes(result, to, 0);
        });
        let function = f.finish();
        verify_function(&function).unwrap();
        let program = Program {
            name: "sweep".into(),
            functions: Vec::new(),
            data: Vec::new(),
            steps: Vec::new(),
            levels: Vec::new(),
            layers: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            arena_bytes: 0,
        };
        let mut machine = Machine::new(&program);
        let source = machine.allocate("x", x.len() * 4);
        *machine.bytes_mut(source) = x.iter().flat_map(|v| v.to_le_bytes()).collect();
        let target = machine.allocate("y", x.len() * 4);
        machine
            .call(&function, &[source, target, x.len() as u64])
            .unwrap();
        let bytes = machine.bytes_mut(target);
        bytes
            .chunks_exact(4)
            .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
            .collect()
    }

    /// The function in f64. `erf` has none in std; the interpreter's is good to its last bit.
    fn exact(kind: UnaryKind, x: f64) -> f64 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        match kind {
            UnaryKind::Elu { alpha } if x <= 0.0 => f64::from(alpha) * x.exp_m1(),
            UnaryKind::Exp => x.exp(),
            UnaryKind::Log => x.ln(),
            UnaryKind::Sigmoid => sigmoid,
            UnaryKind::Silu => x * sigmoid,
            UnaryKind::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            UnaryKind::Tanh => x.tanh(),
            _ => f64::from(kind.eval(x as f32)),
        }
    }

    /// Allowed relative and absolute error.
    fn tolerance(kind: UnaryKind) -> (f64, f64) {
        match kind {
            UnaryKind::Exp => (2e-7, 1e-45),
            UnaryKind::Elu { .. } => (0.0, 2e-7),
            UnaryKind::Erf | UnaryKind::Tanh => (5e-7, 0.0),
            // One plus the error function cancels on the left.
            UnaryKind::Gelu => (5e-7, 1e-6),
            UnaryKind::Log => (5e-7, 1e-7),
            // The exponential stops growing at 88.37, so the quotient stays above zero.
            UnaryKind::Sigmoid | UnaryKind::Silu => (5e-7, 1e-36),
            UnaryKind::Softplus => (5e-7, 0.0),
            UnaryKind::HardSigmoid { .. } | UnaryKind::HardSwish => (2e-7, 1e-7),
            _ => (0.0, 0.0),
        }
    }

    fn sweep(kind: UnaryKind) -> Vec<f32> {
        let linear = (-40_000..40_000).map(|i| i as f32 * 2.5e-3);
        let around_zero = (-400_i32..400).map(|i| {
            let size = 10f32.powf((i.abs() as f32) / 50.0 - 7.0);
            if i < 0 { -size } else { size }
        });
        let all = linear.chain(around_zero);
        let domain = |x: &f32| match kind {
            UnaryKind::Log => *x > 0.0,
            UnaryKind::Sqrt => *x >= 0.0,
            UnaryKind::Reciprocal => *x != 0.0,
            UnaryKind::Softplus | UnaryKind::Exp => *x > -87.3,
            _ => true,
        };
        let mut x: Vec<f32> = all.filter(domain).collect();
        x.truncate(x.len() / 16 * 16);
        x
    }

    #[test]
    fn accuracy() {
        let more = [
            UnaryKind::Clip { lo: -1.0, hi: 1.0 },
            UnaryKind::LeakyRelu { alpha: -0.5 },
            UnaryKind::LeakyRelu { alpha: 2.0 },
        ];
        for &kind in UnaryKind::ALL.iter().chain(&more) {
            let x = sweep(kind);
            let (relative, absolute) = tolerance(kind);
            let mut worst = (0.0, 0.0);
            for (&x, y) in x.iter().zip(run(kind, 4, &x)) {
                let expected = exact(kind, f64::from(x));
                if expected.abs() > f64::from(f32::MAX) {
                    assert_eq!(y, f32::INFINITY, "{kind:?} of {x}");
                    continue;
                }
                let error = (f64::from(y) - expected).abs();
                let share = error / (absolute + relative * expected.abs()).max(f64::MIN_POSITIVE);
                worst = if share > worst.0 { (share, x) } else { worst };
            }
            assert!(
                worst.0 <= 1.0,
                "{kind:?} of {}: {} times the error allowed",
                worst.1,
                worst.0
            );
        }
    }

    #[test]
    fn every_width_gives_the_same() {
        for &kind in UnaryKind::ALL {
            let x: Vec<f32> = sweep(kind).into_iter().step_by(101).collect();
            let x = &x[..x.len() / 16 * 16];
            let bits =
                |lanes| -> Vec<u32> { run(kind, lanes, x).iter().map(|v| v.to_bits()).collect() };
            let scalar = bits(1);
            for lanes in [2, 4, 8, 16] {
                assert_eq!(bits(lanes), scalar, "{kind:?} by {lanes} lanes");
            }
        }
    }

    #[test]
    fn ends_of_the_range() {
        let x = [
            f32::NEG_INFINITY,
            -1000.0,
            -0.0,
            0.0,
            1000.0,
            f32::INFINITY,
            f32::NAN,
            1e-40,
        ];
        for &kind in UnaryKind::ALL {
            for (&x, y) in x.iter().zip(run(kind, 4, &x)) {
                let expected = match kind {
                    // Minus infinity times a sigmoid that is not quite zero.
                    UnaryKind::Silu | UnaryKind::Gelu | UnaryKind::HardSwish if x.is_infinite() => {
                        continue;
                    }
                    UnaryKind::Log if x == 1e-40 => f32::NEG_INFINITY,
                    _ => kind.eval(x),
                };
                let close = (y - expected).abs() <= 1e-6 * expected.abs().max(1.0);
                let same = y == expected || (y.is_nan() && expected.is_nan());
                assert!(close || same, "{kind:?} of {x}: {y}, expected {expected}");
            }
        }
    }
}
