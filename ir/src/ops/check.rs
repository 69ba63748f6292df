//! How the ops are tested: evaluation of one op, with the checks that hold for every op.

use super::{AttributeReader, Op};
use crate::eval::{Array, EvalContext};
use crate::tensor::{LevelId, Tensor};

/// An array of `shape` from its elements.
pub(super) fn array(shape: &[usize], data: &[f32]) -> Array {
    Array::new(shape, data.to_vec())
}

/// An array of `shape` that counts 0, 1, 2, ..
pub(super) fn counting(shape: &[usize]) -> Array {
    let n: usize = shape.iter().product();
    Array::new(shape, (0..n).map(|i| i as f32).collect())
}

/// Shape of the result, or why the op does not accept the operands.
pub(super) fn infer(
    op: impl Into<Op>,
    tensors: &[Tensor],
    shapes: &[&[usize]],
) -> Result<Vec<usize>, String> {
    op.into().infer_shape(shapes, tensors)
}

/// The op's result at `level`.
pub(super) fn eval_at(
    level: u32,
    op: impl Into<Op>,
    tensors: &[Tensor],
    operands: &[&Array],
) -> Array {
    let op = op.into();
    let mut attributes = Vec::new();
    for (name, attribute) in op.attributes() {
        attributes.push((name.to_string(), attribute));
    }
    let copy = Op::from_text(op.mnemonic(), AttributeReader::new(attributes));
    assert_eq!(copy.as_ref(), Ok(&op), "text form");

    let shapes: Vec<&[usize]> = operands.iter().map(|o| o.shape.as_slice()).collect();
    let shape = op
        .infer_shape(&shapes, tensors)
        .expect("the op fits its operands");
    let ctx = EvalContext {
        tensors,
        level: LevelId(level),
        shape: &shape,
    };
    let result = op.eval(operands, &ctx);
    assert_eq!(result.shape, shape, "{op:?}");
    assert_eq!(result.data.len(), shape.iter().product(), "{op:?}");

    // One operand too many is never accepted, except by an op that takes any number.
    let mut more = shapes.clone();
    more.push(shapes.first().copied().unwrap_or(&[]));
    let takes_any = matches!(op, Op::Concat(_));
    assert_eq!(
        op.infer_shape(&more, tensors).is_ok(),
        takes_any,
        "arity of {op:?}"
    );
    result
}

/// The op's result in a graph with one level.
pub(super) fn eval(op: impl Into<Op>, tensors: &[Tensor], operands: &[&Array]) -> Array {
    eval_at(0, op, tensors, operands)
}
