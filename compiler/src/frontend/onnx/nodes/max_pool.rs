//! `MaxPool` with one or two spatial axes.

use condensec_ir::ops::{MaxPool, Op};

use super::window::{self, Window};
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.operand(node, 0, "operand")?;
    let shape = ctx.graph.node(x).shape.clone();
    let n_axes = window::n_spatial_axes(node, &shape)?;
    let window = Window::read_with_kernel(node, n_axes)?;
    let ceil = node.opset >= 10 && node.flag("ceil_mode", false)?;
    let pads: Vec<(usize, usize)> = (0..n_axes)
        .map(|axis| {
            let size = shape[2 + axis];
            let (low, high) = window.pads(axis, size);
            // Padding is minus infinity, so a window beyond it is a window over more of it.
            (
                low,
                high + if ceil { window.overhang(axis, size) } else { 0 },
            )
        })
        .collect();
    check_pads(node, &window, &pads)?;
    let op = MaxPool {
        kernel: window::pair(&window.kernel, 1),
        strides: window::pair(&window.strides, 1),
        pads: window::box_pads(&pads),
        dilations: window::pair(&window.dilations, 1),
    };
    // Output 1, the indices, is not supported.
    Ok(vec![
        window::add_spatial(ctx, node, Op::MaxPool(op), x)?.into(),
    ])
}

/// Refuses padding in which a whole window fits; the result would not be defined.
pub fn check_pads(
    node: &NodeView,
    window: &Window,
    pads: &[(usize, usize)],
) -> Result<(), condensec_ir::Diagnostic> {
    for (axis, &(low, high)) in pads.iter().enumerate() {
        let reach = window.reach(axis);
        if low >= reach || high >= reach {
            return Err(node.error(
                "shape-mismatch",
                format!(
                    "padding {low} and {high} is as wide as the window, which reaches \
                     {reach} elements"
                ),
            ));
        }
    }
    Ok(())
}
