//! `ConstantOfShape`

use crate::frontend::onnx::constants::{Elems, Literal, arithmetic};
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let shape = ctx.ints(node, 0, "shape")?.unwrap_or_default();
    let sizes: Option<Vec<usize>> = shape
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect();
    let Some(sizes) = sizes else {
        return Err(node.error(
            "shape-mismatch",
            format!("shape {shape:?} has a negative size"),
        ));
    };
    let n =
        arithmetic::check_size(&sizes, 0).map_err(|error| node.error("tensor-too-large", error))?;
    let value = node
        .tensor("value")?
        .unwrap_or_else(|| Literal::f32(&[1], [0.0]));
    if value.n_elems() != 1 {
        return Err(node.bad_attribute(format!(
            "attribute `value` has {} elements, expected one",
            value.n_elems()
        )));
    }
    let literal = match &value.elems {
        Elems::F32(values) => Literal::f32(&sizes, vec![values[0]; n]),
        Elems::I64(values) => Literal::i64(&sizes, vec![values[0]; n]),
        Elems::Bool(values) => Literal::bool(&sizes, vec![values[0]; n]),
    };
    Ok(vec![ctx.literal(node, literal)])
}
