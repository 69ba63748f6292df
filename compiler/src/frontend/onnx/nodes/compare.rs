//! Comparisons, on constants only: there are no truth values at run time.

use crate::frontend::onnx::constants::arithmetic::{self, Comparison};
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let comparison = match node.op_type() {
        "Equal" => Comparison::Equal,
        "Greater" => Comparison::Greater,
        "GreaterOrEqual" => Comparison::GreaterOrEqual,
        "Less" => Comparison::Less,
        "LessOrEqual" => Comparison::LessOrEqual,
        other => unreachable!("{other} is not in the registry"),
    };
    let operands = super::constant::operands(ctx, node, &["first operand", "second operand"])?;
    ctx.compute(node, &operands, |inputs| {
        arithmetic::compare(comparison, inputs[0], inputs[1])
    })
}
