//! Reductions: axes are an attribute up to operator set 17 (`ReduceSum`: 12), an input after that.

use std::slice;

use condensec_ir::ops::{Op, Reduce, ReduceKind};

use crate::frontend::onnx::constants::arithmetic::{self, Reduction};
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let (reduction, kind) = match node.op_type() {
        "ReduceMax" => (Reduction::Max, Some(ReduceKind::Max)),
        "ReduceMean" => (Reduction::Mean, Some(ReduceKind::Mean)),
        "ReduceMin" => (Reduction::Min, Some(ReduceKind::Min)),
        "ReduceProd" => (Reduction::Prod, None),
        "ReduceSum" => (Reduction::Sum, Some(ReduceKind::Sum)),
        other => unreachable!("{other} is not in the registry"),
    };
    let x = ctx.required(node, 0, "operand")?;
    let rank = ctx.shape(&x).len();
    let first_with_input = if reduction == Reduction::Sum { 13 } else { 18 };
    let axes = match node.opset >= first_with_input {
        true => ctx.ints(node, 1, "axes")?,
        false => node.ints("axes")?.map(<[i64]>::to_vec),
    };
    let keep_dims = node.flag("keepdims", true)?;
    let axes = match axes {
        Some(axes) if !axes.is_empty() => node.axes(&axes, rank)?,
        _ if node.flag("noop_with_empty_axes", false)? => return Ok(vec![x]),
        _ => (0..rank).collect(),
    };
    match (&x, kind) {
        (Value::Constant(constant), _) => ctx.compute(node, slice::from_ref(constant), |inputs| {
            arithmetic::reduce(reduction, inputs[0], &axes, keep_dims)
        }),
        (Value::Node(_) | Value::Lost(_), Some(kind)) => {
            let x = ctx.value_operand(node, &x)?;
            let op = Op::Reduce(Reduce {
                kind,
                axes,
                keep_dims,
            });
            Ok(vec![ctx.add(node, op, &[x])?.into()])
        }
        (Value::Node(_) | Value::Lost(_), None) => Err(node.error(
            "not-constant",
            "a product over an axis of a run-time value is not supported",
        )),
    }
}
