//! The ops of the graph IR: a small set of primitives; richer ONNX ops are compositions of them.
//!
//! One file per op holds its attributes, its shape rule and its reference evaluation. Adding one:
//! write the file, add a `mod` line and a line to `define_ops!` (rustfmt and editors do not see modules
//! that a macro declares), write its lowering in `condensec-passes`.

mod attribute;
mod avg_pool;
mod batch_norm;
mod binary;
#[cfg(test)]
mod check;
mod concat;
mod constant;
mod conv2d;
mod fully_connected;
mod input;
mod layer_parameters;
mod matmul;
mod max_pool;
mod pad;
mod reduce;
mod relayout;
mod reshape;
mod resize;
mod slice;
mod softmax;
mod transpose;
mod unary;
mod window;

pub use attribute::{Attribute, AttributeReader, Attributes};
pub use layer_parameters::LayerParameters;

use crate::eval::{Array, EvalContext};
use crate::tensor::{Tensor, TensorId};

/// What every op says about itself.
pub trait Operation: Sized {
    /// Name in the text form.
    const MNEMONIC: &'static str;

    /// Attributes that differ from their defaults.
    fn attributes(&self) -> Attributes;

    /// The op from its text form.
    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String>;

    /// Constants that the op reads, in attribute order.
    fn tensors(&self) -> Vec<TensorId> {
        let tensor = |(_, attribute): (&str, Attribute)| match attribute {
            Attribute::Tensor(id) => Some(id),
            _ => None,
        };
        self.attributes().into_iter().filter_map(tensor).collect()
    }

    /// Shape of the result; also the check that the op fits its operands. The message names the
    /// shapes; the caller adds the node. Sizes that overflow are errors, never panics.
    fn infer_shape(&self, operands: &[&[usize]], tensors: &[Tensor]) -> Result<Vec<usize>, String>;

    /// The result on dense row-major arrays, straight from the definition.
    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array;
}

/// Elements of a value of `shape`, if it can exist in memory. Zero sizes count as one here, so that
/// strides do not overflow either.
pub fn checked_n_elems(shape: &[usize]) -> Option<usize> {
    let bound = shape
        .iter()
        .try_fold(size_of::<f32>(), |n, &d| n.checked_mul(d.max(1)))?;
    isize::try_from(bound).ok()?;
    Some(shape.iter().product())
}

/// Checks the number of operands.
fn check_arity(operands: &[&[usize]], expected: usize) -> Result<(), String> {
    match operands.len() {
        found if found == expected => Ok(()),
        found => Err(format!("expected {expected} operands, found {found}")),
    }
}

/// Shape of a constant.
fn tensor_shape(tensors: &[Tensor], id: TensorId) -> Result<&[usize], String> {
    let tensor = tensors
        .get(id.0 as usize)
        .ok_or_else(|| format!("tensor {} is missing", id.0))?;
    Ok(&tensor.shape)
}

/// Checks a parameter with one value per channel: `[m]`.
fn check_channels(
    what: &str,
    id: Option<TensorId>,
    m: usize,
    tensors: &[Tensor],
) -> Result<(), String> {
    let Some(id) = id else { return Ok(()) };
    let shape = tensor_shape(tensors, id)?;
    if shape == [m] {
        return Ok(());
    }
    Err(format!("{what} has shape {shape:?}, expected [{m}]"))
}

