//! Expressions: one or few Cranelift instructions each.
//!
//! The patterns are those that Cranelift's instruction selection knows: `select` or `bitselect` of a
//! less-than comparison becomes one `minps`/`maxps` on x86, `splat` of a load becomes
//! `vbroadcastss`, multiply-add by a `splat` becomes the by-lane form on aarch64 and the
//! vector-scalar form on RISC-V.

use super::function::{Translator, memory_flags};
use super::signature::LANES;
use condensec_ir::kernel::{
    CompareOp, Expr, FloatBinaryOp, FloatUnaryOp, Half, IntBinaryOp, MemoryType, Parity, Type,
    Value,
};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{self, Endianness, InstBuilder, MemFlagsData, types};

/// Translates `expr`, which defines `result`.
pub(super) fn translate(t: &mut Translator<'_>, result: Value, expr: Expr) -> ir::Value {
    let ty = t.clif_type_of(result);
    match expr {
        Expr::ConstIndex(value) => t.builder.ins().iconst(types::I64, value),
        Expr::ConstI32(value) => t.builder.ins().iconst(types::I32, i64::from(value as u32)),
        Expr::ConstF32(value) => t
            .builder
            .ins()
            .f32const(ir::immediates::Ieee32::with_bits(value.to_bits())),
        Expr::IntBinary(op, a, b) => int_binary(t, op, a, b),
        Expr::FloatBinary(op, a, b) => float_binary(t, op, a, b),
        Expr::FloatUnary(op, a) => {
            let a = t.get(a);
            let ins = t.builder.ins();
            match op {
                FloatUnaryOp::Abs => ins.fabs(a),
                FloatUnaryOp::Ceil => ins.ceil(a),
                FloatUnaryOp::Floor => ins.floor(a),
                FloatUnaryOp::Nearest => ins.nearest(a),
                FloatUnaryOp::Neg => ins.fneg(a),
                FloatUnaryOp::Sqrt => ins.sqrt(a),
            }
        }
        Expr::MulAdd(a, b, c) => {
            let [a, b, c] = [a, b, c].map(|v| t.get(v));
            if t.has_fma {
                return t.builder.ins().fma(a, b, c);
            }
            // Cranelift's own fallback would call fmaf. The sum comes first in the addition: SSE
            // overwrites that operand, and an accumulator then keeps its register.
            let product = t.builder.ins().fmul(a, b);
            t.builder.ins().fadd(c, product)
        }
        Expr::Compare(op, a, b) => compare(t, op, a, b),
        Expr::Select { condition, a, b } => {
            let [condition, a, b] = [condition, a, b].map(|v| t.get(v));
            t.builder.ins().select(condition, a, b)
        }
        Expr::Splat(scalar, _) => {
            if let Some((vector, lane)) = t.lanes[scalar.0 as usize] {
                return splat_lane(t, vector, lane);
            }
            if let Some(Expr::Extract(vector, lane)) = t.definition(scalar)
                && t.splats_lanes
            {
                let vector = t.get(vector);
                return splat_lane(t, vector, lane);
            }
            let scalar = t.get(scalar);
            t.builder.ins().splat(ty, scalar)
        }
        Expr::Extract(vector, lane) => {
            let vector = t.get(vector);
            t.builder.ins().extractlane(vector, lane)
        }
        Expr::Deinterleave { a, b, parity } => {
            let words = match parity {
                Parity::Even => [0, 2, 4, 6],
                Parity::Odd => [1, 3, 5, 7],
            };
            let [a, b] = [a, b].map(|v| t.get(v));
            shuffle_words(t, a, b, words)
        }
        Expr::Interleave { a, b, half } => {
            let words = match half {
                Half::Low => [0, 4, 1, 5],
                Half::High => [2, 6, 3, 7],
            };
            let [a, b] = [a, b].map(|v| t.get(v));
            shuffle_words(t, a, b, words)
        }
        Expr::PtrAdd(base, bytes) => {
            let [base, bytes] = [base, bytes].map(|v| t.get(v));
            t.builder.ins().iadd(base, bytes)
        }
        Expr::PtrToIndex(value) => t.get(value),
        Expr::IndexToI32(value) => {
            let value = t.get(value);
            t.builder.ins().ireduce(types::I32, value)
        }
        Expr::I32ToIndex(value) => {
            let value = t.get(value);
            t.builder.ins().uextend(types::I64, value)
        }
        Expr::FloatToInt(value) => float_to_int(t, value, ty),
        Expr::IntToFloat(value) => {
            let value = t.get(value);
            t.builder.ins().fcvt_from_sint(ty, value)
        }
        Expr::Bitcast(value) => {
            let value = t.get(value);
            bitcast(t, value, ty)
        }
        Expr::Load {
            memory,
            base,
            offset,
        } => load(t, memory, base, offset, ty),
        // See the atomic store.
        Expr::AtomicLoad { base, offset } => load(t, MemoryType::I32, base, offset, ty),
        Expr::Address(symbol) => t.address(symbol),
    }
}

