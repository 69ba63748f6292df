//! `Max`, `Min` and `Sum` of any number of tensors: a chain of two at a time, from the left as ONNX
//! Runtime does.

use condensec_ir::ops::{Binary, BinaryKind, Op};

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let kind = match node.op_type() {
        "Max" => BinaryKind::Max,
        "Min" => BinaryKind::Min,
        "Sum" => BinaryKind::Add,
        other => unreachable!("{other} is not in the registry"),
    };
    let inputs = ctx.all_inputs(node)?;
    if let [only] = &inputs[..] {
        return Ok(vec![only.clone()]);
    }
    if let Some(constants) = Context::all_constant(&inputs) {
        return ctx.compute(node, &constants, |inputs| {
            let mut result = inputs[0].clone();
            for input in &inputs[1..] {
                result = arithmetic::binary(kind, &result, input)?;
            }
            Ok(result)
        });
    }
    let op = || Op::Binary(Binary { kind });
    let mut result = ctx.value_operand(node, &inputs[0])?;
    for (at, input) in inputs.iter().enumerate().skip(1) {
        let input = ctx.value_operand(node, input)?;
        result = match at + 1 == inputs.len() {
            true => ctx.add(node, op(), &[result, input])?,
            false => ctx.add_step(node, &at.to_string(), op(), &[result, input])?,
        };
    }
    Ok(vec![result.into()])
}
