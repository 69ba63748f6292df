//! `Shape` and `Size`: known at compile time, since shapes are static.

use crate::frontend::onnx::constants::Literal;
use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let sizes: Vec<i64> = ctx
        .shape(&x)
        .iter()
        .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
        .collect();
    if node.op_type() == "Size" {
        let n_elems = sizes.iter().fold(1i64, |n, &size| n.saturating_mul(size));
        return Ok(vec![ctx.literal(node, Literal::i64(&[], [n_elems]))]);
    }
    let (start, end) = match node.opset {
        ..15 => (0, sizes.len()),
        _ => {
            let rank = i64::try_from(sizes.len()).unwrap_or(i64::MAX);
            let place = |given: i64| {
                let counted = if given < 0 {
                    given.saturating_add(rank)
                } else {
                    given
                };
                usize::try_from(counted.clamp(0, rank)).unwrap_or(0)
            };
            (
                place(node.int_or("start", 0)?),
                place(node.int_or("end", rank)?),
            )
        }
    };
    let part = &sizes[start.min(end)..end];
    Ok(vec![ctx.literal(node, Literal::i64(&[part.len()], part))])
}
