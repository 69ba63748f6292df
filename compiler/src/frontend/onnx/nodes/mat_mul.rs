//! `MatMul`: a fully connected layer where a factor is a constant matrix.

use condensec_ir::ops::{FullyConnected, MatMul, Op, Reshape, Transpose};
use condensec_ir::{Diagnostic, NodeId};

use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value, Weight};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let a = ctx.required(node, 0, "A")?;
    let b = ctx.required(node, 1, "B")?;
    let (a_shape, b_shape) = (ctx.shape(&a).to_vec(), ctx.shape(&b).to_vec());
    if a_shape.is_empty() || b_shape.is_empty() {
        return Err(node.error(
            "shape-mismatch",
            format!("shapes {a_shape:?} and {b_shape:?}, expected no scalars"),
        ));
    }
    let is_weight = |value: &Value| {
        value
            .as_constant()
            .is_some_and(|constant| constant.has_level_data())
    };

    // `x * B`, where `B` has no batch of its own.
    let is_matrix = b_shape.iter().rev().skip(2).all(|&size| size == 1);
    if let Value::Constant(b) = &b
        && is_matrix
        && b.literal.n_elems() > 0
        && (!is_weight(&a) || b.has_level_data())
    {
        let (k, n) = match b_shape[..] {
            [k] => (k, 1),
            [.., k, n] => (k, n),
            [] => (1, 1),
        };
        let weight = ctx.as_weight(node, b)?.reshaped(&[k, n]).permuted(&[1, 0]);
        let x = ctx.value_operand(node, &a)?;
        let op = FullyConnected {
            scale: ctx.add_scale(node, &weight, n)?,
            ..FullyConnected::new(ctx.add_weight(&weight))
        };
        // A vector on the right loses its axis; axes that only the right factor has come in front.
        let outer = &a_shape[..a_shape.len() - 1];
        let n_new = b_shape.len().saturating_sub(a_shape.len().max(2));
        let columns: &[usize] = if b_shape.len() == 1 { &[] } else { &[n] };
        let shape = [&vec![1; n_new], outer, columns].concat();
        if n_new == 0 && b_shape.len() > 1 {
            return Ok(vec![ctx.add(node, Op::FullyConnected(op), &[x])?.into()]);
        }
        let product = ctx.add_step(node, "product", Op::FullyConnected(op), &[x])?;
        return Ok(vec![
            ctx.add(node, Op::Reshape(Reshape { shape }), &[product])?
                .into(),
        ]);
    }

    // `A * x` with a masked matrix: the same, transposed. Without a mask an ordinary product is as
    // good.
    if let Value::Constant(weight) = &a
        && is_weight(&a)
        && a_shape.len() == 2
    {
        let weight = ctx.as_weight(node, weight)?;
        let x = ctx.value_operand(node, &b)?;
        if b_shape.len() > 1 {
            return Ok(vec![with_left_weight(ctx, node, &weight, x)?.into()]);
        }
        let op = FullyConnected {
            scale: ctx.add_scale(node, &weight, a_shape[0])?,
            ..FullyConnected::new(ctx.add_weight(&weight))
        };
        return Ok(vec![ctx.add(node, Op::FullyConnected(op), &[x])?.into()]);
    }

    if let Some(scale) = [&a, &b]
        .into_iter()
        .find_map(|value| value.as_constant()?.scale.clone())
    {
        return Err(node
            .error(
                "scale-not-on-weight",
                format!("`{}` scales a batch of matrices", scale.name),
            )
            .at_tensor(&scale.name)
            .with_note("a scale per level needs a weight that is one matrix"));
    }
    let a = ctx.any_operand(node, &a)?;
    let b = ctx.any_operand(node, &b)?;
    let a = as_matrix(ctx, node, "a", a, &[1, a_shape[a_shape.len() - 1]])?;
    let b = as_matrix(ctx, node, "b", b, &[b_shape[b_shape.len() - 1], 1])?;
    if a_shape.len() > 1 && b_shape.len() > 1 {
        return Ok(vec![ctx.add(node, Op::MatMul(MatMul), &[a, b])?.into()]);
    }
    let product = ctx.add_step(node, "product", Op::MatMul(MatMul), &[a, b])?;
    let mut shape = ctx.graph.node(product).shape.clone();
    if b_shape.len() == 1 {
        shape.pop();
    }
    if a_shape.len() == 1 {
        // Of the two last axes, or the last that is left.
        let row = shape.len() - if b_shape.len() == 1 { 1 } else { 2 };
        shape.remove(row);
    }
    Ok(vec![
        ctx.add(node, Op::Reshape(Reshape { shape }), &[product])?
            .into(),
    ])
}

/// A vector as the matrix `shape`.
fn as_matrix(
    ctx: &mut Context,
    node: &NodeView,
    what: &str,
    x: NodeId,
    shape: &[usize],
) -> Result<NodeId, Diagnostic> {
    if ctx.graph.node(x).shape.len() > 1 {
        return Ok(x);
    }
    ctx.add_step(
        node,
        what,
        Op::Reshape(Reshape {
            shape: shape.to_vec(),
        }),
        &[x],
    )
}

/// `W * x` for a weight `[M, K]` and `x` `[.., K, N]`, as `(x' * W')'`.
pub fn with_left_weight(
    ctx: &mut Context,
    node: &NodeView,
    weight: &Weight,
    x: NodeId,
) -> Result<NodeId, Diagnostic> {
    let rank = ctx.graph.node(x).shape.len();
    let mut permutation: Vec<usize> = (0..rank).collect();
    permutation.swap(rank - 2, rank - 1);
    let transpose = || {
        Op::Transpose(Transpose {
            permutation: permutation.clone(),
        })
    };
    let x = ctx.add_step(node, "rows", transpose(), &[x])?;
    let op = FullyConnected {
        scale: ctx.add_scale(node, weight, weight.shape()[0])?,
        ..FullyConnected::new(ctx.add_weight(weight))
    };
    let product = ctx.add_step(node, "product", Op::FullyConnected(op), &[x])?;
    ctx.add(node, transpose(), &[product])
}
