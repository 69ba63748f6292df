//! `Transpose`

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let rank = ctx.shape(&x).len();
    let permutation = match node.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(given) if given.len() == rank => node.axes(given, rank)?,
        Some(given) => {
            return Err(node.bad_attribute(format!("`perm` {given:?} does not fit {rank} axes")));
        }
    };
    Ok(vec![ctx.transpose(node, &x, &permutation)?])
}
