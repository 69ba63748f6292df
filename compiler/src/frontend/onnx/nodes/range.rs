//! `Range`, on constants only.

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let operands = super::constant::operands(ctx, node, &["start", "limit", "delta"])?;
    ctx.compute(node, &operands, |inputs| {
        arithmetic::range(inputs[0], inputs[1], inputs[2])
    })
}
