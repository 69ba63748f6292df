//! `AveragePool` with one or two spatial axes.

use condensec_ir::ops::{AvgPool, Op};

use super::window::{self, Window};
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.operand(node, 0, "operand")?;
    let shape = ctx.graph.node(x).shape.clone();
    let n_axes = window::n_spatial_axes(node, &shape)?;
    let window = Window::read_with_kernel(node, n_axes)?;
    if window.dilations.iter().any(|&dilation| dilation != 1) {
        return Err(node.unsupported(format!(
            "an average pool with dilations {:?}",
            window.dilations
        )));
    }
    let ceil = node.opset >= 10 && node.flag("ceil_mode", false)?;
    let sizes = || (0..n_axes).map(|axis| (axis, shape[2 + axis]));
    let pads: Vec<(usize, usize)> = sizes()
        .map(|(axis, size)| window.pads(axis, size))
        .collect();
    super::max_pool::check_pads(node, &window, &pads)?;
    let overhang: Vec<usize> = match ceil {
        true => sizes()
            .map(|(axis, size)| window.overhang(axis, size))
            .collect(),
        false => vec![0; n_axes],
    };
    let op = AvgPool {
        kernel: window::pair(&window.kernel, 1),
        strides: window::pair(&window.strides, 1),
        pads: window::box_pads(&pads),
        overhang: window::pair(&overhang, 0),
        count_include_pad: node.flag("count_include_pad", false)?,
    };
    Ok(vec![
        window::add_spatial(ctx, node, Op::AvgPool(op), x)?.into(),
    ])
}
