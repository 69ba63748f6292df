//! Batch normalization with fixed statistics.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity, check_channels};
use crate::eval::{Array, EvalContext};
use crate::tensor::{Tensor, TensorId};

/// `y[n, c, ..] = (x[n, c, ..] - mean[c]) / sqrt(var[c] + epsilon) * scale[c] + bias[c]`
///
/// All parameters are `[C]`, shared or per level.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// `[C]`
    pub scale: TensorId,
    /// `[C]`
    pub bias: TensorId,
    /// `[C]`
    pub mean: TensorId,
    /// `[C]`
    pub var: TensorId,
    /// Keeps the root away from zero.
    pub epsilon: f32,
}

impl Operation for BatchNorm {
    const MNEMONIC: &'static str = "batch_norm";

    fn attributes(&self) -> Attributes {
        vec![
            ("scale", Attribute::Tensor(self.scale)),
            ("bias", Attribute::Tensor(self.bias)),
            ("mean", Attribute::Tensor(self.mean)),
            ("var", Attribute::Tensor(self.var)),
            ("epsilon", Attribute::Float(self.epsilon)),
        ]
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let mut tensor = |name: &str| {
            attributes
                .tensor(name)?
                .ok_or_else(|| format!("batch_norm needs {name}=@tensor"))
        };
        Ok(Self {
            scale: tensor("scale")?,
            bias: tensor("bias")?,
            mean: tensor("mean")?,
            var: tensor("var")?,
            epsilon: attributes
                .float("epsilon")?
                .ok_or("batch_norm needs epsilon=..")?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], tensors: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        let &[_, c, ..] = operands[0] else {
            return Err(format!(
                "input has shape {:?}, expected [N, C, ..]",
                operands[0]
            ));
        };
        check_channels("scale", Some(self.scale), c, tensors)?;
        check_channels("bias", Some(self.bias), c, tensors)?;
        check_channels("mean", Some(self.mean), c, tensors)?;
        check_channels("var", Some(self.var), c, tensors)?;
        Ok(operands[0].to_vec())
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = operands[0];
        let (scale, bias) = (ctx.tensor(self.scale), ctx.tensor(self.bias));
        let (mean, var) = (ctx.tensor(self.mean), ctx.tensor(self.var));
        Array::from_fn(ctx.shape, |index| {
            let c = index[1];
            (x.at(index) - mean[c]) / (var[c] + self.epsilon).sqrt() * scale[c] + bias[c]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval_at, infer};
    use super::*;

    fn norm() -> (BatchNorm, Vec<Tensor>) {
        let tensors = vec![
            Tensor::per_level("scale", &[2], [1.0, 2.0, 3.0, 4.0]),
            Tensor::shared("bias", &[2], [0.5, -0.5]),
            Tensor::shared("mean", &[2], [1.0, 2.0]),
            Tensor::shared("var", &[2], [3.0, 0.0]),
        ];
        let [scale, bias, mean, var] = [0, 1, 2, 3].map(TensorId);
        (
            BatchNorm {
                scale,
                bias,
                mean,
                var,
                epsilon: 1.0,
            },
            tensors,
        )
    }

    #[test]
    fn each_level_has_its_scale() {
        let (op, tensors) = norm();
        let x = array(&[1, 2, 2], &[1.0, 3.0, 2.0, 5.0]);
        assert_eq!(
            eval_at(0, op.clone(), &tensors, &[&x]).data,
            [0.5, 1.5, -0.5, 5.5]
        );
        assert_eq!(
            eval_at(1, op.clone(), &tensors, &[&x]).data,
            [0.5, 3.5, -0.5, 11.5]
        );
        let flat = counting(&[3, 2]);
        assert_eq!(eval_at(0, op, &tensors, &[&flat]).shape, [3, 2]);
    }

    #[test]
    fn rejects() {
        let (op, tensors) = norm();
        assert!(infer(op.clone(), &tensors, &[&[2]]).is_err());
        let error = infer(op.clone(), &tensors, &[&[1, 3, 4]]).unwrap_err();
        assert_eq!(error, "scale has shape [2], expected [3]");
        assert!(infer(op, &tensors[..2], &[&[1, 2]]).is_err());
    }
}
