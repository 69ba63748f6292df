//! Padding at the edges and between the elements.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// On each axis: `low` new elements in front, `interior` between each two, `high` behind.
///
/// Padding between the elements turns a transposed convolution into an ordinary one.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// One size per axis.
    pub low: Vec<usize>,
    /// One size per axis.
    pub high: Vec<usize>,
    /// One size per axis.
    pub interior: Vec<usize>,
    /// The new elements.
    pub value: f32,
}

impl Operation for Pad {
    const MNEMONIC: &'static str = "pad";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![
            ("low", Attribute::sizes(&self.low)),
            ("high", Attribute::sizes(&self.high)),
        ];
        if self.interior.iter().any(|&i| i != 0) {
            attributes.push(("interior", Attribute::sizes(&self.interior)));
        }
        // By its bits: -0.0 is not the default.
        if self.value.to_bits() != 0 {
            attributes.push(("value", Attribute::Float(self.value)));
        }
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let low = attributes.sizes("low")?.ok_or("pad needs low=[..]")?;
        let high = attributes.sizes("high")?.ok_or("pad needs high=[..]")?;
        let interior = attributes
            .sizes("interior")?
            .unwrap_or_else(|| vec![0; low.len()]);
        let value = attributes.float("value")?.unwrap_or(0.0);
        Ok(Self {
            low,
            high,
            interior,
            value,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        let shape = operands[0];
        for (what, sizes) in [
            ("low", &self.low),
            ("high", &self.high),
            ("interior", &self.interior),
        ] {
            if sizes.len() != shape.len() {
                return Err(format!(
                    "{what} {sizes:?} does not fit the axes of {shape:?}"
                ));
            }
        }
        let axis = |a: usize| {
            let gaps = shape[a].saturating_sub(1).checked_mul(self.interior[a])?;
            shape[a]
                .checked_add(gaps)?
                .checked_add(self.low[a])?
                .checked_add(self.high[a])
        };
        let sizes: Option<Vec<usize>> = (0..shape.len()).map(axis).collect();
        sizes.ok_or_else(|| format!("padding of {shape:?} overflows"))
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = operands[0];
        let source = |a: usize, i: usize| {
            let i = i.checked_sub(self.low[a])?;
            let step = self.interior[a] + 1;
            (i % step == 0 && i / step < x.shape[a]).then_some(i / step)
        };
        Array::from_fn(ctx.shape, |index| {
            let source: Option<Vec<usize>> = index
                .iter()
                .enumerate()
                .map(|(a, &i)| source(a, i))
                .collect();
            source.map_or(self.value, |source| x.at(&source))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, infer};
    use super::*;

    #[test]
    fn edges_and_gaps() {
        let op = Pad {
            low: vec![0, 1],
            high: vec![1, 0],
            interior: vec![0, 2],
            value: 9.0,
        };
        let y = eval(op, &[], &[&counting(&[1, 2])]);
        assert_eq!(
            y,
            array(&[2, 5], &[9.0, 0.0, 9.0, 9.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0])
        );
    }

    #[test]
    fn an_empty_axis_has_no_gaps() {
        let op = Pad {
            low: vec![1],
            high: vec![1],
            interior: vec![3],
            value: -0.0,
        };
        assert_eq!(eval(op, &[], &[&counting(&[0])]).data, [0.0, 0.0]);
    }

    #[test]
    fn rejects() {
        let op = Pad {
            low: vec![0],
            high: vec![0],
            interior: vec![0],
            value: 0.0,
        };
        let error = infer(op.clone(), &[], &[&[1, 2]]).unwrap_err();
        assert_eq!(error, "low [0] does not fit the axes of [1, 2]");
        assert!(
            infer(
                Pad {
                    low: vec![usize::MAX],
                    ..op.clone()
                },
                &[],
                &[&[1]]
            )
            .is_err()
        );
        assert!(
            infer(
                Pad {
                    interior: vec![usize::MAX],
                    ..op
                },
                &[],
                &[&[3]]
            )
            .is_err()
        );
    }
}
