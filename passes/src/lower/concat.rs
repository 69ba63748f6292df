//! Concatenation: every operand is copied to its place in the result.
//!
//! ```text
//! for operand                        one step each
//!   for outer dims
//!     for i in the row by lanes
//!       y[first + i] = x[i]          `first` is where the operand begins along the axis
//! ```

use super::Lowering;
use super::elementwise::Map;
use super::view::View;
use condensec_ir::NodeId;
use condensec_ir::ops::Concat;

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId, op: &Concat) -> Result<(), String> {
    let mut result = View::of(lowering, id)?;
    for operand in lowering.graph.operands(id) {
        let shape = lowering.node(operand).shape.clone();
        let size = shape[op.axis];
        let map = Map {
            name: "concat".into(),
            shape,
            result: result.clone(),
            operands: vec![(operand, View::of(lowering, operand)?)],
            lanes: lowering.target.lanes,
        };
        map.lower(lowering, id, &|_, _, values| values[0]);
        result.offset += size * result.strides[op.axis] as usize;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_op;
    use super::*;

    #[test]
    fn every_axis() {
        check_op(Concat { axis: 0 }, &[&[1, 3, 5, 7], &[2, 3, 5, 7]]);
        check_op(
            Concat { axis: 1 },
            &[&[2, 3, 5, 7], &[2, 1, 5, 7], &[2, 4, 5, 7]],
        );
        check_op(Concat { axis: 2 }, &[&[2, 3, 5, 7], &[2, 3, 1, 7]]);
        check_op(Concat { axis: 3 }, &[&[2, 3, 5, 7], &[2, 3, 5, 17]]);
    }

    #[test]
    fn other_ranks_and_empty_operands() {
        check_op(Concat { axis: 0 }, &[&[3], &[1], &[17]]);
        check_op(Concat { axis: 0 }, &[&[3]]);
        check_op(Concat { axis: 1 }, &[&[3, 2], &[3, 0], &[3, 5]]);
        check_op(Concat { axis: 1 }, &[&[1, 64, 80], &[1, 128, 80]]);
    }
}
