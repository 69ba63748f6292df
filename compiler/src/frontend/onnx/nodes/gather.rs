//! `Gather` with constant indices: a slice per run of evenly spaced indices.

use condensec_ir::ops::{Concat, Op};
use std::rc::Rc;

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

/// Slices that one node may become. An embedding table is constant and needs none; more than this
/// on a run-time value is a shuffle of channels at worst.
const MAX_RUNS: usize = 4096;

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let shape = ctx.shape(&x).to_vec();
    let axis = node.axis(node.int_or("axis", 0)?, shape.len())?;
    let Some(indices) = ctx.constant(node, 1, "indices")? else {
        return Err(node.error("missing-input", "input 1 (indices) is missing"));
    };
    let Some(given) = indices.literal.as_i64() else {
        return Err(node.error(
            "unsupported-dtype",
            format!("indices are {}, expected integers", indices.literal.elems),
        ));
    };
    let size = i64::try_from(shape[axis]).unwrap_or(i64::MAX);
    let mut places: Vec<usize> = Vec::with_capacity(given.len());
    for &index in given {
        let counted = if index < 0 {
            index.saturating_add(size)
        } else {
            index
        };
        match usize::try_from(counted) {
            Ok(place) if place < shape[axis] => places.push(place),
            _ => {
                return Err(node.error(
                    "bad-index",
                    format!("index {index} is outside of axis {axis} of {shape:?}"),
                ));
            }
        }
    }
    let result_shape = [&shape[..axis], indices.shape(), &shape[axis + 1..]].concat();
    if let Value::Constant(constant) = &x {
        let n_given = constant.literal.n_elems();
        arithmetic::check_size(&result_shape, n_given)
            .map_err(|error| node.error("tensor-too-large", error))?;
        return Ok(vec![Value::Constant(Rc::new(constant.gathered(
            axis,
            &places,
            indices.shape(),
        )))]);
    }
    if places.is_empty() {
        return Err(node.error(
            "empty-tensor",
            format!("a tensor of shape {result_shape:?} has no elements"),
        ));
    }

    let runs = runs(&places);
    if runs.len() > MAX_RUNS {
        return Err(node.error(
            "unsupported-attribute",
            format!(
                "{} indices in no regular order; at most {MAX_RUNS} runs are supported",
                places.len()
            ),
        ));
    }
    let mut parts = Vec::with_capacity(runs.len());
    for (at, &(start, n, step)) in runs.iter().enumerate() {
        let (mut starts, mut sizes, mut steps) =
            (vec![0; shape.len()], shape.clone(), vec![1; shape.len()]);
        (starts[axis], sizes[axis], steps[axis]) = (start, n, step);
        let name = format!("{}/{at}", node.output(0));
        let part = ctx.slice(node, &name, &x, starts, sizes, steps)?;
        parts.push(ctx.value_operand(node, &part)?);
    }
    let gathered = match parts[..] {
        [only] => only,
        _ => ctx.add_step(node, "gathered", Op::Concat(Concat { axis }), &parts)?,
    };
    Ok(vec![ctx.reshape(node, &gathered.into(), &result_shape)?])
}

/// The indices as runs of evenly spaced ones: first, count, step.
fn runs(indices: &[usize]) -> Vec<(usize, usize, i64)> {
    let step = |at: usize| indices[at + 1] as i64 - indices[at] as i64;
    let mut runs = Vec::new();
    let mut at = 0;
    while at < indices.len() {
        let mut n = 1;
        // A repeated index is a run of its own.
        if at + 1 < indices.len() && step(at) != 0 {
            while at + n < indices.len() && step(at + n - 1) == step(at) {
                n += 1;
            }
        }
        runs.push((indices[at], n, if n > 1 { step(at) } else { 1 }));
        at += n;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenly_spaced_indices_are_one_run() {
        assert_eq!(runs(&[3]), [(3, 1, 1)]);
        assert_eq!(runs(&[0, 2, 4, 3, 2]), [(0, 3, 2), (3, 2, -1)]);
        assert_eq!(runs(&[1, 1, 2]), [(1, 1, 1), (1, 2, 1)]);
    }
}
