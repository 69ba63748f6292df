//! `SpaceToDepth`: blocks of pixels become channels.

use super::depth_to_space::{block_size, rearrange};
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let shape = ctx.shape(&x).to_vec();
    let block = block_size(node)?;
    let misfit = || {
        node.error(
            "shape-mismatch",
            format!("operand {shape:?} is not made of {block}x{block} blocks"),
        )
    };
    let &[n, c, h, w] = shape.as_slice() else {
        return Err(misfit());
    };
    let depth = c.checked_mul(block * block);
    let Some(depth) = depth.filter(|_| h.is_multiple_of(block) && w.is_multiple_of(block)) else {
        return Err(misfit());
    };
    let (h, w) = (h / block, w / block);
    let (split, permutation) = match node.opset {
        ..28 => ([n, c, h, block, w, block], [0, 3, 5, 1, 2, 4]),
        _ => match node.string_or("mode", "DCR")? {
            "DCR" => ([n, c, h, block, w, block], [0, 3, 5, 1, 2, 4]),
            "CRD" => ([n, c, h, block, w, block], [0, 1, 3, 5, 2, 4]),
            other => {
                return Err(node.bad_attribute(format!("`mode` is `{other}`, expected DCR or CRD")));
            }
        },
    };
    rearrange(ctx, node, &x, &split, &permutation, &[n, depth, h, w])
}
