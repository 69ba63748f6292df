//! `Split`: one slice per output. Sizes are an attribute up to operator set 12, an input from 13
//! on; from 18 on their number may be given instead.

use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let shape = ctx.shape(&x).to_vec();
    let axis = node.axis(node.int_or("axis", 0)?, shape.len())?;
    let n_outputs = node.outputs().len();
    let given = match node.opset {
        ..13 => node.ints("split")?.map(<[i64]>::to_vec),
        _ => ctx.ints(node, 1, "split")?,
    };
    let size = shape[axis];
    let sizes: Vec<usize> = match given {
        Some(given) => {
            let sizes: Option<Vec<usize>> = given
                .iter()
                .map(|&size| usize::try_from(size).ok())
                .collect();
            let total = |sizes: &Vec<usize>| {
                sizes
                    .iter()
                    .try_fold(0usize, |sum, &size| sum.checked_add(size))
            };
            let fits = |sizes: &Vec<usize>| total(sizes) == Some(size) && sizes.len() == n_outputs;
            sizes.filter(fits).ok_or_else(|| {
                node.error(
                    "shape-mismatch",
                    format!(
                        "split {given:?} into {n_outputs} outputs does not fit axis {axis} \
                         of {shape:?}"
                    ),
                )
            })?
        }
        None if n_outputs == 0 => return Ok(Vec::new()),
        // From 18 on the last part may be smaller.
        None if size.is_multiple_of(n_outputs) || node.opset >= 18 => {
            let part = size.div_ceil(n_outputs);
            (0..n_outputs)
                .map(|at| part.min(size.saturating_sub(at * part)))
                .collect()
        }
        None => {
            return Err(node.error(
                "shape-mismatch",
                format!("axis {axis} of {shape:?} has no {n_outputs} equal parts"),
            ));
        }
    };
    let mut parts = Vec::with_capacity(n_outputs);
    let mut start = 0;
    for (name, part) in node.outputs().iter().zip(sizes) {
        let mut starts = vec![0; shape.len()];
        starts[axis] = start;
        start += part;
        if name.is_empty() {
            parts.push(Value::Lost(None));
            continue;
        }
        let mut sizes = shape.clone();
        sizes[axis] = part;
        parts.push(ctx.slice(node, name, &x, starts, sizes, vec![1; shape.len()])?);
    }
    Ok(parts)
}
