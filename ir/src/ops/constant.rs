//! A constant as a value.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity, tensor_shape};
use crate::eval::{Array, EvalContext};
use crate::tensor::{Tensor, TensorId};

/// `y = tensor`, as the level sees it; no operands. For constants that take part in ordinary
/// arithmetic; parameters of an op are its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// Any shape, any level rule.
    pub tensor: TensorId,
}

impl Operation for Constant {
    const MNEMONIC: &'static str = "constant";

    fn attributes(&self) -> Attributes {
        vec![("tensor", Attribute::Tensor(self.tensor))]
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let tensor = attributes
            .tensor("tensor")?
            .ok_or("constant needs tensor=@tensor")?;
        Ok(Self { tensor })
    }

    fn infer_shape(&self, operands: &[&[usize]], tensors: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 0)?;
        Ok(tensor_shape(tensors, self.tensor)?.to_vec())
    }

    fn eval(&self, _: &[&Array], ctx: &EvalContext<'_>) -> Array {
        Array::new(ctx.shape, ctx.tensor(self.tensor).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{eval_at, infer};
    use super::*;
    use crate::sparsity::LevelMask;
    use crate::tensor::LevelRule;

    #[test]
    fn is_what_the_level_sees() {
        let rule = LevelRule::Masked(LevelMask::new([0, 1, 2], &[1]));
        let data = [1.0, 2.0, 3.0];
        let tensors = vec![
            Tensor {
                rule,
                ..Tensor::shared("masked", &[3], data)
            },
            Tensor::per_level("rows", &[1], [4.0, 5.0]),
        ];
        let at = |level, tensor| {
            eval_at(
                level,
                Constant {
                    tensor: TensorId(tensor),
                },
                &tensors,
                &[],
            )
            .data
        };
        assert_eq!(at(0, 0), [1.0, 0.0, 0.0]);
        assert_eq!(at(1, 0), [1.0, 2.0, 0.0]);
        assert_eq!(at(0, 1), [4.0]);
        assert_eq!(at(1, 1), [5.0]);
        assert!(
            infer(
                Constant {
                    tensor: TensorId(2)
                },
                &tensors,
                &[]
            )
            .is_err()
        );
    }
}
