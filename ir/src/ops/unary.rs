//! Functions of one number, applied to each element.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// `y = f(x)` for each element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unary {
    /// The function.
    pub kind: UnaryKind,
}

/// A function of one number; also the activation at the end of a fused epilogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnaryKind {
    /// `|x|`
    Abs,
    /// Smallest integer not below `x`.
    Ceil,
    /// `min(max(x, lo), hi)`
    Clip {
        /// Lower bound.
        lo: f32,
        /// Upper bound.
        hi: f32,
    },
    /// `x` if `x > 0`, else `alpha * (exp(x) - 1)`
    Elu {
        /// Negated limit at minus infinity.
        alpha: f32,
    },
    /// Gauss error function.
    Erf,
    /// `e^x`
    Exp,
    /// Largest integer not above `x`.
    Floor,
    /// `x/2 * (1 + erf(x / sqrt(2)))`, the exact form.
    Gelu,
    /// `min(max(alpha * x + beta, 0), 1)`
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x * min(max(x/6 + 1/2, 0), 1)`
    HardSwish,
    /// `x` if `x > 0`, else `alpha * x`
    LeakyRelu {
        /// Slope of the negative half.
        alpha: f32,
    },
    /// Natural logarithm.
    Log,
    /// `-x`
    Neg,
    /// `1 / x`
    Reciprocal,
    /// `x` if `x > 0`, else 0 (also for NaN).
    Relu,
    /// Nearest integer, halves to even.
    Round,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x * sigmoid(x)`
    Silu,
    /// `log(1 + e^x)`
    Softplus,
    /// Square root.
    Sqrt,
    /// Hyperbolic tangent.
    Tanh,
}

/// The two comparisons that kernels use: a NaN gives the bound.
fn max(x: f32, bound: f32) -> f32 {
    if x > bound { x } else { bound }
}

fn min(x: f32, bound: f32) -> f32 {
    if x < bound { x } else { bound }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

impl UnaryKind {
    /// One of each, sorted by name; the arguments are examples.
    pub const ALL: &[Self] = &[
        Self::Abs,
        Self::Ceil,
        Self::Clip { lo: 0.0, hi: 6.0 },
        Self::Elu { alpha: 1.5 },
        Self::Erf,
        Self::Exp,
        Self::Floor,
        Self::Gelu,
        Self::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        Self::HardSwish,
        Self::LeakyRelu { alpha: 0.01 },
        Self::Log,
        Self::Neg,
        Self::Reciprocal,
        Self::Relu,
        Self::Round,
        Self::Sigmoid,
        Self::Silu,
        Self::Softplus,
        Self::Sqrt,
        Self::Tanh,
    ];

    /// The function's value. Transcendental functions come from `libm` on every host, so that
    /// folded constants do not depend on the machine that compiles.
    pub fn eval(self, x: f32) -> f32 {
        match self {
            Self::Abs => x.abs(),
            Self::Ceil => x.ceil(),
            Self::Clip { lo, hi } => min(max(x, lo), hi),
            Self::Elu { alpha } if x <= 0.0 => alpha * libm::expm1f(x),
            Self::Erf => libm::erff(x),
            Self::Exp => libm::expf(x),
            Self::Floor => x.floor(),
            Self::Gelu => 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::HardSigmoid { alpha, beta } => min(max(alpha * x + beta, 0.0), 1.0),
            Self::HardSwish => x * min(max(x / 6.0 + 0.5, 0.0), 1.0),
            Self::LeakyRelu { alpha } if x <= 0.0 => alpha * x,
            Self::Elu { .. } | Self::LeakyRelu { .. } => x,
            Self::Log => libm::logf(x),
            Self::Neg => -x,
            Self::Reciprocal => 1.0 / x,
            Self::Relu => max(x, 0.0),
            Self::Round => x.round_ties_even(),
            Self::Sigmoid => sigmoid(x),
            Self::Silu => x * sigmoid(x),
            // The sum stays finite where e^x does not.
            Self::Softplus => x.max(0.0) + libm::log1pf(libm::expf(-x.abs())),
            Self::Sqrt => x.sqrt(),
            Self::Tanh => libm::tanhf(x),
        }
    }

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::Ceil => "ceil",
            Self::Clip { .. } => "clip",
            Self::Elu { .. } => "elu",
            Self::Erf => "erf",
            Self::Exp => "exp",
            Self::Floor => "floor",
            Self::Gelu => "gelu",
            Self::HardSigmoid { .. } => "hard_sigmoid",
            Self::HardSwish => "hard_swish",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Log => "log",
            Self::Neg => "neg",
            Self::Reciprocal => "reciprocal",
            Self::Relu => "relu",
            Self::Round => "round",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::Softplus => "softplus",
            Self::Sqrt => "sqrt",
            Self::Tanh => "tanh",
        }
    }

    fn arguments(self) -> Vec<f32> {
        match self {
            Self::Clip { lo, hi } => vec![lo, hi],
            Self::Elu { alpha } | Self::LeakyRelu { alpha } => vec![alpha],
            Self::HardSigmoid { alpha, beta } => vec![alpha, beta],
            _ => Vec::new(),
        }
    }

    fn with_arguments(self, arguments: &[f32]) -> Option<Self> {
        match (self, arguments) {
            (Self::Clip { .. }, &[lo, hi]) => Some(Self::Clip { lo, hi }),
            (Self::Elu { .. }, &[alpha]) => Some(Self::Elu { alpha }),
            (Self::LeakyRelu { .. }, &[alpha]) => Some(Self::LeakyRelu { alpha }),
            (Self::HardSigmoid { .. }, &[alpha, beta]) => Some(Self::HardSigmoid { alpha, beta }),
            (kind, []) if kind.arguments().is_empty() => Some(kind),
            _ => None,
        }
    }

    /// `relu`, `clip(0.0, 6.0)`
    pub fn to_attribute(self) -> Attribute {
        Attribute::Call(self.name().to_string(), self.arguments())
    }

    /// Takes the attribute `name`.
    ///
    /// # Errors
    /// An unknown function or a wrong number of arguments.
    pub fn from_attribute(
        attributes: &mut AttributeReader,
        name: &str,
    ) -> Result<Option<Self>, String> {
        let Some((function, arguments)) = attributes.call(name)? else {
            return Ok(None);
        };
        let Some(kind) = Self::ALL.iter().find(|kind| kind.name() == function) else {
            let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            return Err(format!(
                "attribute {name}: {function} is none of {}",
                known.join(", ")
            ));
        };
        let expected = kind.arguments().len();
        match kind.with_arguments(&arguments) {
            Some(kind) => Ok(Some(kind)),
            None => Err(format!(
                "attribute {name}: {function} takes {expected} numbers, found {}",
                arguments.len()
            )),
        }
    }
}

