//! `If` with a constant condition: the branch takes the node's place (the file is not called after
//! a keyword).

use crate::frontend::onnx::import::{self, Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    ctx.required(node, 0, "condition")?;
    let condition = match ctx.input(node, 0) {
        Some(Value::Constant(condition)) => condition,
        _ => {
            return Err(node
                .error("not-constant", "the condition is computed at run time")
                .with_note(
                    "only one of the branches can be compiled: the condition must follow \
                     from constants and shapes",
                ));
        }
    };
    let Some(&[holds]) = condition.literal.as_bool() else {
        return Err(node.error(
            "shape-mismatch",
            format!(
                "the condition is {} of shape {:?}, expected one BOOL",
                condition.literal.elems,
                condition.shape()
            ),
        ));
    };
    let name = if holds { "then_branch" } else { "else_branch" };
    let Some(branch) = node.graph(name)? else {
        return Err(node.bad_attribute(format!("attribute `{name}` is missing")));
    };
    ctx.enter_scope();
    let is_imported = import::import_body(ctx, branch, node.opset);
    let outputs = branch.output.iter().map(|output| {
        let value = ctx.value(output.name()).cloned();
        value.ok_or_else(|| {
            node.error(
                "undefined-tensor",
                format!("no node of `{name}` makes `{}`", output.name()),
            )
            .at_tensor(output.name())
        })
    });
    let outputs: Outputs = outputs.collect();
    ctx.leave_scope();
    match is_imported {
        true => outputs,
        // Its faults have been reported.
        false => Ok(vec![Value::Lost(None); node.outputs().len()]),
    }
}