fn load(
    t: &mut Translator<'_>,
    memory: MemoryType,
    base: Value,
    offset: i32,
    ty: ir::Type,
) -> ir::Value {
    let base = t.get(base);
    let flags = memory_flags(memory);
    let ins = t.builder.ins();
    match memory {
        MemoryType::U8 => ins.uload8(ty, flags, base, offset),
        MemoryType::U16 => ins.uload16(ty, flags, base, offset),
        MemoryType::U32 => ins.uload32(flags, base, offset),
        MemoryType::I32
        | MemoryType::Index
        | MemoryType::F32
        | MemoryType::Ptr
        | MemoryType::Vector(_) => ins.load(ty, flags, base, offset),
    }
}

/// Translates a load that is one of a group: the first loads all four.
pub(super) fn load_packed(t: &mut Translator<'_>, result: Value, expr: Expr) {
    if let (Some(group), Expr::Load { base, offset, .. }) = (t.packed.first.get(&result), expr) {
        let group = group.clone();
        let vector = load(t, MemoryType::Vector(LANES), base, offset, types::F32X4);
        for (value, lane) in group.into_iter().zip(0..) {
            t.lanes[value.0 as usize] = Some((vector, lane));
        }
    }
}

/// One lane in all lanes. As a byte shuffle it is `pshufd` on x86 and part of the multiply-add on
/// aarch64; a splat of an extracted scalar would go through a scalar register.
fn splat_lane(t: &mut Translator<'_>, vector: ir::Value, lane: u8) -> ir::Value {
    shuffle_words(t, vector, vector, [lane; 4])
}

/// Four of the eight 32-bit lanes of `a` followed by `b`. Cranelift knows the byte shuffles that are
/// one instruction: `shufps`, `unpcklps`, `pshufd`, `uzp1`, `zip1`, ..
fn shuffle_words(t: &mut Translator<'_>, a: ir::Value, b: ir::Value, words: [u8; 4]) -> ir::Value {
    let ty = t.builder.func.dfg.value_type(a);
    let mask: Vec<u8> = (0..16)
        .map(|byte| 4 * words[byte / 4] + byte as u8 % 4)
        .collect();
    let mask = t.builder.func.dfg.immediates.push(mask.into());
    let [a, b] = [a, b].map(|v| bitcast(t, v, types::I8X16));
    let bytes = t.builder.ins().shuffle(a, b, mask);
    bitcast(t, bytes, ty)
}

fn bitcast(t: &mut Translator<'_>, value: ir::Value, ty: ir::Type) -> ir::Value {
    // Lanes keep their places only if both sides agree on a byte order.
    let flags = MemFlagsData::new().with_endianness(Endianness::Little);
    let flags = if ty.is_vector() {
        flags
    } else {
        MemFlagsData::new()
    };
    t.builder.ins().bitcast(ty, flags, value)
}

fn int_binary(t: &mut Translator<'_>, op: IntBinaryOp, a: Value, b: Value) -> ir::Value {
    let is_vector = matches!(t.function.type_of(a), Type::IntVector(_));
    if is_vector && matches!(op, IntBinaryOp::Shl | IntBinaryOp::ShrU) {
        return vector_shift(t, op, a, b);
    }
    let is_index = t.function.type_of(a) == Type::Index;
    let divisor = t
        .constant(b)
        .filter(|_| is_index)
        .map(|divisor| divisor as u64);
    let [a, b] = [a, b].map(|v| t.get(v));
    match op {
        IntBinaryOp::DivU | IntBinaryOp::RemU if divisor.is_some_and(|d| d > 0) => {
            let divisor = divisor.unwrap_or(1);
            let quotient = divide(t, a, divisor);
            match op {
                IntBinaryOp::DivU => quotient,
                _ => {
                    let back = t.builder.ins().imul_imm_u(quotient, divisor as i64);
                    t.builder.ins().isub(a, back)
                }
            }
        }
        IntBinaryOp::Add => t.builder.ins().iadd(a, b),
        IntBinaryOp::And => t.builder.ins().band(a, b),
        IntBinaryOp::DivU => t.builder.ins().udiv(a, b),
        IntBinaryOp::MaxU => {
            let a_less = t.builder.ins().icmp(IntCC::UnsignedLessThan, a, b);
            t.builder.ins().select(a_less, b, a)
        }
        IntBinaryOp::MinU => {
            let a_less = t.builder.ins().icmp(IntCC::UnsignedLessThan, a, b);
            t.builder.ins().select(a_less, a, b)
        }
        IntBinaryOp::Mul => t.builder.ins().imul(a, b),
        IntBinaryOp::Or => t.builder.ins().bor(a, b),
        IntBinaryOp::RemU => t.builder.ins().urem(a, b),
        IntBinaryOp::Shl => t.builder.ins().ishl(a, b),
        IntBinaryOp::ShrU => t.builder.ins().ushr(a, b),
        IntBinaryOp::Sub => t.builder.ins().isub(a, b),
        IntBinaryOp::Xor => t.builder.ins().bxor(a, b),
    }
}