macro_rules! define_ops {
    ($($module:ident :: $Type:ident,)*) => {
        $(pub use $module::$Type;)*

        /// What a node computes.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op {
            $(
                #[doc = concat!("See [`", stringify!($Type), "`].")]
                $Type($Type),
            )*
        }

        $(
            impl From<$Type> for Op {
                fn from(op: $Type) -> Self {
                    Op::$Type(op)
                }
            }
        )*

        /// Mnemonics of all ops, sorted.
        pub const MNEMONICS: &[&str] = &[$(<$Type as Operation>::MNEMONIC,)*];

        impl Op {
            /// Name in the text form.
            pub fn mnemonic(&self) -> &'static str {
                match self { $(Op::$Type(_) => <$Type as Operation>::MNEMONIC,)* }
            }

            /// Attributes that differ from their defaults.
            pub fn attributes(&self) -> Attributes {
                match self { $(Op::$Type(op) => op.attributes(),)* }
            }

            /// Constants that the op reads.
            pub fn tensors(&self) -> Vec<TensorId> {
                match self { $(Op::$Type(op) => op.tensors(),)* }
            }

            /// The op from its text form.
            ///
            /// # Errors
            /// An unknown mnemonic, or attributes that the op does not take.
            pub fn from_text(mnemonic: &str, mut attributes: AttributeReader) -> Result<Self, String> {
                $(
                    if mnemonic == <$Type as Operation>::MNEMONIC {
                        let op = <$Type as Operation>::from_attributes(&mut attributes)?;
                        attributes.finish()?;
                        return Ok(Op::$Type(op));
                    }
                )*
                Err(format!("unknown op {mnemonic}"))
            }

            /// See [`Operation::infer_shape`].
            ///
            /// # Errors
            /// Operands that the op does not accept.
            pub fn infer_shape(&self, operands: &[&[usize]], tensors: &[Tensor]) -> Result<Vec<usize>, String> {
                let shape = match self { $(Op::$Type(op) => op.infer_shape(operands, tensors),)* }?;
                match checked_n_elems(&shape) {
                    Some(_) => Ok(shape),
                    None => Err(format!("a result of shape {shape:?} is too large")),
                }
            }

            /// See [`Operation::eval`].
            pub fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
                match self { $(Op::$Type(op) => op.eval(operands, ctx),)* }
            }
        }
    };
}

define_ops! {
    avg_pool::AvgPool,
    batch_norm::BatchNorm,
    binary::Binary,
    concat::Concat,
    constant::Constant,
    conv2d::Conv2d,
    fully_connected::FullyConnected,
    input::Input,
    matmul::MatMul,
    max_pool::MaxPool,
    pad::Pad,
    reduce::Reduce,
    relayout::Relayout,
    reshape::Reshape,
    resize::Resize,
    slice::Slice,
    softmax::Softmax,
    transpose::Transpose,
    unary::Unary,
}

pub use binary::{BinaryKind, broadcast_shape};
pub use reduce::ReduceKind;
pub use resize::{CoordinateTransform, ResizeMode, Rounding, Tap};
pub use unary::UnaryKind;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonics_are_sorted() {
        assert!(MNEMONICS.is_sorted(), "{MNEMONICS:?}");
    }

    #[test]
    fn unknown_names_are_errors() {
        let reader = || AttributeReader::new(vec![("axis".into(), Attribute::Int(1))]);
        assert_eq!(
            Op::from_text("conv9d", reader()),
            Err("unknown op conv9d".into())
        );
        assert_eq!(
            Op::from_text("relayout", reader()),
            Err("unknown attribute axis".into())
        );
        assert!(Op::from_text("input", AttributeReader::default()).is_err());
        assert!(Op::from_text("concat", AttributeReader::default()).is_err());
        assert_eq!(
            Op::from_text("concat", reader()),
            Ok(Op::Concat(Concat { axis: 1 }))
        );
    }

    #[test]
    fn results_too_large_for_memory_are_errors() {
        assert_eq!(checked_n_elems(&[2, 3]), Some(6));
        assert_eq!(checked_n_elems(&[]), Some(1));
        assert_eq!(checked_n_elems(&[0, 5]), Some(0));
        assert_eq!(checked_n_elems(&[0, usize::MAX]), None);
        let huge: &[usize] = &[1 << 40];
        let column: &[usize] = &[1 << 40, 1];
        let add = Op::from(Binary {
            kind: BinaryKind::Add,
        });
        let error = add.infer_shape(&[huge, column], &[]).unwrap_err();
        assert!(error.contains("too large"), "{error}");
    }
}
