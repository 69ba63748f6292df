//! `Clip`: bounds are attributes up to operator set 10, inputs from 11 on.

use condensec_ir::ops::{Binary, BinaryKind, Op, Unary, UnaryKind};

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let bounds = match node.opset {
        ..11 => {
            let (lo, hi) = (
                node.float_or("min", f32::MIN)?,
                node.float_or("max", f32::MAX)?,
            );
            let x = ctx.value_operand(node, &x)?;
            let op = Op::Unary(Unary {
                kind: UnaryKind::Clip { lo, hi },
            });
            return Ok(vec![ctx.add(node, op, &[x])?.into()]);
        }
        _ => [ctx.input(node, 1), ctx.input(node, 2)],
    };
    let kinds = [BinaryKind::Max, BinaryKind::Min];
    let given: Vec<(BinaryKind, Value)> = kinds
        .into_iter()
        .zip(bounds)
        .filter_map(|(kind, bound)| Some((kind, bound?)))
        .collect();

    let operands: Vec<Value> = [&x]
        .into_iter()
        .chain(given.iter().map(|(_, bound)| bound))
        .cloned()
        .collect();
    if let Some(constants) = Context::all_constant(&operands) {
        return ctx.compute(node, &constants, |inputs| {
            let mut result = inputs[0].clone();
            for ((kind, _), bound) in given.iter().zip(&inputs[1..]) {
                result = arithmetic::binary(*kind, &result, bound)?;
            }
            Ok(result)
        });
    }
    let is_constant = |(_, bound): &(BinaryKind, Value)| bound.as_constant().is_some();
    if given.iter().all(is_constant) {
        let lo = ctx.scalar(node, 1, "min")?.unwrap_or(f32::MIN);
        let hi = ctx.scalar(node, 2, "max")?.unwrap_or(f32::MAX);
        let x = ctx.value_operand(node, &x)?;
        let op = Op::Unary(Unary {
            kind: UnaryKind::Clip { lo, hi },
        });
        return Ok(vec![ctx.add(node, op, &[x])?.into()]);
    }
    let mut result = ctx.value_operand(node, &x)?;
    for (kind, bound) in given {
        let bound = ctx.value_operand(node, &bound)?;
        let op = Op::Binary(Binary { kind });
        result = match kind {
            BinaryKind::Max if ctx.input(node, 2).is_some() => {
                ctx.add_step(node, "max", op, &[result, bound])?
            }
            _ => ctx.add(node, op, &[result, bound])?,
        };
    }
    Ok(vec![result.into()])
}
