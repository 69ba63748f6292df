//! `Mod`, on constants only.

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let fmod = node.flag("fmod", false)?;
    let operands = super::constant::operands(ctx, node, &["dividend", "divisor"])?;
    ctx.compute(node, &operands, |inputs| {
        arithmetic::modulo(inputs[0], inputs[1], fmod)
    })
}
