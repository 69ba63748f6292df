//! Functions of one number, applied to each element.

use condensec_ir::ops::{Op, Unary, UnaryKind};

use crate::frontend::onnx::constants::{Elems, Literal};
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};
use condensec_ir::Diagnostic;

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let kind = kind(node)?;
    let x = ctx.required(node, 0, "operand")?;
    match x {
        Value::Constant(constant) => {
            ctx.compute(node, &[constant], |inputs| evaluate(kind, inputs[0]))
        }
        Value::Node(_) | Value::Lost(_) => {
            let x = ctx.value_operand(node, &x)?;
            Ok(vec![ctx.add(node, Op::Unary(Unary { kind }), &[x])?.into()])
        }
    }
}

fn kind(node: &NodeView) -> Result<UnaryKind, Diagnostic> {
    Ok(match node.op_type() {
        "Abs" => UnaryKind::Abs,
        "Ceil" => UnaryKind::Ceil,
        "Elu" => UnaryKind::Elu {
            alpha: node.float_or("alpha", 1.0)?,
        },
        "Erf" => UnaryKind::Erf,
        "Exp" => UnaryKind::Exp,
        "Floor" => UnaryKind::Floor,
        "HardSigmoid" => UnaryKind::HardSigmoid {
            alpha: node.float_or("alpha", 0.2)?,
            beta: node.float_or("beta", 0.5)?,
        },
        "HardSwish" => UnaryKind::HardSwish,
        "LeakyRelu" => UnaryKind::LeakyRelu {
            alpha: node.float_or("alpha", 0.01)?,
        },
        "Log" => UnaryKind::Log,
        "Neg" => UnaryKind::Neg,
        "Reciprocal" => UnaryKind::Reciprocal,
        "Relu" => UnaryKind::Relu,
        "Round" => UnaryKind::Round,
        "Sigmoid" => UnaryKind::Sigmoid,
        "Softplus" => UnaryKind::Softplus,
        "Sqrt" => UnaryKind::Sqrt,
        "Tanh" => UnaryKind::Tanh,
        other => unreachable!("{other} is not in the registry"),
    })
}

fn evaluate(kind: UnaryKind, x: &Literal) -> Result<Literal, String> {
    match &x.elems {
        Elems::F32(values) => {
            let values: Vec<f32> = values.iter().map(|&value| kind.eval(value)).collect();
            Ok(Literal::f32(&x.shape, values))
        }
        Elems::I64(values) => {
            let function: fn(i64) -> i64 = match kind {
                UnaryKind::Abs => i64::wrapping_abs,
                UnaryKind::Neg => i64::wrapping_neg,
                UnaryKind::Relu => |value| value.max(0),
                _ => return Err(format!("{} of integers", kind.name())),
            };
            Ok(Literal::i64(
                &x.shape,
                values
                    .iter()
                    .map(|&value| function(value))
                    .collect::<Vec<i64>>(),
            ))
        }
        Elems::Bool(_) => Err(format!("{} of truth values", kind.name())),
    }
}
