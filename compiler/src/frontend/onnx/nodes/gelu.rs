//! `Gelu`: exact, or the approximation by a hyperbolic tangent as a composition.

use condensec_ir::ops::{Binary, BinaryKind, Op, Unary, UnaryKind};
use condensec_ir::{Diagnostic, NodeId};

use crate::frontend::onnx::constants::Literal;
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.operand(node, 0, "operand")?;
    match node.string_or("approximate", "none")? {
        "none" => Ok(vec![
            ctx.add(
                node,
                Op::Unary(Unary {
                    kind: UnaryKind::Gelu,
                }),
                &[x],
            )?
            .into(),
        ]),
        "tanh" => Ok(vec![tanh_form(ctx, node, x)?.into()]),
        other => {
            Err(node.bad_attribute(format!("`approximate` is `{other}`, expected none or tanh")))
        }
    }
}

/// `x * (0.5 + 0.5 * tanh(sqrt(2/pi) * (x + 0.044715 * x^3)))`
fn tanh_form(ctx: &mut Context, node: &NodeView, x: NodeId) -> Result<NodeId, Diagnostic> {
    let mut constant = |value: f32| {
        let value = ctx.literal(node, Literal::f32(&[], [value]));
        ctx.value_operand(node, &value)
    };
    let (half, cubic, slope) = (constant(0.5)?, constant(0.044715)?, constant(0.797_884_6)?);
    let mut step = |name: &str, kind: BinaryKind, a: NodeId, b: NodeId| {
        ctx.add_step(node, name, Op::Binary(Binary { kind }), &[a, b])
    };
    let square = step("square", BinaryKind::Mul, x, x)?;
    let cube = step("cube", BinaryKind::Mul, square, x)?;
    let scaled = step("scaled", BinaryKind::Mul, cube, cubic)?;
    let sum = step("sum", BinaryKind::Add, x, scaled)?;
    let argument = step("argument", BinaryKind::Mul, sum, slope)?;
    let tanh = ctx.add_step(
        node,
        "tanh",
        Op::Unary(Unary {
            kind: UnaryKind::Tanh,
        }),
        &[argument],
    )?;
    let mut step = |name: &str, kind: BinaryKind, a: NodeId, b: NodeId| {
        ctx.add_step(node, name, Op::Binary(Binary { kind }), &[a, b])
    };
    let halved = step("halved", BinaryKind::Mul, tanh, half)?;
    let gate = step("gate", BinaryKind::Add, halved, half)?;
    ctx.add(
        node,
        Op::Binary(Binary {
            kind: BinaryKind::Mul,
        }),
        &[x, gate],
    )
}
