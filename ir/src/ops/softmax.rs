//! Softmax and its logarithm.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// `y_i = exp(x_i - m) / sum_j exp(x_j - m)` along `axis`, `m` the largest `x_j`; with `log`,
/// `y_i = x_i - m - log(sum_j exp(x_j - m))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax {
    /// The axis that sums to one.
    pub axis: usize,
    /// Whether the result is the logarithm.
    pub log: bool,
}

impl Operation for Softmax {
    const MNEMONIC: &'static str = "softmax";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![("axis", Attribute::size(self.axis))];
        if self.log {
            attributes.push(("log", Attribute::Flag));
        }
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let axis = attributes.size("axis")?.ok_or("softmax needs axis=..")?;
        Ok(Self {
            axis,
            log: attributes.flag("log")?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        match self.axis < operands[0].len() {
            true => Ok(operands[0].to_vec()),
            false => Err(format!(
                "axis {} is not an axis of {:?}",
                self.axis, operands[0]
            )),
        }
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = &operands[0].data;
        let n = ctx.shape[self.axis];
        let n_inner: usize = ctx.shape[self.axis + 1..].iter().product();
        let n_outer: usize = ctx.shape[..self.axis].iter().product();
        let mut y = Array::zeros(ctx.shape);
        for outer in 0..n_outer {
            for inner in 0..n_inner {
                let at = |i: usize| (outer * n + i) * n_inner + inner;
                let larger = |m: f32, i: usize| if x[at(i)] > m { x[at(i)] } else { m };
                let max = (0..n).fold(f32::NEG_INFINITY, larger);
                let sum: f32 = (0..n).map(|i| libm::expf(x[at(i)] - max)).sum();
                for i in 0..n {
                    y.data[at(i)] = match self.log {
                        true => x[at(i)] - max - libm::logf(sum),
                        false => libm::expf(x[at(i)] - max) / sum,
                    };
                }
            }
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, infer};
    use super::*;

    #[test]
    fn sums_to_one_on_an_inner_axis() {
        let y = eval(
            Softmax {
                axis: 1,
                log: false,
            },
            &[],
            &[&counting(&[2, 2, 2])],
        );
        let (lo, hi) = (0.119_202_92, 0.880_797_1);
        let expected = [lo, lo, hi, hi, lo, lo, hi, hi];
        for (value, expected) in y.data.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }

    #[test]
    fn large_values_do_not_overflow() {
        let x = array(&[2], &[1000.0, 1000.0]);
        assert_eq!(
            eval(
                Softmax {
                    axis: 0,
                    log: false
                },
                &[],
                &[&x]
            )
            .data,
            [0.5, 0.5]
        );
        let log = eval(Softmax { axis: 0, log: true }, &[], &[&x]).data;
        assert_eq!(log, [-std::f32::consts::LN_2; 2]);
    }

    #[test]
    fn rejects() {
        assert!(
            infer(
                Softmax {
                    axis: 1,
                    log: false
                },
                &[],
                &[&[2]]
            )
            .is_err()
        );
        assert!(
            infer(
                Softmax {
                    axis: 0,
                    log: false
                },
                &[],
                &[&[]]
            )
            .is_err()
        );
    }
}
