//! `Cast`: of constants to any type, of run-time values from float to float.

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};
use crate::frontend::onnx::proto::DataType;

/// The type of everything that is computed at run time.
pub const FLOAT: DataType = DataType::Float;

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let Some(to) = node.int("to")? else {
        return Err(node.bad_attribute("attribute `to` is missing"));
    };
    let to = ctx.data_type(node, to)?;
    let x = ctx.required(node, 0, "operand")?;
    match &x {
        // Already f32 here; level data stays.
        Value::Constant(constant)
            if constant.literal.as_f32().is_some() && matches!(to, DataType::Float | DataType::Double) =>
        {
            Ok(vec![x])
        }
        Value::Constant(constant) => {
            ctx.compute(node, &[constant.clone()], |inputs| arithmetic::cast(inputs[0], to))
        }
        Value::Node(_) | Value::Lost(_) if to == FLOAT => Ok(vec![x]),
        Value::Node(_) | Value::Lost(_) => {
            Err(node.error("unsupported-dtype", format!("a cast of a run-time value to {to}"))
                .with_note("everything that is computed at run time is FLOAT"))
        }
    }
}
