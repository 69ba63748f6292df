//! Functions of two numbers, applied to each pair of elements.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// `y = f(a, b)` for each element, with numpy broadcasting of both operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    /// The function.
    pub kind: BinaryKind,
}

/// A function of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryKind {
    /// `a + b`
    Add,
    /// `a / b`
    Div,
    /// `a` if `a > b`, else `b`
    Max,
    /// `a` if `a < b`, else `b`
    Min,
    /// `a * b`
    Mul,
    /// `a^b`
    Pow,
    /// `a - b`
    Sub,
}

impl BinaryKind {
    /// All functions and their names in the text form.
    pub const ALL: &[(&str, Self)] = &[
        ("add", Self::Add),
        ("div", Self::Div),
        ("max", Self::Max),
        ("min", Self::Min),
        ("mul", Self::Mul),
        ("pow", Self::Pow),
        ("sub", Self::Sub),
    ];

    /// The function's value.
    pub fn eval(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Div => a / b,
            Self::Max if a > b => a,
            Self::Min if a < b => a,
            Self::Max | Self::Min => b,
            Self::Mul => a * b,
            Self::Pow => libm::powf(a, b),
            Self::Sub => a - b,
        }
    }

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        let entry = Self::ALL.iter().find(|(_, kind)| *kind == self);
        entry.expect("ALL lists every function").0
    }
}

/// Common shape of two operands, numpy style: aligned at the last axis, sizes equal or 1.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis],
        None => 1,
    };
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (da, db) if da == db || db == 1 => Ok(da),
            (1, db) => Ok(db),
            _ => Err(format!("shapes {a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// Index into an operand of `shape` for `index` of the broadcast result.
pub(super) fn broadcast_index(shape: &[usize], index: &[usize]) -> Vec<usize> {
    let index = &index[index.len() - shape.len()..];
    index
        .iter()
        .zip(shape)
        .map(|(&i, &d)| if d == 1 { 0 } else { i })
        .collect()
}

impl Operation for Binary {
    const MNEMONIC: &'static str = "binary";

    fn attributes(&self) -> Attributes {
        vec![("kind", Attribute::Word(self.kind.name().into()))]
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let kind = attributes
            .choice("kind", BinaryKind::ALL)?
            .ok_or("binary needs kind=..")?;
        Ok(Self { kind })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 2)?;
        broadcast_shape(operands[0], operands[1])
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let [a, b] = operands else {
            unreachable!("checked by infer_shape")
        };
        // Written apart only for speed: calibration runs whole data sets through here.
        if a.shape == b.shape {
            let pairs = a.data.iter().zip(&b.data);
            return Array::new(
                ctx.shape,
                pairs.map(|(&a, &b)| self.kind.eval(a, b)).collect(),
            );
        }
        Array::from_fn(ctx.shape, |index| {
            let a_value = a.at(&broadcast_index(&a.shape, index));
            let b_value = b.at(&broadcast_index(&b.shape, index));
            self.kind.eval(a_value, b_value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, eval, infer};
    use super::*;

    #[test]
    fn every_kind() {
        let results = [
            ("add", 9.0),
            ("div", 3.5),
            ("max", 7.0),
            ("min", 2.0),
            ("mul", 14.0),
            ("pow", 49.0),
            ("sub", 5.0),
        ];
        let (a, b) = (array(&[1], &[7.0]), array(&[1], &[2.0]));
        for (&(name, kind), expected) in BinaryKind::ALL.iter().zip(results) {
            let y = eval(Binary { kind }, &[], &[&a, &b]);
            assert_eq!((name, y.data[0]), expected);
        }
    }

    #[test]
    fn broadcasts_both_operands() {
        let a = array(&[2, 1], &[10.0, 20.0]);
        let b = array(&[3], &[1.0, 2.0, 3.0]);
        let y = eval(
            Binary {
                kind: BinaryKind::Sub,
            },
            &[],
            &[&a, &b],
        );
        assert_eq!(y, array(&[2, 3], &[9.0, 8.0, 7.0, 19.0, 18.0, 17.0]));
        let scalar = array(&[], &[4.0]);
        let y = eval(
            Binary {
                kind: BinaryKind::Mul,
            },
            &[],
            &[&scalar, &a],
        );
        assert_eq!(y, array(&[2, 1], &[40.0, 80.0]));
    }

    #[test]
    fn empty_and_unequal_shapes() {
        assert_eq!(broadcast_shape(&[0, 3], &[1, 1]), Ok(vec![0, 3]));
        assert_eq!(broadcast_shape(&[1], &[0]), Ok(vec![0]));
        assert!(broadcast_shape(&[2], &[0]).is_err());
        let error = infer(
            Binary {
                kind: BinaryKind::Add,
            },
            &[],
            &[&[2, 3], &[2]],
        )
        .unwrap_err();
        assert_eq!(error, "shapes [2, 3] and [2] do not broadcast");
    }

    #[test]
    fn comparisons_give_the_second_operand_for_nan() {
        for kind in [BinaryKind::Max, BinaryKind::Min] {
            assert_eq!(kind.eval(f32::NAN, 1.0), 1.0);
            assert!(kind.eval(1.0, f32::NAN).is_nan());
        }
    }
}
