//! `Constant`, in all the forms that its value may have.

use std::rc::Rc;

use condensec_ir::Diagnostic;

use crate::frontend::onnx::constants::{Constant, Literal};
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let literal = if let Some(literal) = node.tensor("value")? {
        literal
    } else if let Some(literal) = node.sparse_tensor("sparse_value")? {
        literal
    } else if let Some(value) = node.float("value_float")? {
        Literal::f32(&[], [value])
    } else if let Some(values) = node.floats("value_floats")? {
        Literal::f32(&[values.len()], values)
    } else if let Some(value) = node.int("value_int")? {
        Literal::i64(&[], [value])
    } else if let Some(values) = node.ints("value_ints")? {
        Literal::i64(&[values.len()], values)
    } else if node.has_attribute("value_string") || node.has_attribute("value_strings") {
        return Err(node.error("unsupported-dtype", "a constant of strings"));
    } else {
        return Err(node.bad_attribute("the node has no value"));
    };
    Ok(vec![ctx.new_constant(node.output(0), literal)])
}

/// The inputs of a node that is done at compile time only.
pub fn operands(
    ctx: &Context,
    node: &NodeView,
    what: &[&str],
) -> Result<Vec<Rc<Constant>>, Diagnostic> {
    let operand = |(position, what): (usize, &&str)| {
        ctx.required(node, position, what)?;
        let constant = ctx.constant(node, position, what)?;
        constant.ok_or_else(|| {
            node.error(
                "missing-input",
                format!("input {position} ({what}) is missing"),
            )
        })
    };
    what.iter().enumerate().map(operand).collect()
}
