//! `Pad`: amounts are an attribute up to operator set 10, an input from 11 on. Negative amounts cut
//! off.
//!
//! A constant border is an op; the other modes repeat parts of the operand, one axis after the
//! other.

use condensec_ir::ops::{Concat, Op, Pad};
use condensec_ir::{Diagnostic, NodeId};

use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

/// Amounts before and behind each axis.
type Amounts = Vec<(i64, i64)>;

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let x = Value::Node(ctx.value_operand(node, &x)?);
    let shape = ctx.shape(&x).to_vec();
    let rank = shape.len();
    let (given, value) = match node.opset {
        ..11 => (
            node.ints("pads")?.map(<[i64]>::to_vec),
            node.float_or("value", 0.0)?,
        ),
        _ => (
            ctx.ints(node, 1, "pads")?,
            ctx.scalar(node, 2, "constant value")?.unwrap_or(0.0),
        ),
    };
    let axes = match node.opset {
        ..18 => None,
        _ => ctx.ints(node, 3, "axes")?,
    };
    let axes = match axes {
        Some(axes) => node.axes(&axes, rank)?,
        None => (0..rank).collect(),
    };
    let Some(given) = given.filter(|given| given.len() == 2 * axes.len()) else {
        return Err(node.error(
            "shape-mismatch",
            format!("the amounts do not fit {} axes of {shape:?}", axes.len()),
        ));
    };
    // Bounded, so that sums below do not overflow; a larger result would not be accepted anyway.
    if let Some(absurd) = given.iter().find(|amount| amount.unsigned_abs() > 1 << 31) {
        return Err(node.error("tensor-too-large", format!("an amount of {absurd}")));
    }
    let mut amounts: Amounts = vec![(0, 0); rank];
    for (at, &axis) in axes.iter().enumerate() {
        amounts[axis] = (given[at], given[axes.len() + at]);
    }

    let cut = cut(ctx, node, &x, &amounts)?;
    let size = |amount: i64| usize::try_from(amount).unwrap_or(0);
    let low: Vec<usize> = amounts.iter().map(|&(low, _)| size(low)).collect();
    let high: Vec<usize> = amounts.iter().map(|&(_, high)| size(high)).collect();
    if low.iter().chain(&high).all(|&amount| amount == 0) {
        return Ok(vec![cut]);
    }
    let operand = ctx.value_operand(node, &cut)?;
    match node.string_or("mode", "constant")? {
        "constant" => {
            let op = Op::Pad(Pad {
                low,
                high,
                interior: vec![0; rank],
                value,
            });
            Ok(vec![ctx.add(node, op, &[operand])?.into()])
        }
        mode @ ("edge" | "reflect" | "wrap") => {
            Ok(vec![repeat(ctx, node, mode, operand, &low, &high)?.into()])
        }
        other => Err(node.unsupported(format!("padding of mode `{other}`"))),
    }
}

/// `x` without what negative amounts take away.
fn cut(
    ctx: &mut Context,
    node: &NodeView,
    x: &Value,
    amounts: &Amounts,
) -> Result<Value, Diagnostic> {
    let shape = ctx.shape(x).to_vec();
    let cut_low: Vec<usize> = amounts
        .iter()
        .map(|&(low, _)| usize::try_from(-low).unwrap_or(0))
        .collect();
    let cut_high: Vec<usize> = amounts
        .iter()
        .map(|&(_, high)| usize::try_from(-high).unwrap_or(0))
        .collect();
    let left = |axis: usize| {
        shape[axis]
            .checked_sub(cut_low[axis])?
            .checked_sub(cut_high[axis])
    };
    let sizes: Option<Vec<usize>> = (0..shape.len()).map(left).collect();
    let Some(sizes) = sizes.filter(|sizes| !sizes.contains(&0)) else {
        return Err(node.error(
            "empty-tensor",
            format!("amounts {amounts:?} cut off all of {shape:?}"),
        ));
    };
    let is_all = amounts.iter().all(|&(low, high)| low <= 0 && high <= 0);
    let name = if is_all {
        node.output(0).to_string()
    } else {
        format!("{}/cut", node.output(0))
    };
    ctx.slice(node, &name, x, cut_low, sizes, vec![1; shape.len()])
}

/// Borders made of the operand's own elements.
fn repeat(
    ctx: &mut Context,
    node: &NodeView,
    mode: &str,
    operand: NodeId,
    low: &[usize],
    high: &[usize],
) -> Result<NodeId, Diagnostic> {
    let mut result = operand;
    let padded: Vec<usize> = (0..low.len())
        .filter(|&axis| low[axis] + high[axis] > 0)
        .collect();
    for &axis in &padded {
        let shape = ctx.graph.node(result).shape.clone();
        let n = shape[axis];
        // First index and step of the border before and the border behind.
        let ((first, step), (next, back), longest) = match mode {
            "reflect" => ((low[axis], -1), (n.wrapping_sub(2), -1), n - 1),
            "wrap" => ((n.wrapping_sub(low[axis]), 1), (0, 1), n),
            _ => ((0, 1), (n - 1, 1), usize::MAX),
        };
        if low[axis].max(high[axis]) > longest {
            return Err(node.unsupported(format!(
                "padding of mode `{mode}` by {} and {} of an axis of {n}",
                low[axis], high[axis]
            )));
        }
        let mut border = |name: &str, start: usize, amount: usize, step: i64| {
            let part = format!("{}/{axis}{name}", node.output(0));
            let (mut starts, mut sizes, mut steps) =
                (vec![0; shape.len()], shape.clone(), vec![1; shape.len()]);
            let n_own = if mode == "edge" { 1 } else { amount };
            (starts[axis], sizes[axis], steps[axis]) = (start, n_own, step);
            let own = ctx.slice(node, &part, &result.into(), starts, sizes.clone(), steps)?;
            sizes[axis] = amount;
            let border = ctx.expand(node, &part, &own, &sizes)?;
            ctx.value_operand(node, &border)
        };
        let mut parts = Vec::new();
        if low[axis] > 0 {
            parts.push(border("low", first, low[axis], step)?);
        }
        parts.push(result);
        if high[axis] > 0 {
            parts.push(border("high", next, high[axis], back)?);
        }
        let op = Op::Concat(Concat { axis });
        result = match Some(&axis) == padded.last() {
            true => ctx.add(node, op, &parts)?,
            false => ctx.add_step(node, &format!("{axis}padded"), op, &parts)?,
        };
    }
    Ok(result)
}
