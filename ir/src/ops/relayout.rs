//! A change of storage.

use super::{AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// `y = x`: only the [`crate::layout::Layout`] of the node differs from its operand's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayout;

impl Operation for Relayout {
    const MNEMONIC: &'static str = "relayout";

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn from_attributes(_: &mut AttributeReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        Ok(operands[0].to_vec())
    }

    fn eval(&self, operands: &[&Array], _: &EvalContext<'_>) -> Array {
        operands[0].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{counting, eval};
    use super::*;

    #[test]
    fn changes_no_element() {
        let x = counting(&[1, 2, 3]);
        assert_eq!(eval(Relayout, &[], &[&x]), x);
    }
}
