//! `Expand`

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let shape = super::reshape::target_sizes(ctx, node)?;
    let sizes: Option<Vec<usize>> = shape
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect();
    let Some(sizes) = sizes else {
        return Err(node.error(
            "shape-mismatch",
            format!("shape {shape:?} has a negative size"),
        ));
    };
    Ok(vec![ctx.expand(node, node.output(0), &x, &sizes)?])
}
