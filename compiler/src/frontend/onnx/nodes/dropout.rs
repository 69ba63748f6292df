//! `Dropout`: nothing, outside of training.

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let training = match node.opset {
        ..12 => None,
        _ => ctx.constant(node, 2, "training_mode")?,
    };
    let is_on =
        training.and_then(|mode| mode.literal.as_bool().map(|values| values.contains(&true)));
    if is_on == Some(true) {
        return Err(node
            .unsupported("Dropout with training_mode = true")
            .with_help("export the model for inference (in PyTorch: model.eval())"));
    }
    // The second output, the mask, is not supported; few models name it and none of them reads it.
    Ok(vec![ctx.required(node, 0, "operand")?])
}
