//! `LRN`: each element over a power of the mean square of its neighbours in the channels.
//!
//! The mean is an average pool along the channels, in which the padding counts: ONNX divides by the
//! size of the whole window at the borders too.

use condensec_ir::ops::{AvgPool, Binary, BinaryKind, Op, Reshape};

use crate::frontend::onnx::constants::Literal;
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.operand(node, 0, "operand")?;
    let shape = ctx.graph.node(x).shape.clone();
    let &[n, c, ref inner @ ..] = shape.as_slice() else {
        return Err(node.error(
            "shape-mismatch",
            format!("operand has shape {shape:?}, expected [N, C, ..]"),
        ));
    };
    let Some(size) = node.int("size")? else {
        return Err(node.bad_attribute("attribute `size` is missing"));
    };
    let size = node.checked_sizes("size", &[size], 1)?[0];
    let mut constant = |value: f32| {
        let value = ctx.literal(node, Literal::f32(&[], [value]));
        ctx.value_operand(node, &value)
    };
    let alpha = constant(node.float_or("alpha", 1e-4)?)?;
    let beta = constant(node.float_or("beta", 0.75)?)?;
    let bias = constant(node.float_or("bias", 1.0)?)?;

    let binary = |kind: BinaryKind| Op::Binary(Binary { kind });
    let squares = ctx.add_step(node, "squares", binary(BinaryKind::Mul), &[x, x])?;
    let rows = Op::Reshape(Reshape {
        shape: vec![n, 1, c, inner.iter().product()],
    });
    let rows = ctx.add_step(node, "rows", rows, &[squares])?;
    let pool = Op::AvgPool(AvgPool {
        kernel: [size, 1],
        strides: [1, 1],
        pads: [(size - 1) / 2, 0, size / 2, 0],
        overhang: [0, 0],
        count_include_pad: true,
    });
    let means = ctx.add_step(node, "means", pool, &[rows])?;
    let means = ctx.add_step(node, "shaped", Op::Reshape(Reshape { shape }), &[means])?;
    let scaled = ctx.add_step(node, "scaled", binary(BinaryKind::Mul), &[means, alpha])?;
    let base = ctx.add_step(node, "base", binary(BinaryKind::Add), &[scaled, bias])?;
    let divisor = ctx.add_step(node, "divisor", binary(BinaryKind::Pow), &[base, beta])?;
    Ok(vec![
        ctx.add(node, binary(BinaryKind::Div), &[x, divisor])?
            .into(),
    ])
}
