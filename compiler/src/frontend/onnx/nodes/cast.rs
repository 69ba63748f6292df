//! `Cast` and `CastLike`: of constants to any type, of run-time values from float to float.

use std::slice;

use crate::frontend::onnx::constants::{Elems, arithmetic};
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};
use crate::frontend::onnx::proto::DataType;

/// The type of everything that is computed at run time.
pub const FLOAT: DataType = DataType::Float;

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let Some(to) = node.int("to")? else {
        return Err(node.bad_attribute("attribute `to` is missing"));
    };
    let to = ctx.data_type(node, to)?;
    cast(ctx, node, to)
}

/// To the type of another tensor; integers of all widths are one type here.
pub fn import_like(ctx: &mut Context, node: &NodeView) -> Outputs {
    let to = match ctx.required(node, 1, "target")? {
        Value::Node(_) | Value::Lost(_) => FLOAT,
        Value::Constant(constant) => match constant.literal.elems {
            Elems::F32(_) => FLOAT,
            Elems::I64(_) => DataType::Int64,
            Elems::Bool(_) => DataType::Bool,
        },
    };
    cast(ctx, node, to)
}

fn cast(ctx: &mut Context, node: &NodeView, to: DataType) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    match &x {
        // Already f32 here; level data stays.
        Value::Constant(constant)
            if constant.literal.as_f32().is_some()
                && matches!(to, DataType::Float | DataType::Double) =>
        {
            Ok(vec![x])
        }
        Value::Constant(constant) => ctx.compute(node, slice::from_ref(constant), |inputs| {
            arithmetic::cast(inputs[0], to)
        }),
        Value::Node(_) | Value::Lost(_) if to == FLOAT => Ok(vec![x]),
        Value::Node(_) | Value::Lost(_) => Err(node
            .error(
                "unsupported-dtype",
                format!("a cast of a run-time value to {to}"),
            )
            .with_note("everything that is computed at run time is FLOAT")),
    }
}
