//! `Slice`: bounds are attributes up to operator set 9, inputs from 10 on.

use condensec_ir::Diagnostic;

use crate::frontend::onnx::import::{Context, NodeView, Outputs};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let shape = ctx.shape(&x).to_vec();
    let attribute = |name| node.ints(name).map(|values| values.map(<[i64]>::to_vec));
    let (starts, ends, axes, steps) = match node.opset {
        ..10 => (
            attribute("starts")?,
            attribute("ends")?,
            attribute("axes")?,
            None,
        ),
        _ => (
            ctx.ints(node, 1, "starts")?,
            ctx.ints(node, 2, "ends")?,
            ctx.ints(node, 3, "axes")?,
            ctx.ints(node, 4, "steps")?,
        ),
    };
    let (Some(starts), Some(ends)) = (starts, ends) else {
        return Err(node.error("missing-input", "starts or ends are missing"));
    };
    let axes = axes.unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(node.error(
            "shape-mismatch",
            format!(
                "starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} differ \
                 in length"
            ),
        ));
    }
    let axes = node.axes(&axes, shape.len())?;
    let mut part = (vec![0; shape.len()], shape.clone(), vec![1; shape.len()]);
    for (at, &axis) in axes.iter().enumerate() {
        let (start, size) = resolve(node, starts[at], ends[at], steps[at], shape[axis])?;
        part.0[axis] = start;
        part.1[axis] = size;
        part.2[axis] = steps[at];
    }
    Ok(vec![ctx.slice(
        node,
        node.output(0),
        &x,
        part.0,
        part.1,
        part.2,
    )?])
}

/// First index and number of elements of the part from `start` to `end` of an axis with `size`
/// elements; bounds outside are cut off, negative ones count from the end.
fn resolve(
    node: &NodeView,
    start: i64,
    end: i64,
    step: i64,
    size: usize,
) -> Result<(usize, usize), Diagnostic> {
    let n = i64::try_from(size).unwrap_or(i64::MAX);
    let counted = |bound: i64| {
        if bound < 0 {
            bound.saturating_add(n)
        } else {
            bound
        }
    };
    let (start, end, distance) = match step {
        0 => return Err(node.error("bad-attribute", "a step is zero")),
        1.. => {
            let (start, end) = (counted(start).clamp(0, n), counted(end).clamp(0, n));
            (start, end, end - start)
        }
        _ => {
            let (start, end) = (
                counted(start).clamp(-1, n - 1),
                counted(end).clamp(-1, n - 1),
            );
            (start, end, start - end)
        }
    };
    let _ = end;
    let n_elems = if distance <= 0 {
        0
    } else {
        (distance as u64).div_ceil(step.unsigned_abs())
    };
    // Where nothing is taken, the start may lie outside.
    Ok((
        usize::try_from(start).unwrap_or(0),
        usize::try_from(n_elems).unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::onnx::proto::NodeProto;

    #[test]
    fn bounds_are_cut_off_as_in_numpy() {
        let proto = NodeProto::new("Slice", "s", &[], &[], vec![]);
        let node = NodeView::new(&proto, 13);
        let part = |start, end, step| resolve(&node, start, end, step, 5).unwrap();
        assert_eq!(part(1, 4, 1), (1, 3));
        assert_eq!(part(-2, i64::MAX, 1), (3, 2));
        assert_eq!(part(i64::MIN, i64::MAX, 2), (0, 3));
        assert_eq!(part(-1, i64::MIN, -1), (4, 5));
        assert_eq!(part(4, 0, -2), (4, 2));
        assert_eq!(part(3, 3, 1).1, 0);
        assert_eq!(part(9, 10, 1).1, 0);
        assert_eq!(part(0, 5, i64::MAX), (0, 1));
        assert_eq!(part(4, -6, i64::MIN), (4, 1));
        assert!(resolve(&node, 0, 1, 0, 5).is_err());
        assert_eq!(resolve(&node, 0, 1, -1, 0).unwrap().1, 0);
    }
}
