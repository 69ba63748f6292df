//! `PRelu`: a leaky ReLU if the slope is one number, else `relu(x) + slope * min(x, 0)`.

use condensec_ir::ops::{Binary, BinaryKind, Op, Unary, UnaryKind};

use crate::frontend::onnx::constants::Literal;
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.operand(node, 0, "operand")?;
    let slope = ctx.required(node, 1, "slope")?;
    if let Value::Constant(constant) = &slope
        && !constant.has_level_data()
        && let Some(&[alpha]) = constant.literal.as_f32().map(|values| &values[..])
        && constant.shape().len() <= ctx.graph.node(x).shape.len()
    {
        let op = Op::Unary(Unary {
            kind: UnaryKind::LeakyRelu { alpha },
        });
        return Ok(vec![ctx.add(node, op, &[x])?.into()]);
    }
    let slope = ctx.value_operand(node, &slope)?;
    let zero = ctx.literal(node, Literal::f32(&[], [0.0]));
    let zero = ctx.value_operand(node, &zero)?;
    let binary = |kind| Op::Binary(Binary { kind });
    let positive = ctx.add_step(
        node,
        "positive",
        Op::Unary(Unary {
            kind: UnaryKind::Relu,
        }),
        &[x],
    )?;
    let negative = ctx.add_step(node, "negative", binary(BinaryKind::Min), &[x, zero])?;
    let scaled = ctx.add_step(node, "scaled", binary(BinaryKind::Mul), &[negative, slope])?;
    if ctx.graph.node(scaled).shape != ctx.graph.node(x).shape {
        return Err(node.error(
            "shape-mismatch",
            format!(
                "slope {:?} does not fit operand {:?}",
                ctx.graph.node(slope).shape,
                ctx.graph.node(x).shape
            ),
        ));
    }
    Ok(vec![
        ctx.add(node, binary(BinaryKind::Add), &[positive, scaled])?
            .into(),
    ])
}
