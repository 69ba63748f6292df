//! `Tile`: per axis, a new axis that is broadcast and merged again.

use std::rc::Rc;

use crate::frontend::onnx::constants::arithmetic;
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value, check_size};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let shape = ctx.shape(&x).to_vec();
    let Some(given) = ctx.ints(node, 1, "repeats")? else {
        return Err(node.error("missing-input", "input 1 (repeats) is missing"));
    };
    let repeats = node.checked_sizes("repeats", &given, 0)?;
    if repeats.len() != shape.len() {
        return Err(node.error(
            "shape-mismatch",
            format!("repeats {repeats:?} do not fit the axes of {shape:?}"),
        ));
    }
    let tiled: Option<Vec<usize>> = shape
        .iter()
        .zip(&repeats)
        .map(|(&size, &n)| size.checked_mul(n))
        .collect();
    let Some(tiled) = tiled else {
        return Err(node.error(
            "tensor-too-large",
            format!("shape {shape:?} repeated {repeats:?} times"),
        ));
    };
    if let Value::Constant(constant) = &x {
        let n_given = constant.literal.n_elems();
        arithmetic::check_size(&tiled, n_given)
            .map_err(|error| node.error("tensor-too-large", error))?;
        return Ok(vec![Value::Constant(Rc::new(constant.tiled(&tiled)))]);
    }
    check_size(node, &tiled)?;
    let mut result = x;
    let mut current = shape;
    for (axis, &n) in repeats.iter().enumerate() {
        if n == 1 {
            continue;
        }
        let outer: usize = current[..axis].iter().product();
        let inner: usize = current[axis..].iter().product();
        let name = |step: &str| format!("{}/{axis}{step}", node.output(0));
        let split = ctx.reshape_named(node, &name("split"), &result, &[outer, 1, inner])?;
        let repeated = ctx.expand(node, &name("repeated"), &split, &[outer, n, inner])?;
        current[axis] *= n;
        let merged = if current == tiled {
            node.output(0).to_string()
        } else {
            name("merged")
        };
        result = ctx.reshape_named(node, &merged, &repeated, &current)?;
    }
    Ok(vec![result])
}
