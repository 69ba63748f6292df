//! A constant operand: a table of the library, one per level if the levels differ.

use super::Lowering;
use condensec_ir::NodeId;
use condensec_ir::ops::Constant;

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId, op: &Constant) -> Result<(), String> {
    let symbols = lowering.add_parameter(op.tensor, |values| values.to_vec());
    lowering.constants.insert(id, symbols);
    Ok(())
}
