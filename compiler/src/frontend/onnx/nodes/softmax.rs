//! `Softmax` and `LogSoftmax`: along one axis from operator set 13 on; before, over all axes from
//! the given one on.

use condensec_ir::ops::{Op, Reshape, Softmax};

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let log = node.op_type() == "LogSoftmax";
    let x = ctx.operand(node, 0, "operand")?;
    let shape = ctx.graph.node(x).shape.clone();
    let default = if node.opset < 13 { 1 } else { -1 };
    let axis = node.axis(node.int_or("axis", default)?, shape.len())?;
    if node.opset >= 13 || shape[axis + 1..].iter().all(|&size| size == 1) {
        return Ok(vec![
            ctx.add(node, Op::Softmax(Softmax { axis, log }), &[x])?
                .into(),
        ]);
    }
    let (rows, columns) = shape.split_at(axis);
    let matrix = vec![rows.iter().product(), columns.iter().product()];
    let flat = ctx.add_step(node, "flat", Op::Reshape(Reshape { shape: matrix }), &[x])?;
    let result = ctx.add_step(node, "rows", Op::Softmax(Softmax { axis: 1, log }), &[flat])?;
    Ok(vec![
        ctx.add(node, Op::Reshape(Reshape { shape }), &[result])?
            .into(),
    ])
}
