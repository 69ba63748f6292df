//! `Squeeze` and `Unsqueeze`: axes are an attribute up to operator set 12, an input from 13 on.

use condensec_ir::Diagnostic;

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let axes = match node.opset {
        ..13 => node.ints("axes")?.map(<[i64]>::to_vec),
        _ => ctx.ints(node, 1, "axes")?,
    };
    let from = ctx.shape(&x).to_vec();
    let shape = match (node.op_type(), axes) {
        ("Squeeze", axes) => squeezed(node, &from, axes.as_deref())?,
        (_, Some(axes)) => unsqueezed(node, &from, &axes)?,
        (_, None) => return Err(node.error("missing-input", "the axes are missing")),
    };
    Ok(vec![ctx.reshape(node, &x, &shape)?])
}

fn squeezed(
    node: &NodeView,
    from: &[usize],
    axes: Option<&[i64]>,
) -> Result<Vec<usize>, Diagnostic> {
    let Some(axes) = axes else {
        return Ok(from.iter().copied().filter(|&size| size != 1).collect());
    };
    let axes = node.axes(axes, from.len())?;
    if let Some(&axis) = axes.iter().find(|&&axis| from[axis] != 1) {
        return Err(node.error(
            "shape-mismatch",
            format!("axis {axis} of {from:?} is not of size 1"),
        ));
    }
    Ok((0..from.len())
        .filter(|axis| !axes.contains(axis))
        .map(|axis| from[axis])
        .collect())
}

fn unsqueezed(node: &NodeView, from: &[usize], axes: &[i64]) -> Result<Vec<usize>, Diagnostic> {
    let rank = from.len() + axes.len();
    let axes = node.axes(axes, rank)?;
    let mut sizes = from.iter().copied();
    let size = |axis| {
        if axes.contains(&axis) {
            1
        } else {
            sizes.next().unwrap_or(1)
        }
    };
    Ok((0..rank).map(size).collect())
}
