//! Arithmetic on two tensors.
//!
//! `Mul` of a weight and a constant mask, as pruning tools leave it in the graph, ends here: the
//! zeros go into the weight.

use std::slice;

use condensec_ir::ops::{Binary, BinaryKind, Op};

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let kind = match node.op_type() {
        "Add" => BinaryKind::Add,
        "Div" => BinaryKind::Div,
        "Mul" => BinaryKind::Mul,
        "Pow" => BinaryKind::Pow,
        "Sub" => BinaryKind::Sub,
        other => unreachable!("{other} is not in the registry"),
    };
    let a = ctx.required(node, 0, "first operand")?;
    let b = ctx.required(node, 1, "second operand")?;
    if let (Value::Constant(a), Value::Constant(b)) = (&a, &b) {
        if kind == BinaryKind::Mul {
            return ctx.product(node, a, b);
        }
        let operation = |inputs: &[&_]| arithmetic::binary(kind, inputs[0], inputs[1]);
        return ctx.compute(node, &[a.clone(), b.clone()], operation);
    }
    let a = ctx.value_operand(node, &a)?;
    // An exponent may be an integer.
    let b = match &b {
        Value::Constant(exponent)
            if kind == BinaryKind::Pow && exponent.literal.as_i64().is_some() =>
        {
            let cast = |inputs: &[&_]| arithmetic::cast(inputs[0], super::cast::FLOAT);
            let exponent = ctx.compute(node, slice::from_ref(exponent), cast)?;
            ctx.value_operand(node, &exponent[0])?
        }
        _ => ctx.value_operand(node, &b)?,
    };
    Ok(vec![
        ctx.add(node, Op::Binary(Binary { kind }), &[a, b])?.into(),
    ])
}
