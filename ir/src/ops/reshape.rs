//! A new shape over the same elements.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity, checked_n_elems};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// The elements of `x` in row-major order, in `shape`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reshape {
    /// Has as many elements as the operand.
    pub shape: Vec<usize>,
}

impl Operation for Reshape {
    const MNEMONIC: &'static str = "reshape";

    fn attributes(&self) -> Attributes {
        vec![("shape", Attribute::sizes(&self.shape))]
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        Ok(Self {
            shape: attributes
                .sizes("shape")?
                .ok_or("reshape needs shape=[..]")?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        let (from, to) = (checked_n_elems(operands[0]), checked_n_elems(&self.shape));
        match (from, to) {
            (Some(from), Some(to)) if from == to => Ok(self.shape.clone()),
            _ => Err(format!(
                "shapes {:?} and {:?} differ in the number of elements",
                operands[0], self.shape
            )),
        }
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        Array::new(ctx.shape, operands[0].data.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{counting, eval, infer};
    use super::*;

    #[test]
    fn keeps_the_order() {
        let x = counting(&[2, 3]);
        let y = eval(
            Reshape {
                shape: vec![3, 1, 2],
            },
            &[],
            &[&x],
        );
        assert_eq!(y, counting(&[3, 1, 2]));
        assert_eq!(
            eval(Reshape { shape: vec![] }, &[], &[&counting(&[1])]).shape,
            [0; 0]
        );
    }

    #[test]
    fn rejects() {
        let error = infer(Reshape { shape: vec![7] }, &[], &[&[2, 3]]).unwrap_err();
        assert_eq!(
            error,
            "shapes [2, 3] and [7] differ in the number of elements"
        );
        assert!(
            infer(
                Reshape {
                    shape: vec![usize::MAX, 2]
                },
                &[],
                &[&[2, 3]]
            )
            .is_err()
        );
    }
}
