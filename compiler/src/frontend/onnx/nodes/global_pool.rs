//! `GlobalAveragePool` and `GlobalMaxPool`: reductions over the spatial axes.

use condensec_ir::ops::{Op, Reduce, ReduceKind};

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let kind = match node.op_type() {
        "GlobalAveragePool" => ReduceKind::Mean,
        "GlobalMaxPool" => ReduceKind::Max,
        other => unreachable!("{other} is not in the registry"),
    };
    let x = ctx.operand(node, 0, "operand")?;
    let shape = &ctx.graph.node(x).shape;
    if shape.len() < 3 {
        return Err(node.error(
            "shape-mismatch",
            format!("operand has shape {shape:?}, expected [N, C, ..]"),
        ));
    }
    let axes = (2..shape.len()).collect();
    let op = Op::Reduce(Reduce {
        kind,
        axes,
        keep_dims: true,
    });
    Ok(vec![ctx.add(node, op, &[x])?.into()])
}
