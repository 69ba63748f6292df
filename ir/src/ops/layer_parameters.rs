//! Parameters of layers with weights.

use super::{Op, UnaryKind};
use crate::tensor::TensorId;

/// What convolutions and fully connected layers have in common:
/// `activation(scale * (weight . x) + bias + residual)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerParameters {
    /// `[M, ..]`
    pub weight: TensorId,
    /// `[M]`
    pub scale: Option<TensorId>,
    /// `[M]`
    pub bias: Option<TensorId>,
    /// Whether there is a second operand.
    pub residual: bool,
    /// Applied last.
    pub activation: Option<UnaryKind>,
}

impl LayerParameters {
    /// The parameters of `op`, if it is one of the two.
    pub fn of(op: &Op) -> Option<Self> {
        let (weight, scale, bias, residual, activation) = match op {
            Op::Conv2d(op) => (op.weight, op.scale, op.bias, op.residual, op.activation),
            Op::FullyConnected(op) => (op.weight, op.scale, op.bias, op.residual, op.activation),
            _ => return None,
        };
        Some(Self {
            weight,
            scale,
            bias,
            residual,
            activation,
        })
    }

    /// Makes these the parameters of `op`.
    ///
    /// # Panics
    /// `op` is neither of the two.
    pub fn write_to(self, op: &mut Op) {
        let (weight, scale, bias, residual, activation) = match op {
            Op::Conv2d(op) => (
                &mut op.weight,
                &mut op.scale,
                &mut op.bias,
                &mut op.residual,
                &mut op.activation,
            ),
            Op::FullyConnected(op) => (
                &mut op.weight,
                &mut op.scale,
                &mut op.bias,
                &mut op.residual,
                &mut op.activation,
            ),
            _ => panic!("{op:?} is no layer with weights"),
        };
        (*weight, *scale, *bias) = (self.weight, self.scale, self.bias);
        (*residual, *activation) = (self.residual, self.activation);
    }
}
