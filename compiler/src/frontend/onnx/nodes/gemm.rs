//! `Gemm`: `alpha * A' * B' + beta * C`. A constant factor is a weight, and then `C` is its bias
//! where it has one value per column.

use std::rc::Rc;

use condensec_ir::ops::{Binary, BinaryKind, FullyConnected, MatMul, Op};
use condensec_ir::{Diagnostic, NodeId};

use crate::frontend::onnx::constants::{Constant, Literal, arithmetic};
use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let a = ctx.required(node, 0, "A")?;
    let b = ctx.required(node, 1, "B")?;
    let (trans_a, trans_b) = (
        node.int_or("transA", 0)? != 0,
        node.int_or("transB", 0)? != 0,
    );
    let (alpha, beta) = (node.float_or("alpha", 1.0)?, node.float_or("beta", 1.0)?);
    for value in [&a, &b] {
        let shape = ctx.shape(value);
        if shape.len() != 2 {
            return Err(node.error(
                "shape-mismatch",
                format!("a factor has shape {shape:?}, expected a matrix"),
            ));
        }
    }
    let rows = ctx.shape(&a)[usize::from(trans_a)];
    let columns = ctx.shape(&b)[usize::from(!trans_b)];
    let addend = Addend::read(ctx, node, beta, rows, columns)?;

    let is_weight = |value: &Value| {
        value
            .as_constant()
            .is_some_and(|constant| constant.has_level_data())
    };
    let product = match (&a, &b) {
        (_, Value::Constant(b)) if !is_weight(&a) || b.has_level_data() => {
            let a = transposed(ctx, node, "a", &a, trans_a)?;
            let a = ctx.value_operand(node, &a)?;
            let weight = ctx.as_weight(node, b)?;
            let weight = if trans_b {
                weight
            } else {
                weight.permuted(&[1, 0])
            };
            let weight = weight.multiplied(alpha);
            let op = FullyConnected {
                scale: ctx.add_scale(node, &weight, columns)?,
                bias: match &addend {
                    Addend::Channels(bias) => Some(ctx.parameter(node, bias, columns, "C")?),
                    Addend::None | Addend::Full(_) => None,
                },
                ..FullyConnected::new(ctx.add_weight(&weight))
            };
            if matches!(addend, Addend::None | Addend::Channels(_)) {
                return Ok(vec![ctx.add(node, Op::FullyConnected(op), &[a])?.into()]);
            }
            ctx.add_step(node, "product", Op::FullyConnected(op), &[a])?
        }
        (Value::Constant(weight), _) if is_weight(&a) => {
            let weight = ctx.as_weight(node, weight)?;
            let weight = if trans_a {
                weight.permuted(&[1, 0])
            } else {
                weight
            };
            let weight = weight.multiplied(alpha);
            let b = transposed(ctx, node, "b", &b, trans_b)?;
            let b = ctx.value_operand(node, &b)?;
            super::mat_mul::with_left_weight(ctx, node, &weight, b)?
        }
        _ => {
            let a = transposed(ctx, node, "a", &a, trans_a)?;
            let b = transposed(ctx, node, "b", &b, trans_b)?;
            let (a, b) = (ctx.value_operand(node, &a)?, ctx.value_operand(node, &b)?);
            let product = ctx.add_step(node, "product", Op::MatMul(MatMul), &[a, b])?;
            times(ctx, node, "scaled", product, alpha)?
        }
    };
    let addend = match addend {
        Addend::None => return Ok(vec![product.into()]),
        Addend::Channels(c) => Value::Constant(c),
        Addend::Full(c) => c,
    };
    let addend = match &addend {
        Value::Constant(_) => ctx.value_operand(node, &addend)?,
        Value::Node(_) | Value::Lost(_) => {
            let c = ctx.value_operand(node, &addend)?;
            times(ctx, node, "addend", c, beta)?
        }
    };
    let op = Op::Binary(Binary {
        kind: BinaryKind::Add,
    });
    Ok(vec![ctx.add(node, op, &[product, addend])?.into()])
}

/// Input `C`; a constant is multiplied by `beta` already.
enum Addend {
    None,
    /// One value per column, the same in every row.
    Channels(Rc<Constant>),
    Full(Value),
}

impl Addend {
    fn read(
        ctx: &Context,
        node: &NodeView,
        beta: f32,
        rows: usize,
        columns: usize,
    ) -> Result<Addend, Diagnostic> {
        let Some(c) = ctx.input(node, 2) else {
            return Ok(Addend::None);
        };
        let shape = ctx.shape(&c).to_vec();
        if arithmetic::broadcast_shape(&shape, &[rows, columns]) != Ok(vec![rows, columns]) {
            return Err(node.error(
                "shape-mismatch",
                format!(
                    "C has shape {shape:?}, which does not broadcast to {:?}",
                    [rows, columns]
                ),
            ));
        }
        let Value::Constant(constant) = &c else {
            return Ok(Addend::Full(c));
        };
        let mut constant = constant.clone();
        if beta != 1.0 {
            let factor = Literal::f32(&[], [beta]);
            let scaled = ctx.compute(node, &[constant], |inputs| {
                arithmetic::binary(BinaryKind::Mul, inputs[0], &factor)
            })?;
            let Some(Value::Constant(scaled)) = scaled.into_iter().next() else {
                return Ok(Addend::None);
            };
            constant = scaled;
        }
        let is_row = shape.iter().rev().skip(1).all(|&size| size == 1);
        match is_row {
            true if shape.last() == Some(&columns) => Ok(Addend::Channels(constant)),
            true => Ok(Addend::Channels(Rc::new(
                constant.reshaped(&[1]).broadcast(&[columns]),
            ))),
            false => Ok(Addend::Full(Value::Constant(constant))),
        }
    }
}

fn transposed(
    ctx: &mut Context,
    node: &NodeView,
    what: &str,
    value: &Value,
    is_transposed: bool,
) -> Result<Value, Diagnostic> {
    let name = format!("{}/{what}", node.output(0));
    match is_transposed {
        true => ctx.transpose_named(node, &name, value, &[1, 0]),
        false => Ok(value.clone()),
    }
}

/// `x * factor`, or `x` itself for 1.
fn times(
    ctx: &mut Context,
    node: &NodeView,
    step: &str,
    x: NodeId,
    factor: f32,
) -> Result<NodeId, Diagnostic> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = ctx.literal(node, Literal::f32(&[], [factor]));
    let factor = ctx.value_operand(node, &factor)?;
    ctx.add_step(
        node,
        step,
        Op::Binary(Binary {
            kind: BinaryKind::Mul,
        }),
        &[x, factor],
    )
}
