//! Slices, transposes and padding: copies between two views of one index space.
//!
//! ```text
//! slice       y[i] = x[start + i * step]      a negative step is a negative stride
//! transpose   y[i] = x[permuted i]            in the result's order; vectors if the last axis stays
//! pad         y[i] = value for all i, then y[low + i * (1 + interior)] = x[i]
//! ```

use super::Lowering;
use super::elementwise::Map;
use super::view::View;
use condensec_ir::NodeId;
use condensec_ir::ops::{Pad, Slice, Transpose};

pub(super) fn lower_slice(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    op: &Slice,
) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let mut source = View::of(lowering, operand)?;
    for axis in 0..op.sizes.len() {
        source.offset += op.starts[axis] * source.strides[axis] as usize;
        // An axis of one element may have any step.
        source.strides[axis] = match op.sizes[axis] {
            0 | 1 => 0,
            _ => source.strides[axis] * op.steps[axis] as isize,
        };
    }
    copy(lowering, id, "slice", operand, source)
}

pub(super) fn lower_transpose(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    op: &Transpose,
) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let View { strides, offset } = View::of(lowering, operand)?;
    let strides = op.permutation.iter().map(|&axis| strides[axis]).collect();
    copy(lowering, id, "transpose", operand, View { strides, offset })
}

/// All elements of `source`, a view of `operand`, into the result.
fn copy(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    name: &str,
    operand: NodeId,
    source: View,
) -> Result<(), String> {
    let map = Map {
        name: name.into(),
        shape: lowering.node(id).shape.clone(),
        result: View::of(lowering, id)?,
        operands: vec![(operand, source)],
        lanes: lowering.target.lanes,
    };
    map.lower(lowering, id, &|_, _, values| values[0]);
    Ok(())
}

pub(super) fn lower_pad(lowering: &mut Lowering<'_>, id: NodeId, op: &Pad) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let source = View::of(lowering, operand)?;
    let mut result = View::of(lowering, id)?;
    let lanes = lowering.target.lanes;
    let fill = Map {
        name: "pad_fill".into(),
        shape: lowering.node(id).shape.clone(),
        result: result.clone(),
        operands: Vec::new(),
        lanes,
    };
    fill.lower(lowering, id, &|f, lanes, _| {
        let value = f.f32(op.value);
        f.splat(value, lanes)
    });

    let shape = lowering.node(operand).shape.clone();
    for axis in 0..shape.len() {
        result.offset += op.low[axis] * result.strides[axis] as usize;
        // An axis of one element may have any gap.
        if shape[axis] > 1 {
            result.strides[axis] *= op.interior[axis] as isize + 1;
        }
    }
    let operands = vec![(operand, source)];
    let copy = Map { name: "pad_copy".into(), shape, result, operands, lanes };
    copy.lower(lowering, id, &|_, _, values| values[0]);
    Ok(())
}
