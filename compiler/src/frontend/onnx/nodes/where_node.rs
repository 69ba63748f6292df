//! `Where` with a constant condition (the file is not called after a keyword).
//!
//! Chosen by multiplication with zeros and ones; a constant alternative is put to zero beforehand where it is not chosen, so that the
//! infinities of attention masks do no harm.

use std::rc::Rc;

use condensec_ir::ops::{Binary, BinaryKind, Op};
use condensec_ir::{Diagnostic, NodeId};

use crate::frontend::onnx::constants::{Constant, Literal, arithmetic};
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let Some(condition) = ctx.constant(node, 0, "condition")? else {
        return Err(node.error("missing-input", "input 0 (condition) is missing"));
    };
    let x = ctx.required(node, 1, "X")?;
    let y = ctx.required(node, 2, "Y")?;
    if let (Value::Constant(x), Value::Constant(y)) = (&x, &y) {
        return ctx.compute(node, &[condition, x.clone(), y.clone()], |inputs| {
            arithmetic::select(inputs[0], inputs[1], inputs[2])
        });
    }
    let Some(holds) = condition.literal.as_bool() else {
        return Err(node.error("unsupported-dtype", format!("the condition is {}, expected BOOL", condition.literal.elems)));
    };
    let mismatch = |error: String| node.error("shape-mismatch", error);
    let shape = arithmetic::broadcast_shape(ctx.shape(&x), ctx.shape(&y)).map_err(mismatch)?;
    let shape = arithmetic::broadcast_shape(condition.shape(), &shape).map_err(mismatch)?;
    let n_true = holds.iter().filter(|&&holds| holds).count();
    if n_true == holds.len() || n_true == 0 {
        let chosen = if n_true == 0 { &y } else { &x };
        return Ok(vec![ctx.expand(node, node.output(0), chosen, &shape)?]);
    }
    let inverse: Vec<bool> = holds.iter().map(|&holds| !holds).collect();
    let inverse = Literal::bool(condition.shape(), inverse);
    let x = chosen_part(ctx, node, "x", &x, &condition.literal)?;
    let y = chosen_part(ctx, node, "y", &y, &inverse)?;
    let op = Op::Binary(Binary { kind: BinaryKind::Add });
    Ok(vec![ctx.add(node, op, &[x, y])?.into()])
}

/// `value` where the condition holds, else zero.
fn chosen_part(
    ctx: &mut Context,
    node: &NodeView,
    step: &str,
    value: &Value,
    condition: &Literal,
) -> Result<NodeId, Diagnostic> {
    if let Value::Constant(constant) = value {
        let zero = Literal::f32(&[], [0.0]);
        let select = |inputs: &[&Literal]| arithmetic::select(condition, inputs[0], &zero);
        let part = ctx.compute(node, &[constant.clone()], select)?;
        return ctx.value_operand(node, &part[0]);
    }
    let factors = arithmetic::cast(condition, super::cast::FLOAT);
    let factors = factors.map_err(|error| node.error("constant-arithmetic", error))?;
    let name = format!("{}/{step}_chosen", node.output(0));
    let factors = Value::Constant(Rc::new(Constant::shared(name, factors)));
    let factors = ctx.value_operand(node, &factors)?;
    let value = ctx.value_operand(node, value)?;
    ctx.add_step(node, step, Op::Binary(Binary { kind: BinaryKind::Mul }), &[value, factors])
}
