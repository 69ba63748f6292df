//! `LayerNormalization` and `InstanceNormalization`: statistics of the operand itself, so a
//! composition of reductions.

use condensec_ir::ops::{Binary, BinaryKind, Op, Reduce, ReduceKind, Unary, UnaryKind};
use condensec_ir::{Diagnostic, NodeId};

use crate::frontend::onnx::constants::Literal;
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.operand(node, 0, "operand")?;
    let rank = ctx.graph.node(x).shape.len();
    let is_layer = node.op_type() == "LayerNormalization";
    let axes: Vec<usize> = match is_layer {
        true => (node.axis(node.int_or("axis", -1)?, rank)?..rank).collect(),
        false if rank > 2 => (2..rank).collect(),
        false => {
            let shape = &ctx.graph.node(x).shape;
            return Err(node.error(
                "shape-mismatch",
                format!("operand has shape {shape:?}, expected [N, C, ..]"),
            ));
        }
    };
    // Parameters of an instance belong to its channels, those of a layer to its last axes.
    let mut parameter = |position: usize, what: &str| -> Result<Option<NodeId>, Diagnostic> {
        let value = match ctx.input(node, position) {
            None if is_layer && position == 2 => return Ok(None),
            _ => ctx.required(node, position, what)?,
        };
        let value = match is_layer {
            true => value,
            false => {
                let n_elems = ctx.shape(&value).iter().product();
                let mut shape = vec![1; rank - 1];
                shape[0] = n_elems;
                ctx.reshape_named(node, &format!("{}/{what}", node.output(0)), &value, &shape)?
            }
        };
        ctx.value_operand(node, &value).map(Some)
    };
    let (scale, bias) = (parameter(1, "scale")?, parameter(2, "bias")?);
    let epsilon: Value = ctx.literal(node, Literal::f32(&[], [node.float_or("epsilon", 1e-5)?]));
    let epsilon = ctx.value_operand(node, &epsilon)?;

    let mean = || {
        Op::Reduce(Reduce {
            kind: ReduceKind::Mean,
            axes: axes.clone(),
            keep_dims: true,
        })
    };
    let binary = |kind: BinaryKind| Op::Binary(Binary { kind });
    let center = ctx.add_step(node, "mean", mean(), &[x])?;
    let centered = ctx.add_step(node, "centered", binary(BinaryKind::Sub), &[x, center])?;
    let squares = ctx.add_step(
        node,
        "squares",
        binary(BinaryKind::Mul),
        &[centered, centered],
    )?;
    let variance = ctx.add_step(node, "variance", mean(), &[squares])?;
    let bounded = ctx.add_step(
        node,
        "bounded",
        binary(BinaryKind::Add),
        &[variance, epsilon],
    )?;
    let root = Op::Unary(Unary {
        kind: UnaryKind::Sqrt,
    });
    let deviation = ctx.add_step(node, "deviation", root, &[bounded])?;
    let mut result = ctx.add_step(
        node,
        "normalized",
        binary(BinaryKind::Div),
        &[centered, deviation],
    )?;
    let steps = [
        ("scaled", BinaryKind::Mul, scale),
        ("shifted", BinaryKind::Add, bias),
    ];
    let given: Vec<_> = steps
        .into_iter()
        .filter_map(|(name, kind, by)| Some((name, kind, by?)))
        .collect();
    for (at, &(name, kind, by)) in given.iter().enumerate() {
        result = match at + 1 == given.len() {
            true => ctx.add(node, binary(kind), &[result, by])?,
            false => ctx.add_step(node, name, binary(kind), &[result, by])?,
        };
    }
    if ctx.graph.node(result).shape != ctx.graph.node(x).shape {
        let (found, expected) = (&ctx.graph.node(result).shape, &ctx.graph.node(x).shape);
        return Err(node.error(
            "shape-mismatch",
            format!("scale or bias turn {expected:?} into {found:?}"),
        ));
    }
    if !is_layer || node.outputs().len() < 2 {
        return Ok(vec![result.into()]);
    }
    let inverse = Op::Unary(Unary {
        kind: UnaryKind::Reciprocal,
    });
    let inverse = ctx.add_step(node, "inverse", inverse, &[deviation])?;
    Ok(vec![result.into(), center.into(), inverse.into()])
}
