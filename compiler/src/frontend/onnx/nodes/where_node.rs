//! `Where` with a constant condition (the file is not called after a keyword).
//!
//! The result is the sum of two tensors, each zero where the other is chosen. A constant is put to
//! zero beforehand, a run-time value is clamped between two constants: zeros where it is not
//! chosen, else the infinities. So the infinities and NaN of masked attention do no harm; only a
//! NaN that is chosen becomes minus infinity.

use std::rc::Rc;
use std::slice;

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
        return Err(node.error(
            "unsupported-dtype",
            format!(
                "the condition is {}, expected BOOL",
                condition.literal.elems
            ),
        ));
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
    let op = Op::Binary(Binary {
        kind: BinaryKind::Add,
    });
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
        let part = ctx.compute(node, slice::from_ref(constant), select)?;
        return ctx.value_operand(node, &part[0]);
    }
    let bound = |bound: f32| {
        let (bound, zero) = (Literal::f32(&[], [bound]), Literal::f32(&[], [0.0]));
        arithmetic::select(condition, &bound, &zero)
    };
    let mut result = ctx.value_operand(node, value)?;
    for (name, kind, infinity) in [
        ("above", BinaryKind::Max, f32::NEG_INFINITY),
        ("below", BinaryKind::Min, f32::INFINITY),
    ] {
        let bound = bound(infinity).map_err(|error| node.error("constant-arithmetic", error))?;
        let bound_name = format!("{}/{step}_{name}", node.output(0));
        let bound = Value::Constant(Rc::new(Constant::shared(bound_name, bound)));
        let bound = ctx.value_operand(node, &bound)?;
        let op = Op::Binary(Binary { kind });
        result = ctx.add_step(node, &format!("{step}_{name}"), op, &[result, bound])?;
    }
    Ok(result)
}