impl Operation for Unary {
    const MNEMONIC: &'static str = "unary";

    fn attributes(&self) -> Attributes {
        vec![("kind", self.kind.to_attribute())]
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let kind = UnaryKind::from_attribute(attributes, "kind")?.ok_or("unary needs kind=..")?;
        Ok(Self { kind })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        Ok(operands[0].to_vec())
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        Array::new(
            ctx.shape,
            operands[0]
                .data
                .iter()
                .map(|&x| self.kind.eval(x))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, eval};
    use super::*;

    #[test]
    fn every_kind() {
        // At -1.5 and 2.5, to seven digits.
        let expected = [
            ("abs", 1.5, 2.5),
            ("ceil", -1.0, 3.0),
            ("clip", 0.0, 2.5),
            ("elu", -1.165_304_8, 2.5),
            ("erf", -0.966_105_1, 0.999_593_1),
            ("exp", 0.223_130_16, 12.182_494),
            ("floor", -2.0, 2.0),
            ("gelu", -0.100_210_8, 2.484_475_9),
            ("hard_sigmoid", 0.2, 1.0),
            ("hard_swish", -0.375, 2.291_666_7),
            ("leaky_relu", -0.015, 2.5),
            ("log", f32::NAN, 0.916_290_7),
            ("neg", 1.5, -2.5),
            ("reciprocal", -2.0 / 3.0, 0.4),
            ("relu", 0.0, 2.5),
            ("round", -2.0, 2.0),
            ("sigmoid", 0.182_425_52, 0.924_141_8),
            ("silu", -0.273_638_3, 2.310_354_6),
            ("softplus", 0.201_413_28, 2.578_889_7),
            ("sqrt", f32::NAN, 1.581_138_8),
            ("tanh", -0.905_148_27, 0.986_614_3),
        ];
        let x = array(&[2], &[-1.5, 2.5]);
        assert_eq!(UnaryKind::ALL.len(), expected.len());
        for (&kind, (name, low, high)) in UnaryKind::ALL.iter().zip(expected) {
            let y = eval(Unary { kind }, &[], &[&x]).data;
            assert_eq!(kind.name(), name);
            for (value, expected) in y.iter().zip([low, high]) {
                let close = (value - expected).abs() <= 1e-6 * expected.abs().max(1.0);
                assert!(
                    close || (value.is_nan() && expected.is_nan()),
                    "{name}: {value}, {expected}"
                );
            }
        }
    }

    #[test]
    fn names_are_sorted() {
        assert!(UnaryKind::ALL.is_sorted_by_key(|kind| kind.name()));
    }

    #[test]
    fn extremes() {
        assert_eq!(UnaryKind::Relu.eval(f32::NAN), 0.0);
        assert_eq!(UnaryKind::Clip { lo: -1.0, hi: 1.0 }.eval(f32::NAN), -1.0);
        assert_eq!(UnaryKind::Softplus.eval(1000.0), 1000.0);
        assert_eq!(UnaryKind::Sigmoid.eval(-1000.0), 0.0);
        assert_eq!(UnaryKind::Round.eval(3.5), 4.0);
        assert!(UnaryKind::LeakyRelu { alpha: 0.1 }.eval(f32::NAN).is_nan());
    }

    #[test]
    fn wrong_arguments_are_errors() {
        let read = |name: &str, arguments: &[f32]| {
            let call = Attribute::Call(name.into(), arguments.to_vec());
            let mut reader = AttributeReader::new(vec![("kind".into(), call)]);
            UnaryKind::from_attribute(&mut reader, "kind")
        };
        let error = read("clip", &[1.0]).unwrap_err();
        assert_eq!(error, "attribute kind: clip takes 2 numbers, found 1");
        assert!(read("relu", &[1.0]).is_err());
        assert!(read("sine", &[]).unwrap_err().contains("none of abs, ceil"));
    }
}
