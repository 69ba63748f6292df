//! Concatenation.

use super::{Attribute, AttributeReader, Attributes, Operation};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// The operands one after the other along `axis`; any number of them from one up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concat {
    /// The axis along which sizes add up; all others are equal.
    pub axis: usize,
}

impl Operation for Concat {
    const MNEMONIC: &'static str = "concat";

    fn attributes(&self) -> Attributes {
        vec![("axis", Attribute::size(self.axis))]
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        Ok(Self {
            axis: attributes.size("axis")?.ok_or("concat needs axis=..")?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        let axis = self.axis;
        let Some(first) = operands.first() else {
            return Err("expected at least one operand".into());
        };
        if axis >= first.len() {
            return Err(format!("axis {axis} is not an axis of {first:?}"));
        }
        let mut shape = first.to_vec();
        for operand in &operands[1..] {
            let fits = operand.len() == first.len()
                && (0..first.len()).all(|a| a == axis || operand[a] == first[a]);
            if !fits {
                return Err(format!(
                    "shapes {first:?} and {operand:?} differ outside of axis {axis}"
                ));
            }
            shape[axis] = shape[axis]
                .checked_add(operand[axis])
                .ok_or("sizes overflow")?;
        }
        Ok(shape)
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let n_outer: usize = ctx.shape[..self.axis].iter().product();
        let mut data = Vec::with_capacity(ctx.shape.iter().product());
        for outer in 0..n_outer {
            for operand in operands {
                let n_inner: usize = operand.shape[self.axis..].iter().product();
                data.extend_from_slice(&operand.data[outer * n_inner..][..n_inner]);
            }
        }
        Array::new(ctx.shape, data)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, infer};
    use super::*;

    #[test]
    fn along_an_inner_axis() {
        let (a, b) = (counting(&[2, 1, 2]), array(&[2, 2, 2], &[9.0; 8]));
        let y = eval(Concat { axis: 1 }, &[], &[&a, &b]);
        let row = |x: f32| [x, x + 1.0, 9.0, 9.0, 9.0, 9.0];
        assert_eq!(y, array(&[2, 3, 2], &[row(0.0), row(2.0)].concat()));
    }

    #[test]
    fn of_one_and_of_empty_operands() {
        let (x, none) = (counting(&[2]), counting(&[0]));
        assert_eq!(eval(Concat { axis: 0 }, &[], &[&x]), x);
        assert_eq!(eval(Concat { axis: 0 }, &[], &[&none, &x]), x);
    }

    #[test]
    fn rejects() {
        assert!(infer(Concat { axis: 0 }, &[], &[]).is_err());
        assert!(infer(Concat { axis: 1 }, &[], &[&[2]]).is_err());
        assert!(infer(Concat { axis: 0 }, &[], &[&[2, 3], &[2]]).is_err());
        assert!(infer(Concat { axis: 0 }, &[], &[&[usize::MAX], &[2]]).is_err());
        let error = infer(Concat { axis: 0 }, &[], &[&[2, 3], &[2, 4]]).unwrap_err();
        assert_eq!(error, "shapes [2, 3] and [2, 4] differ outside of axis 0");
    }
}
