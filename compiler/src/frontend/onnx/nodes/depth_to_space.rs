//! `DepthToSpace`: channels become blocks of pixels.

use condensec_ir::Diagnostic;

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let shape = ctx.shape(&x).to_vec();
    let block = block_size(node)?;
    let misfit = || {
        node.error(
            "shape-mismatch",
            format!("operand {shape:?} has no {block}x{block} blocks in its channels"),
        )
    };
    let &[n, c, h, w] = shape.as_slice() else {
        return Err(misfit());
    };
    if !c.is_multiple_of(block * block) {
        return Err(misfit());
    }
    let depth = c / (block * block);
    let (split, permutation) = match node.string_or("mode", "DCR")? {
        "DCR" => ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3]),
        other => {
            return Err(node.bad_attribute(format!("`mode` is `{other}`, expected DCR or CRD")));
        }
    };
    rearrange(
        ctx,
        node,
        &x,
        &split,
        &permutation,
        &[n, depth, h * block, w * block],
    )
}

/// The attribute `blocksize`.
pub fn block_size(node: &NodeView) -> Result<usize, Diagnostic> {
    let Some(block) = node.int("blocksize")? else {
        return Err(node.bad_attribute("attribute `blocksize` is missing"));
    };
    Ok(node.checked_sizes("blocksize", &[block], 1)?[0])
}

/// `x` in shape `split`, with its axes permuted, in shape `merged`.
pub fn rearrange(
    ctx: &mut Context,
    node: &NodeView,
    x: &crate::frontend::onnx::import::Value,
    split: &[usize],
    permutation: &[usize],
    merged: &[usize],
) -> Outputs {
    let name = |step: &str| format!("{}/{step}", node.output(0));
    let split = ctx.reshape_named(node, &name("split"), x, split)?;
    let permuted = ctx.transpose_named(node, &name("permuted"), &split, permutation)?;
    Ok(vec![ctx.reshape(node, &permuted, merged)?])
}
