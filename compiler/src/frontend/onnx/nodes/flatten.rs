//! `Flatten`: to a matrix, cut at an axis.

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let shape = ctx.shape(&x).to_vec();
    // The cut may be behind the last axis.
    let axis = match node.int_or("axis", 1)? {
        axis if usize::try_from(axis) == Ok(shape.len()) => shape.len(),
        axis => node.axis(axis, shape.len())?,
    };
    let (rows, columns) = shape.split_at(axis);
    let matrix = [rows.iter().product(), columns.iter().product()];
    Ok(vec![ctx.reshape(node, &x, &matrix)?])
}
