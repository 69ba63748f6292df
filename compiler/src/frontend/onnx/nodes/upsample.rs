//! `Upsample`: scales are an attribute in operator sets 7 and 8, an input in 9; later there is
//! `Resize`.

use condensec_ir::ops::CoordinateTransform;

use super::resize::{self, Mode, Sampling, Target};
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let x = Value::Node(ctx.value_operand(node, &x)?);
    let shape = ctx.shape(&x).to_vec();
    let scales = match node.opset {
        ..9 => node.floats("scales")?.map(Into::into),
        9 => ctx.floats(node, 1, "scales")?,
        _ => {
            return Err(node
                .error(
                    "unsupported-opset",
                    format!(
                        "Upsample in operator set {}, which has Resize instead",
                        node.opset
                    ),
                )
                .with_help("convert the model to an operator set up to 9, or export it again"));
        }
    };
    let Some(scales) = scales else {
        return Err(node.error("missing-input", "the scales are missing"));
    };
    let axes: Vec<usize> = (0..shape.len()).collect();
    let target = Target::new(node, &shape, &axes, &scales)?;
    let mode = match node.string_or("mode", "nearest")? {
        "nearest" => Mode::NearestByDirection,
        // The name that operator set 1 had for it is still found in files.
        "linear" | "bilinear" => Mode::Linear,
        other => return Err(node.unsupported(format!("interpolation of mode `{other}`"))),
    };
    let sampling = Sampling {
        mode,
        transform: CoordinateTransform::Asymmetric,
    };
    resize::resize(ctx, node, &x, &target, sampling)
}
