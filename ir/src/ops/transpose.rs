//! A new order of the axes.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// Axis `a` of the result is axis `permutation[a]` of the operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transpose {
    /// Each axis of the operand once.
    pub permutation: Vec<usize>,
}

impl Operation for Transpose {
    const MNEMONIC: &'static str = "transpose";

    fn attributes(&self) -> Attributes {
        vec![("permutation", Attribute::sizes(&self.permutation))]
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let permutation = attributes.sizes("permutation")?;
        Ok(Self {
            permutation: permutation.ok_or("transpose needs permutation=[..]")?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        let shape = operands[0];
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..shape.len()) {
            return Err(format!(
                "{:?} is not a permutation of the axes of {shape:?}",
                self.permutation
            ));
        }
        Ok(self.permutation.iter().map(|&axis| shape[axis]).collect())
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let mut source = vec![0; ctx.shape.len()];
        Array::from_fn(ctx.shape, |index| {
            for (&axis, &i) in self.permutation.iter().zip(index) {
                source[axis] = i;
            }
            operands[0].at(&source)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{counting, eval, infer};
    use super::*;

    #[test]
    fn three_axes() {
        let y = eval(
            Transpose {
                permutation: vec![2, 0, 1],
            },
            &[],
            &[&counting(&[2, 1, 3])],
        );
        assert_eq!(y.shape, [3, 2, 1]);
        assert_eq!(y.data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn rejects() {
        for permutation in [vec![0], vec![0, 0], vec![0, 2], vec![0, 1, 2]] {
            assert!(infer(Transpose { permutation }, &[], &[&[2, 3]]).is_err());
        }
    }
}
