//! Slices, transposes and padding: copies between two views of one index space.
//!
//! ```text
//! slice       y[i] = x[start + i * step]      a negative step is a negative stride
//! transpose   y[i] = x[permuted i]            in the result's order; vectors if the last axis stays
//! pad         y[i] = value for all i, then y[low + i * (1 + interior)] = x[i]
//! ```

use super::elementwise::Map;
use super::view::View;
use super::{Lowering, pixel_slice};
use condensec_ir::NodeId;
use condensec_ir::layout::Layout;
use condensec_ir::ops::{Pad, Slice, Transpose};

pub(super) fn lower_slice(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    op: &Slice,
) -> Result<(), String> {
    if matches!(lowering.node(id).layout, Layout::Strips(_)) {
        return pixel_slice::lower(lowering, id, op);
    }
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

/// A copy of the operand.
pub(super) fn lower_copy(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    name: &str,
) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let source = View::of(lowering, operand)?;
    copy(lowering, id, name, operand, source)
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
    let copy = Map {
        name: "pad_copy".into(),
        shape,
        result,
        operands,
        lanes,
    };
    copy.lower(lowering, id, &|_, _, values| values[0]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_op;
    use super::*;

    #[test]
    fn slices() {
        let slice = |starts: &[usize], sizes: &[usize], steps: &[i64]| Slice {
            starts: starts.to_vec(),
            sizes: sizes.to_vec(),
            steps: steps.to_vec(),
        };
        let shape: &[usize] = &[2, 3, 5, 17];
        check_op(slice(&[0, 0, 0, 0], &[2, 3, 5, 17], &[1; 4]), &[shape]);
        check_op(slice(&[1, 1, 2, 3], &[1, 2, 3, 13], &[1; 4]), &[shape]);
        check_op(slice(&[0, 0, 1, 0], &[2, 2, 2, 6], &[1, 2, 2, 3]), &[shape]);
        check_op(slice(&[1, 2, 4, 16], &[2, 3, 5, 17], &[-1; 4]), &[shape]);
        check_op(
            slice(&[1, 0, 3, 16], &[1, 3, 2, 6], &[-9, 1, -3, -3]),
            &[shape],
        );
        check_op(slice(&[5], &[3], &[-2]), &[&[7]]);
        check_op(slice(&[5, 0], &[0, 2], &[1, 1]), &[&[5, 3]]);
        check_op(slice(&[0, 0], &[3, 64], &[1, 1]), &[&[3, 100]]);
    }

    #[test]
    fn every_other_element_of_rows_of_every_length() {
        for size in 1..40 {
            for start in 0..2.min(size) {
                // The last rows end with the operand, where nothing may be read behind them.
                let slice = Slice {
                    starts: vec![0, 0, start],
                    sizes: vec![2, 2, (size - start).div_ceil(2)],
                    steps: vec![1, 2, 2],
                };
                check_op(slice, &[&[2, 3, size]]);
            }
        }
    }

    #[test]
    fn transposes() {
        let transpose = |permutation: &[usize]| Transpose {
            permutation: permutation.to_vec(),
        };
        for permutation in [
            [0, 1, 2, 3],
            [0, 2, 3, 1],
            [0, 3, 1, 2],
            [3, 2, 1, 0],
            [1, 0, 2, 3],
        ] {
            check_op(transpose(&permutation), &[&[2, 3, 5, 7]]);
        }
        check_op(transpose(&[1, 0]), &[&[64, 80]]);
        check_op(transpose(&[0, 2, 1, 3, 4]), &[&[1, 2, 4, 5, 3]]);
        check_op(transpose(&[]), &[&[]]);
    }

    #[test]
    fn pads() {
        let pad = |low: &[usize], high: &[usize], interior: &[usize], value: f32| Pad {
            low: low.to_vec(),
            high: high.to_vec(),
            interior: interior.to_vec(),
            value,
        };
        let shape: &[usize] = &[2, 3, 4, 5];
        check_op(pad(&[0; 4], &[0; 4], &[0; 4], 9.0), &[shape]);
        check_op(pad(&[0, 0, 1, 2], &[0, 0, 3, 1], &[0; 4], -0.5), &[shape]);
        check_op(
            pad(&[1, 0, 0, 3], &[0, 2, 0, 0], &[0, 1, 2, 1], 1.5),
            &[shape],
        );
        check_op(pad(&[2], &[0], &[3], 0.0), &[&[17]]);
        check_op(pad(&[2, 1], &[0, 1], &[7, 0], 3.0), &[&[1, 0]]);
        check_op(pad(&[0, 1], &[0, 1], &[0, 0], 3.0), &[&[0, 5]]);
    }
}
