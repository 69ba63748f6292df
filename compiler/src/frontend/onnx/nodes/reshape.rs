//! `Reshape`

use condensec_ir::Diagnostic;

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let allow_zero = match node.opset {
        ..14 => false,
        _ => node.flag("allowzero", false)?,
    };
    let target = target_sizes(ctx, node)?;
    let from = ctx.shape(&x).to_vec();
    let shape = resolve(&from, &target, allow_zero).map_err(|error| {
        let diagnostic = node.error("shape-mismatch", error);
        match from.first() {
            // The usual cause: a batch size that the exporter has frozen into the shape.
            Some(&n) if n > 1 => {
                diagnostic.with_help("the model may work for a batch of 1 only; see --input-shape")
            }
            _ => diagnostic,
        }
    })?;
    Ok(vec![ctx.reshape(node, &x, &shape)?])
}

/// The second input of `Reshape` and `Expand`.
pub fn target_sizes(ctx: &Context, node: &NodeView) -> Result<Vec<i64>, Diagnostic> {
    match ctx.ints(node, 1, "shape")? {
        Some(sizes) => Ok(sizes),
        None => Err(node.error("missing-input", "input 1 (shape) is missing")),
    }
}

fn resolve(from: &[usize], target: &[i64], allow_zero: bool) -> Result<Vec<usize>, String> {
    let n_elems: usize = from.iter().product();
    let mut shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (axis, &size) in target.iter().enumerate() {
        shape.push(match size {
            -1 if open.is_some() => return Err(format!("shape {target:?} has more than one -1")),
            -1 => {
                open = Some(axis);
                1
            }
            0 if !allow_zero => match from.get(axis) {
                Some(&kept) => kept,
                None => {
                    return Err(format!(
                        "shape {target:?} copies axis {axis}, which {from:?} does not have"
                    ));
                }
            },
            size => usize::try_from(size)
                .map_err(|_| format!("shape {target:?} has the size {size}"))?,
        });
    }
    let fixed = crate::frontend::onnx::constants::checked_product(&shape);
    let mismatch = || format!("shape {from:?} cannot become {target:?}");
    match (open, fixed) {
        (None, Some(n)) if n == n_elems => Ok(shape),
        (Some(axis), Some(n)) if n != 0 && n_elems.is_multiple_of(n) => {
            shape[axis] = n_elems / n;
            Ok(shape)
        }
        _ => Err(mismatch()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_and_copied_sizes_are_resolved() {
        assert_eq!(resolve(&[2, 3, 4], &[0, -1], false).unwrap(), [2, 12]);
        assert_eq!(resolve(&[2, 3, 4], &[-1], false).unwrap(), [24]);
        assert_eq!(resolve(&[1], &[], false).unwrap(), [0usize; 0]);
        assert_eq!(resolve(&[0, 3], &[3, 0], true).unwrap(), [3, 0]);
        assert!(resolve(&[2, 3], &[4, -1], false).is_err());
        assert!(resolve(&[2, 3], &[-1, -1], false).is_err());
        assert!(resolve(&[2, 3], &[2, 3, 0], false).is_err());
        assert!(resolve(&[0], &[0, -1], true).is_err());
        assert!(resolve(&[2], &[i64::MAX, i64::MAX], false).is_err());
    }
}
