//! `Identity`: another name for the same tensor.

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    Ok(vec![ctx.required(node, 0, "operand")?])
}
