//! Operations on truth values, on constants only.

use crate::frontend::onnx::constants::Literal;
use crate::frontend::onnx::constants::arithmetic::{self, Logic};
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let logic = match node.op_type() {
        "And" => Logic::And,
        "Or" => Logic::Or,
        "Xor" => Logic::Xor,
        "Not" => {
            let operand = super::constant::operands(ctx, node, &["operand"])?;
            let truth = Literal::bool(&[], [true]);
            return ctx.compute(node, &operand, |inputs| {
                arithmetic::logic(Logic::Xor, inputs[0], &truth)
            });
        }
        other => unreachable!("{other} is not in the registry"),
    };
    let operands = super::constant::operands(ctx, node, &["first operand", "second operand"])?;
    ctx.compute(node, &operands, |inputs| {
        arithmetic::logic(logic, inputs[0], inputs[1])
    })
}
