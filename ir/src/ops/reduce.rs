//! Reductions over whole axes.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// One value from all elements along `axes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    /// How elements are combined.
    pub kind: ReduceKind,
    /// Axes that are reduced, each once.
    pub axes: Vec<usize>,
    /// Whether reduced axes stay, with size 1.
    pub keep_dims: bool,
}

/// How elements are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceKind {
    /// The largest; minus infinity of no elements.
    Max,
    /// Sum over count.
    Mean,
    /// The smallest; infinity of no elements.
    Min,
    /// The sum.
    Sum,
}

impl ReduceKind {
    /// All kinds and their names in the text form.
    pub const ALL: &[(&str, Self)] = &[
        ("max", Self::Max),
        ("mean", Self::Mean),
        ("min", Self::Min),
        ("sum", Self::Sum),
    ];

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .expect("ALL lists every kind")
            .0
    }

    /// The value to start from; it is also the result of no elements, before the division of a mean.
    pub fn start(self) -> f32 {
        match self {
            Self::Max => f32::NEG_INFINITY,
            Self::Min => f32::INFINITY,
            Self::Mean | Self::Sum => 0.0,
        }
    }

    fn combine(self, sum: f32, value: f32) -> f32 {
        match self {
            Self::Max if value > sum => value,
            Self::Min if value < sum => value,
            Self::Max | Self::Min => sum,
            Self::Mean | Self::Sum => sum + value,
        }
    }
}

impl Operation for Reduce {
    const MNEMONIC: &'static str = "reduce";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![
            ("kind", Attribute::Word(self.kind.name().into())),
            ("axes", Attribute::sizes(&self.axes)),
        ];
        if self.keep_dims {
            attributes.push(("keep_dims", Attribute::Flag));
        }
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        Ok(Self {
            kind: attributes
                .choice("kind", ReduceKind::ALL)?
                .ok_or("reduce needs kind=..")?,
            axes: attributes.sizes("axes")?.ok_or("reduce needs axes=[..]")?,
            keep_dims: attributes.flag("keep_dims")?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        let mut kept: Vec<Option<usize>> = operands[0].iter().copied().map(Some).collect();
        for &axis in &self.axes {
            match kept.get_mut(axis) {
                Some(size @ Some(_)) => *size = None,
                Some(None) => return Err(format!("axis {axis} is listed twice")),
                None => return Err(format!("axis {axis} is not an axis of {:?}", operands[0])),
            }
        }
        match self.keep_dims {
            true => Ok(kept.into_iter().map(|size| size.unwrap_or(1)).collect()),
            false => Ok(kept.into_iter().flatten().collect()),
        }
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = operands[0];
        // Where each axis of `x` goes in the result: reduced axes have weight zero.
        let mut strides = vec![0; x.shape.len()];
        let mut stride = 1;
        for axis in (0..x.shape.len())
            .rev()
            .filter(|axis| !self.axes.contains(axis))
        {
            strides[axis] = stride;
            stride *= x.shape[axis];
        }
        let mut y = Array::zeros(ctx.shape);
        y.data.fill(self.kind.start());
        Array::from_fn(&x.shape, |index| {
            let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
            y.data[at] = self.kind.combine(y.data[at], x.at(index));
            0.0
        });
        if self.kind == ReduceKind::Mean {
            let count: usize = self.axes.iter().map(|&axis| x.shape[axis]).product();
            y.data.iter_mut().for_each(|value| *value /= count as f32);
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, infer};
    use super::*;

    fn reduce(kind: ReduceKind, axes: &[usize]) -> Reduce {
        Reduce {
            kind,
            axes: axes.to_vec(),
            keep_dims: false,
        }
    }

    #[test]
    fn every_kind() {
        let x = array(&[2, 3], &[1.0, 5.0, 3.0, -4.0, 0.0, 1.0]);
        let rows = |kind| eval(reduce(kind, &[1]), &[], &[&x]).data;
        assert_eq!(rows(ReduceKind::Max), [5.0, 1.0]);
        assert_eq!(rows(ReduceKind::Mean), [3.0, -1.0]);
        assert_eq!(rows(ReduceKind::Min), [1.0, -4.0]);
        assert_eq!(rows(ReduceKind::Sum), [9.0, -3.0]);
    }

    #[test]
    fn several_axes() {
        let x = counting(&[2, 2, 2]);
        assert_eq!(
            eval(reduce(ReduceKind::Sum, &[2, 0]), &[], &[&x]).data,
            [10.0, 18.0]
        );
        assert_eq!(eval(reduce(ReduceKind::Sum, &[]), &[], &[&x]), x);
        let kept = Reduce {
            keep_dims: true,
            ..reduce(ReduceKind::Mean, &[0, 1, 2])
        };
        assert_eq!(eval(kept, &[], &[&x]), array(&[1, 1, 1], &[3.5]));
    }

    #[test]
    fn of_nothing() {
        let x = counting(&[0, 2]);
        let max = eval(reduce(ReduceKind::Max, &[0]), &[], &[&x]).data;
        assert_eq!(max, [f32::NEG_INFINITY; 2]);
        assert!(eval(reduce(ReduceKind::Mean, &[0]), &[], &[&x]).data[0].is_nan());
    }

    #[test]
    fn rejects() {
        assert!(infer(reduce(ReduceKind::Max, &[2]), &[], &[&[1, 2]]).is_err());
        let error = infer(reduce(ReduceKind::Max, &[1, 1]), &[], &[&[1, 2]]).unwrap_err();
        assert_eq!(error, "axis 1 is listed twice");
    }
}
