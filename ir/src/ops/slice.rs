//! A regular part of a value.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// `y[i, j, ..] = x[starts[0] + i * steps[0], starts[1] + j * steps[1], ..]`
///
/// The importer has resolved negative and clipped bounds; steps may be negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// First index read, per axis.
    pub starts: Vec<usize>,
    /// Result shape.
    pub sizes: Vec<usize>,
    /// Distance of two indices read, per axis.
    pub steps: Vec<i64>,
}

impl Slice {
    /// Index along `axis` that result index `i` reads, if it is one.
    fn source(&self, axis: usize, i: usize) -> Option<usize> {
        let offset = i64::try_from(i).ok()?.checked_mul(self.steps[axis])?;
        self.starts[axis].checked_add_signed(isize::try_from(offset).ok()?)
    }
}

impl Operation for Slice {
    const MNEMONIC: &'static str = "slice";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![
            ("starts", Attribute::sizes(&self.starts)),
            ("sizes", Attribute::sizes(&self.sizes)),
        ];
        if self.steps.iter().any(|&step| step != 1) {
            attributes.push(("steps", Attribute::Ints(self.steps.clone())));
        }
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let starts = attributes
            .sizes("starts")?
            .ok_or("slice needs starts=[..]")?;
        let sizes = attributes.sizes("sizes")?.ok_or("slice needs sizes=[..]")?;
        let steps = attributes
            .ints("steps")?
            .unwrap_or_else(|| vec![1; starts.len()]);
        Ok(Self {
            starts,
            sizes,
            steps,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        let shape = operands[0];
        let rank = shape.len();
        if self.starts.len() != rank || self.sizes.len() != rank || self.steps.len() != rank {
            return Err(format!(
                "starts {:?}, sizes {:?} and steps {:?} do not fit the axes of {shape:?}",
                self.starts, self.sizes, self.steps
            ));
        }
        for axis in 0..rank {
            let Some(last) = self.sizes[axis].checked_sub(1) else {
                continue;
            };
            let inside = |i| {
                self.source(axis, i)
                    .is_some_and(|source| source < shape[axis])
            };
            if !inside(0) || !inside(last) {
                return Err(format!(
                    "axis {axis}: {} elements from {} in steps of {} are not all inside {}",
                    self.sizes[axis], self.starts[axis], self.steps[axis], shape[axis]
                ));
            }
        }
        Ok(self.sizes.clone())
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        Array::from_fn(ctx.shape, |index| {
            let source = |(axis, &i): (usize, &usize)| {
                self.source(axis, i)
                    .expect("infer_shape checked the last index")
            };
            let source: Vec<usize> = index.iter().enumerate().map(source).collect();
            operands[0].at(&source)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, infer};
    use super::*;

    fn slice(starts: &[usize], sizes: &[usize], steps: &[i64]) -> Slice {
        Slice {
            starts: starts.to_vec(),
            sizes: sizes.to_vec(),
            steps: steps.to_vec(),
        }
    }

    #[test]
    fn steps_in_both_directions() {
        let y = eval(
            slice(&[1, 3], &[1, 2], &[1, -2]),
            &[],
            &[&counting(&[2, 4])],
        );
        assert_eq!(y, array(&[1, 2], &[7.0, 5.0]));
    }

    #[test]
    fn of_nothing() {
        let y = eval(slice(&[4], &[0], &[1]), &[], &[&counting(&[4])]);
        assert_eq!(y.shape, [0]);
    }

    #[test]
    fn rejects() {
        let error = infer(slice(&[2], &[3], &[1]), &[], &[&[4]]).unwrap_err();
        assert_eq!(
            error,
            "axis 0: 3 elements from 2 in steps of 1 are not all inside 4"
        );
        assert!(infer(slice(&[1], &[3], &[-1]), &[], &[&[4]]).is_err());
        assert!(infer(slice(&[0], &[2], &[i64::MAX]), &[], &[&[4]]).is_err());
        assert!(infer(slice(&[0], &[usize::MAX], &[i64::MIN]), &[], &[&[4]]).is_err());
        assert!(infer(slice(&[0], &[1], &[1]), &[], &[&[4, 4]]).is_err());
    }
}
