//! `BatchNormalization` for inference. It stays a node of its own: a later pass knows whether it
//! can be folded.

use condensec_ir::ops::{BatchNorm, Op};
use condensec_ir::{Diagnostic, TensorId};

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let is_training = match node.opset {
        // Up to 13 a node trains if it has outputs for the new statistics.
        ..14 => node.outputs().iter().skip(1).any(|name| !name.is_empty()),
        _ => node.flag("training_mode", false)?,
    };
    if is_training {
        return Err(node
            .unsupported("batch normalization in training mode")
            .with_help("export the model for inference (in PyTorch: model.eval())"));
    }
    if node.opset < 9 && !node.flag("spatial", true)? {
        return Err(node.unsupported("batch normalization per element (spatial = 0)"));
    }
    let x = ctx.operand(node, 0, "operand")?;
    let shape = ctx.graph.node(x).shape.clone();
    let &[_, channels, ..] = shape.as_slice() else {
        return Err(node.error(
            "shape-mismatch",
            format!("operand has shape {shape:?}, expected [N, C, ..]"),
        ));
    };
    let mut parameter = |position: usize, what: &str| -> Result<TensorId, Diagnostic> {
        ctx.required(node, position, what)?;
        match ctx.constant(node, position, what)? {
            Some(constant) => ctx.parameter(node, &constant, channels, what),
            None => Err(node.error(
                "missing-input",
                format!("input {position} ({what}) is missing"),
            )),
        }
    };
    let op = BatchNorm {
        scale: parameter(1, "scale")?,
        bias: parameter(2, "bias")?,
        mean: parameter(3, "mean")?,
        var: parameter(4, "variance")?,
        epsilon: node.float_or("epsilon", 1e-5)?,
    };
    Ok(vec![ctx.add(node, Op::BatchNorm(op), &[x])?.into()])
}
