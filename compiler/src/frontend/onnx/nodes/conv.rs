//! `Conv` with one or two spatial axes.

use condensec_ir::ops::{Binary, BinaryKind, Conv2d, Op};
use condensec_ir::{Diagnostic, NodeId};

use super::window::{self, Window};
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.operand(node, 0, "operand")?;
    let shape = ctx.graph.node(x).shape.clone();
    let n_axes = window::n_spatial_axes(node, &shape)?;
    let weight = ctx.weight(node, 1)?;
    let kernel = kernel(node, weight.shape(), shape.len())?;
    let window = Window::read(node, &kernel)?;
    let (m, c) = (weight.shape()[0], weight.shape()[1]);
    let pads: Vec<(usize, usize)> = (0..n_axes)
        .map(|axis| window.pads(axis, shape[2 + axis]))
        .collect();

    let [kh, kw] = window::pair(&window.kernel, 1);
    let weight = weight.reshaped(&[m, c, kh, kw]);
    let scale = ctx.add_scale(node, &weight, m)?;
    let op = Conv2d {
        scale,
        strides: window::pair(&window.strides, 1),
        pads: window::box_pads(&pads),
        dilations: window::pair(&window.dilations, 1),
        groups: groups(node)?,
        ..Conv2d::new(ctx.add_weight(&weight))
    };
    Ok(vec![add_with_bias(ctx, node, op, m, x)?.into()])
}

/// The spatial sizes of a weight, which `kernel_shape` may repeat.
pub fn kernel(node: &NodeView, weight: &[usize], rank: usize) -> Result<Vec<usize>, Diagnostic> {
    if weight.len() != rank {
        return Err(node.error(
            "shape-mismatch",
            format!("the weight has shape {weight:?}, expected {rank} axes as the operand has"),
        ));
    }
    let kernel = &weight[2..];
    match node.window_sizes("kernel_shape", kernel.len(), 1)? {
        Some(given) if given != kernel => Err(node.error(
            "shape-mismatch",
            format!("`kernel_shape` is {given:?}, the weight has shape {weight:?}"),
        )),
        _ => Ok(kernel.to_vec()),
    }
}

pub fn groups(node: &NodeView) -> Result<usize, Diagnostic> {
    let groups = node.int_or("group", 1)?;
    let positive = usize::try_from(groups).ok().filter(|&groups| groups > 0);
    positive.ok_or_else(|| node.bad_attribute(format!("`group` is {groups}")))
}

/// Adds the convolution with the bias that input 2 gives.
pub fn add_with_bias(
    ctx: &mut Context,
    node: &NodeView,
    mut op: Conv2d,
    m: usize,
    x: NodeId,
) -> Result<NodeId, Diagnostic> {
    match ctx.input(node, 2) {
        None => window::add_spatial(ctx, node, Op::Conv2d(op), x),
        Some(Value::Constant(bias)) => {
            op.bias = Some(ctx.parameter(node, &bias, m, "bias")?);
            window::add_spatial(ctx, node, Op::Conv2d(op), x)
        }
        Some(bias @ (Value::Node(_) | Value::Lost(_))) => {
            let product = window::add_spatial(ctx, node, Op::Conv2d(op), x)?;
            let mut per_channel = vec![1; ctx.graph.node(product).shape.len()];
            per_channel[1] = m;
            let name = format!("{}/bias", node.output(0));
            let bias = ctx.reshape_named(node, &name, &bias, &per_channel)?;
            let bias = ctx.value_operand(node, &bias)?;
            ctx.add(
                node,
                Op::Binary(Binary {
                    kind: BinaryKind::Add,
                }),
                &[product, bias],
            )
        }
    }
}
