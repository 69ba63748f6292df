//! The values that an expression computes with.

use condensec_ir::kernel::{Expr, Value};

/// The operands of `expr`, in order.
pub(crate) fn operands(expr: Expr) -> Vec<Value> {
    let mut found = Vec::new();
    replace_operands(expr, |value| {
        found.push(value);
        value
    });
    found
}

/// `expr` with every operand `v` replaced by `f(v)`.
pub(crate) fn replace_operands(expr: Expr, mut f: impl FnMut(Value) -> Value) -> Expr {
    match expr {
        Expr::ConstIndex(_) | Expr::ConstI32(_) | Expr::ConstF32(_) | Expr::Address(_) => expr,
        Expr::IntBinary(op, a, b) => Expr::IntBinary(op, f(a), f(b)),
        Expr::FloatBinary(op, a, b) => Expr::FloatBinary(op, f(a), f(b)),
        Expr::FloatUnary(op, a) => Expr::FloatUnary(op, f(a)),
        Expr::MulAdd(a, b, c) => Expr::MulAdd(f(a), f(b), f(c)),
        Expr::Compare(op, a, b) => Expr::Compare(op, f(a), f(b)),
        Expr::Select { condition, a, b } => Expr::Select {
            condition: f(condition),
            a: f(a),
            b: f(b),
        },
        Expr::Splat(a, lanes) => Expr::Splat(f(a), lanes),
        Expr::Extract(a, lane) => Expr::Extract(f(a), lane),
        Expr::Deinterleave { a, b, parity } => Expr::Deinterleave {
            a: f(a),
            b: f(b),
            parity,
        },
        Expr::Interleave { a, b, half } => Expr::Interleave {
            a: f(a),
            b: f(b),
            half,
        },
        Expr::PtrAdd(a, b) => Expr::PtrAdd(f(a), f(b)),
        Expr::PtrToIndex(a) => Expr::PtrToIndex(f(a)),
        Expr::IndexToI32(a) => Expr::IndexToI32(f(a)),
        Expr::I32ToIndex(a) => Expr::I32ToIndex(f(a)),
        Expr::FloatToInt(a) => Expr::FloatToInt(f(a)),
        Expr::IntToFloat(a) => Expr::IntToFloat(f(a)),
        Expr::Bitcast(a) => Expr::Bitcast(f(a)),
        Expr::Load {
            memory,
            base,
            offset,
        } => Expr::Load {
            memory,
            base: f(base),
            offset,
        },
        Expr::AtomicLoad { base, offset } => Expr::AtomicLoad {
            base: f(base),
            offset,
        },
    }
}