/// `n / divisor` on 64 bits without a division: Granlund and Montgomery, "Division by invariant
/// integers using multiplication" (PLDI 1994), figure 4.1.
fn divide(t: &mut Translator<'_>, n: ir::Value, divisor: u64) -> ir::Value {
    if divisor.is_power_of_two() {
        return t
            .builder
            .ins()
            .ushr_imm_u(n, i64::from(divisor.trailing_zeros()));
    }
    // Not a power of two, so 2^(l-1) < divisor < 2^l with l at least 2.
    let l = 64 - divisor.leading_zeros();
    let magic = (((1u128 << l) - u128::from(divisor)) << 64) / u128::from(divisor) + 1;
    let magic = t.builder.ins().iconst(types::I64, magic as u64 as i64);
    let high = t.builder.ins().umulhi(n, magic);
    let rest = t.builder.ins().isub(n, high);
    let half = t.builder.ins().ushr_imm_u(rest, 1);
    let sum = t.builder.ins().iadd(high, half);
    t.builder.ins().ushr_imm_u(sum, i64::from(l - 1))
}

/// Cranelift shifts all lanes by one scalar, which is the case that occurs: the amount is a splat.
/// Amounts that differ go lane by lane.
fn vector_shift(t: &mut Translator<'_>, op: IntBinaryOp, a: Value, b: Value) -> ir::Value {
    let shift = |t: &mut Translator<'_>, x: ir::Value, amount: ir::Value| match op {
        IntBinaryOp::Shl => t.builder.ins().ishl(x, amount),
        _ => t.builder.ins().ushr(x, amount),
    };
    let vector = t.get(a);
    if let Some(Expr::Splat(amount, _)) = t.definition(b) {
        let amount = t.get(amount);
        return shift(t, vector, amount);
    }
    let amounts = t.get(b);
    let mut result = vector;
    for lane in 0..LANES {
        let x = t.builder.ins().extractlane(vector, lane);
        let amount = t.builder.ins().extractlane(amounts, lane);
        let shifted = shift(t, x, amount);
        result = t.builder.ins().insertlane(result, shifted, lane);
    }
    result
}

fn float_binary(t: &mut Translator<'_>, op: FloatBinaryOp, a: Value, b: Value) -> ir::Value {
    let [a, b] = [a, b].map(|v| t.get(v));
    match op {
        FloatBinaryOp::Add => t.builder.ins().fadd(a, b),
        FloatBinaryOp::Div => t.builder.ins().fdiv(a, b),
        FloatBinaryOp::Max => choose_less(t, b, a, a, b),
        FloatBinaryOp::Min => choose_less(t, a, b, a, b),
        FloatBinaryOp::Mul => t.builder.ins().fmul(a, b),
        FloatBinaryOp::Sub => t.builder.ins().fsub(a, b),
    }
}

/// `if x < y { a } else { b }`, lane by lane.
fn choose_less(
    t: &mut Translator<'_>,
    x: ir::Value,
    y: ir::Value,
    a: ir::Value,
    b: ir::Value,
) -> ir::Value {
    let ty = t.builder.func.dfg.value_type(a);
    let less = t.builder.ins().fcmp(FloatCC::LessThan, x, y);
    if !ty.is_vector() {
        return t.builder.ins().select(less, a, b);
    }
    let mask = bitcast(t, less, ty);
    t.builder.ins().bitselect(mask, a, b)
}

fn compare(t: &mut Translator<'_>, op: CompareOp, a: Value, b: Value) -> ir::Value {
    let is_float = t.function.type_of(a) == Type::F32;
    let [a, b] = [a, b].map(|v| t.get(v));
    let (int, float) = match op {
        CompareOp::Eq => (IntCC::Equal, FloatCC::Equal),
        CompareOp::Ge => (
            IntCC::UnsignedGreaterThanOrEqual,
            FloatCC::GreaterThanOrEqual,
        ),
        CompareOp::Lt => (IntCC::UnsignedLessThan, FloatCC::LessThan),
        CompareOp::Ne => (IntCC::NotEqual, FloatCC::NotEqual),
    };
    match is_float {
        true => t.builder.ins().fcmp(float, a, b),
        false => t.builder.ins().icmp(int, a, b),
    }
}

/// The value is integral and in range, so truncating is exact. x86's instruction does that; its
/// saturating form in Cranelift is eight instructions. Elsewhere saturating is one instruction.
fn float_to_int(t: &mut Translator<'_>, value: Value, ty: ir::Type) -> ir::Value {
    let value = t.get(value);
    match (t.is_x86, ty.is_vector()) {
        (true, true) => t.builder.ins().x86_cvtt2dq(types::I32X4, value),
        (true, false) => {
            let vector = t.builder.ins().scalar_to_vector(types::F32X4, value);
            let vector = t.builder.ins().x86_cvtt2dq(types::I32X4, vector);
            t.builder.ins().extractlane(vector, 0)
        }
        (false, _) => t.builder.ins().fcvt_to_sint_sat(ty, value),
    }
}
