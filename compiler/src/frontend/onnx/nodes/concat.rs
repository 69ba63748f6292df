//! `Concat`

use condensec_ir::ops::{Concat, Op};

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let Some(axis) = node.int("axis")? else {
        return Err(node.bad_attribute("attribute `axis` is missing"));
    };
    let mut inputs = ctx.all_inputs(node)?;
    if let Some(constants) = Context::all_constant(&inputs) {
        let axis = node.axis(axis, constants[0].shape().len())?;
        return ctx.compute(node, &constants, |inputs| arithmetic::concat(inputs, axis));
    }
    // Exporters leave empty constants in, where a slice of a list had no elements.
    let is_empty = |input: &Value| {
        input
            .as_constant()
            .is_some_and(|c| c.literal.n_elems() == 0)
    };
    inputs.retain(|input| !is_empty(input));
    if let [only] = &inputs[..] {
        node.axis(axis, ctx.shape(only).len())?;
        return Ok(vec![only.clone()]);
    }
    let axis = node.axis(axis, ctx.shape(&inputs[0]).len())?;
    let mut operands = Vec::with_capacity(inputs.len());
    for input in &inputs {
        operands.push(ctx.value_operand(node, input)?);
    }
    Ok(vec![
        ctx.add(node, Op::Concat(Concat { axis }), &operands)?
            .into(),
    ])
}
