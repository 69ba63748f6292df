//! Matrix product with a constant, with a fused epilogue.

use super::{Attribute, AttributeReader, Attributes, Operation, UnaryKind};
use super::{check_arity, check_channels, tensor_shape};
use crate::eval::{Array, EvalContext};
use crate::tensor::{Tensor, TensorId};

/// `y[.., m] = act(scale[m] * sum_k x[.., k] * w[m, k] + bias[m] + residual[.., m])`
///
/// Operands: `x [.., K]` and, if `residual`, a value of the result's shape `[.., M]`.
#[derive(Debug, Clone, PartialEq)]
pub struct FullyConnected {
    /// `[M, K]`
    pub weight: TensorId,
    /// `[M]`, shared or per level
    pub scale: Option<TensorId>,
    /// `[M]`, shared or per level
    pub bias: Option<TensorId>,
    /// Whether a second operand is added before the activation.
    pub residual: bool,
    /// Applied last.
    pub activation: Option<UnaryKind>,
}

impl FullyConnected {
    /// Without an epilogue.
    pub fn new(weight: TensorId) -> Self {
        Self {
            weight,
            scale: None,
            bias: None,
            residual: false,
            activation: None,
        }
    }
}

impl Operation for FullyConnected {
    const MNEMONIC: &'static str = "fully_connected";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![("weight", Attribute::Tensor(self.weight))];
        attributes.extend(self.scale.map(|id| ("scale", Attribute::Tensor(id))));
        attributes.extend(self.bias.map(|id| ("bias", Attribute::Tensor(id))));
        if self.residual {
            attributes.push(("residual", Attribute::Flag));
        }
        attributes.extend(self.activation.map(|a| ("activation", a.to_attribute())));
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        Ok(Self {
            weight: attributes
                .tensor("weight")?
                .ok_or("fully_connected needs weight=@tensor")?,
            scale: attributes.tensor("scale")?,
            bias: attributes.tensor("bias")?,
            residual: attributes.flag("residual")?,
            activation: UnaryKind::from_attribute(attributes, "activation")?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], tensors: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1 + usize::from(self.residual))?;
        let weight = tensor_shape(tensors, self.weight)?;
        let &[m, k] = weight else {
            return Err(format!("weight has shape {weight:?}, expected [M, K]"));
        };
        let Some((&last, outer)) = operands[0].split_last() else {
            return Err("input is a scalar, expected [.., K]".into());
        };
        if last != k {
            return Err(format!(
                "weight {weight:?} does not fit input {:?}",
                operands[0]
            ));
        }
        check_channels("scale", self.scale, m, tensors)?;
        check_channels("bias", self.bias, m, tensors)?;
        let shape = [outer, &[m]].concat();
        match operands.get(1) {
            Some(residual) if *residual != shape.as_slice() => Err(format!(
                "residual has shape {residual:?}, expected {shape:?}"
            )),
            _ => Ok(shape),
        }
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = operands[0];
        let weight = ctx.tensor(self.weight);
        let scale = self.scale.map(|id| ctx.tensor(id));
        let bias = self.bias.map(|id| ctx.tensor(id));
        let k = x.shape[x.shape.len() - 1];
        let m = ctx.shape[ctx.shape.len() - 1];
        let n: usize = ctx.shape[..ctx.shape.len() - 1].iter().product();
        let mut y = Array::zeros(ctx.shape);
        for row in 0..n {
            for column in 0..m {
                let inputs = &x.data[row * k..][..k];
                let weights = &weight[column * k..][..k];
                // As in a convolution, a weight of zero reads nothing.
                let product = |(&x, &w): (&f32, &f32)| if w == 0.0 { 0.0 } else { x * w };
                let sum: f32 = inputs.iter().zip(weights).map(product).sum();
                let s = scale.as_ref().map_or(1.0, |s| s[column]);
                let b = bias.as_ref().map_or(0.0, |b| b[column]);
                let at = row * m + column;
                let mut value = sum * s + b;
                if self.residual {
                    value += operands[1].data[at];
                }
                y.data[at] = self.activation.map_or(value, |a| a.eval(value));
            }
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, eval, eval_at, infer};
    use super::*;

    fn tensors() -> Vec<Tensor> {
        vec![
            Tensor::shared("w", &[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            Tensor::per_level("scale", &[2], [0.5, 0.5, 1.0, 1.0]),
            Tensor::shared("bias", &[2], [1.0, -40.0]),
        ]
    }

    #[test]
    fn plain_on_any_rank() {
        let op = FullyConnected::new(TensorId(0));
        let x = array(&[2, 1, 3], &[1.0, 1.0, 1.0, 0.0, 1.0, -1.0]);
        let y = eval(op.clone(), &tensors(), &[&x]);
        assert_eq!(y, array(&[2, 1, 2], &[6.0, 15.0, -1.0, -1.0]));
        assert_eq!(
            eval(op, &tensors(), &[&array(&[3], &[1.0, 0.0, 0.0])]).data,
            [1.0, 4.0]
        );
    }

    #[test]
    fn epilogue_in_order() {
        let op = FullyConnected {
            scale: Some(TensorId(1)),
            bias: Some(TensorId(2)),
            residual: true,
            activation: Some(UnaryKind::Clip { lo: 0.0, hi: 20.0 }),
            ..FullyConnected::new(TensorId(0))
        };
        let (x, r) = (
            array(&[1, 3], &[2.0, 4.0, 6.0]),
            array(&[1, 2], &[2.0, 16.0]),
        );
        assert_eq!(
            eval_at(0, op.clone(), &tensors(), &[&x, &r]).data,
            [17.0, 8.0]
        );
        assert_eq!(eval_at(1, op, &tensors(), &[&x, &r]).data, [20.0, 20.0]);
    }

    #[test]
    fn rejects() {
        let op = FullyConnected::new(TensorId(0));
        let error = infer(op.clone(), &tensors(), &[&[1, 4]]).unwrap_err();
        assert_eq!(error, "weight [2, 3] does not fit input [1, 4]");
        assert!(infer(op.clone(), &tensors(), &[&[]]).is_err());
        let one_axis = FullyConnected::new(TensorId(2));
        assert!(infer(one_axis, &tensors(), &[&[2]]).is_err());
        let residual = FullyConnected {
            residual: true,
            ..op
        };
        assert!(infer(residual.clone(), &tensors(), &[&[1, 3]]).is_err());
        assert!(infer(residual, &tensors(), &[&[1, 3], &[2]]).is_err());
    }
}
