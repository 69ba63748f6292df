//! Interpolation of images.

use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// Resizes the two last axes of `[N, C, H, W]` as ONNX `Resize` does.
///
/// Each result element reads the source coordinate that `transform` gives: the nearest element, or
/// the mix of its neighbours on each axis. Coordinates beyond the edge read the edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// `[OH, OW]`
    pub size: [usize; 2],
    /// What is read around the coordinate.
    pub mode: ResizeMode,
    /// From result index to source coordinate.
    pub transform: CoordinateTransform,
    /// Result size over source size on each axis, as the model says it: it need not be the quotient
    /// of the two, since the result size is rounded.
    pub scales: [f32; 2],
}

/// What is read around a source coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeMode {
    /// Linear interpolation.
    Linear,
    /// The nearest element.
    Nearest {
        /// Which one is nearest.
        rounding: Rounding,
    },
}

/// How a coordinate becomes an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Up.
    Ceil,
    /// Down.
    Floor,
    /// To the nearest, halves up.
    RoundPreferCeil,
    /// To the nearest, halves down.
    RoundPreferFloor,
}

/// Source coordinate of result index `o`, with `n` elements in the source and `m` in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinateTransform {
    /// `o * (n - 1) / (m - 1)`, 0 if `m` is 1
    AlignCorners,
    /// `o / scale`
    Asymmetric,
    /// `(o + 0.5) / scale - 0.5`
    HalfPixel,
    /// `(o + 0.5) / scale - 0.5`, 0 if `m` is 1
    PytorchHalfPixel,
}

/// What one result index reads: `source[lo] * (1 - weight_hi) + source[hi] * weight_hi`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap {
    /// Index of the lower neighbour.
    pub lo: usize,
    /// Index of the upper neighbour; equal to `lo` for nearest.
    pub hi: usize,
    /// Share of the upper neighbour, in `[0, 1]`; 0 for nearest.
    pub weight_hi: f32,
}

const ROUNDINGS: &[(&str, Rounding)] = &[
    ("ceil", Rounding::Ceil),
    ("floor", Rounding::Floor),
    ("round_prefer_ceil", Rounding::RoundPreferCeil),
    ("round_prefer_floor", Rounding::RoundPreferFloor),
];

const TRANSFORMS: &[(&str, CoordinateTransform)] = &[
    ("align_corners", CoordinateTransform::AlignCorners),
    ("asymmetric", CoordinateTransform::Asymmetric),
    ("half_pixel", CoordinateTransform::HalfPixel),
    ("pytorch_half_pixel", CoordinateTransform::PytorchHalfPixel),
];

fn word<T: PartialEq>(choices: &[(&str, T)], choice: &T) -> Attribute {
    let entry = choices.iter().find(|(_, c)| c == choice);
    Attribute::Word(entry.expect("the table lists every choice").0.to_string())
}

impl CoordinateTransform {
    // In f32, as ONNX Runtime does: where a coordinate lies close to a half, more precision would
    // pick another neighbour.
    fn source(self, o: usize, n_source: usize, n_result: usize, scale: f32) -> f32 {
        let at = o as f32;
        match self {
            Self::AlignCorners | Self::PytorchHalfPixel if n_result <= 1 => 0.0,
            Self::AlignCorners => at * (n_source - 1) as f32 / (n_result - 1) as f32,
            Self::Asymmetric => at / scale,
            Self::HalfPixel | Self::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
        }
    }
}

impl Resize {
    /// The coordinate table of one axis (0 rows, 1 columns) of a source with `n_source` elements
    /// there: one entry per result index.
    pub fn source_taps(&self, axis: usize, n_source: usize) -> Vec<Tap> {
        let n_result = self.size[axis];
        let last = n_source.saturating_sub(1);
        let tap = |o: usize| {
            let at = self
                .transform
                .source(o, n_source, n_result, self.scales[axis]);
            match self.mode {
                ResizeMode::Nearest { rounding } => {
                    let nearest = match rounding {
                        Rounding::Ceil => at.ceil(),
                        Rounding::Floor => at.floor(),
                        Rounding::RoundPreferCeil => at.round(),
                        Rounding::RoundPreferFloor if at - at.floor() == 0.5 => at.floor(),
                        Rounding::RoundPreferFloor => at.round(),
                    };
                    // The cast saturates: what is below zero becomes zero.
                    let lo = (nearest as usize).min(last);
                    Tap {
                        lo,
                        hi: lo,
                        weight_hi: 0.0,
                    }
                }
                ResizeMode::Linear => {
                    let at = at.clamp(0.0, last as f32);
                    let lo = (at as usize).min(last);
                    Tap {
                        lo,
                        hi: (lo + 1).min(last),
                        weight_hi: at - lo as f32,
                    }
                }
            }
        };
        (0..n_result).map(tap).collect()
    }
}

impl Operation for Resize {
    const MNEMONIC: &'static str = "resize";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![("size", Attribute::sizes(&self.size))];
        match self.mode {
            ResizeMode::Linear => attributes.push(("mode", Attribute::Word("linear".into()))),
            ResizeMode::Nearest { rounding } => {
                attributes.push(("mode", Attribute::Word("nearest".into())));
                attributes.push(("rounding", word(ROUNDINGS, &rounding)));
            }
        }
        attributes.push(("transform", word(TRANSFORMS, &self.transform)));
        attributes.push(("scales", Attribute::Floats(self.scales.to_vec())));
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let mode = match attributes.word("mode")?.as_deref() {
            Some("linear") => ResizeMode::Linear,
            Some("nearest") => ResizeMode::Nearest {
                rounding: attributes
                    .choice("rounding", ROUNDINGS)?
                    .ok_or("nearest needs rounding=..")?,
            },
            _ => return Err("resize needs mode=linear or mode=nearest".into()),
        };
        let scales = attributes
            .floats("scales")?
            .ok_or("resize needs scales=[..]")?;
        Ok(Self {
            size: attributes.fixed("size", [0, 0])?,
            mode,
            transform: attributes
                .choice("transform", TRANSFORMS)?
                .ok_or("resize needs transform=..")?,
            scales: scales
                .try_into()
                .map_err(|s: Vec<f32>| format!("scales {s:?}, expected 2 numbers"))?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1)?;
        let &[n, c, h, w] = operands[0] else {
            return Err(format!(
                "input has shape {:?}, expected [N, C, H, W]",
                operands[0]
            ));
        };
        if h == 0 || w == 0 {
            return Err(format!("input {:?} has no elements to read", operands[0]));
        }
        if !self.scales.iter().all(|&s| s.is_finite() && s > 0.0) {
            return Err(format!("scales {:?} are not positive", self.scales));
        }
        Ok(vec![n, c, self.size[0], self.size[1]])
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = operands[0];
        let rows = self.source_taps(0, x.shape[2]);
        let columns = self.source_taps(1, x.shape[3]);
        let mix = |lo: f32, hi: f32, weight: f32| lo * (1.0 - weight) + hi * weight;
        Array::from_fn(ctx.shape, |index| {
            let (row, column) = (rows[index[2]], columns[index[3]]);
            let at = |y: usize| {
                let lo = x.at(&[index[0], index[1], y, column.lo]);
                match column.lo == column.hi {
                    true => lo,
                    false => mix(
                        lo,
                        x.at(&[index[0], index[1], y, column.hi]),
                        column.weight_hi,
                    ),
                }
            };
            match row.lo == row.hi {
                true => at(row.lo),
                false => mix(at(row.lo), at(row.hi), row.weight_hi),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, infer};
    use super::*;

    fn resize(
        width: usize,
        scale: f32,
        mode: ResizeMode,
        transform: CoordinateTransform,
    ) -> Resize {
        Resize {
            size: [1, width],
            mode,
            transform,
            scales: [1.0, scale],
        }
    }

    fn nearest(rounding: Rounding) -> ResizeMode {
        ResizeMode::Nearest { rounding }
    }

    fn row(data: &[f32]) -> Array {
        array(&[1, 1, 1, data.len()], data)
    }

    #[test]
    fn nearest_up_by_two() {
        let op = resize(
            4,
            2.0,
            nearest(Rounding::Floor),
            CoordinateTransform::Asymmetric,
        );
        assert_eq!(
            eval(op, &[], &[&row(&[1.0, 2.0])]).data,
            [1.0, 1.0, 2.0, 2.0]
        );
    }

    #[test]
    fn roundings_of_a_half() {
        // Result index 1 reads coordinate 0.5, index 3 reads 1.5.
        let pick = |rounding| {
            let op = resize(4, 2.0, nearest(rounding), CoordinateTransform::Asymmetric);
            op.source_taps(1, 2)
                .iter()
                .map(|tap| tap.lo)
                .collect::<Vec<_>>()
        };
        assert_eq!(pick(Rounding::Ceil), [0, 1, 1, 1]);
        assert_eq!(pick(Rounding::Floor), [0, 0, 1, 1]);
        assert_eq!(pick(Rounding::RoundPreferCeil), [0, 1, 1, 1]);
        assert_eq!(pick(Rounding::RoundPreferFloor), [0, 0, 1, 1]);
    }

    #[test]
    fn linear_transforms() {
        let x = row(&[0.0, 4.0]);
        let up = |transform| eval(resize(4, 2.0, ResizeMode::Linear, transform), &[], &[&x]).data;
        assert_eq!(up(CoordinateTransform::HalfPixel), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(
            up(CoordinateTransform::PytorchHalfPixel),
            [0.0, 1.0, 3.0, 4.0]
        );
        assert_eq!(up(CoordinateTransform::Asymmetric), [0.0, 2.0, 4.0, 4.0]);
        let corners = up(CoordinateTransform::AlignCorners);
        assert_eq!(corners, [0.0, 4.0 / 3.0, 8.0 / 3.0, 4.0]);
    }

    #[test]
    fn down_to_one_element() {
        let x = row(&[0.0, 2.0, 4.0, 6.0]);
        let one = |transform| eval(resize(1, 0.25, ResizeMode::Linear, transform), &[], &[&x]).data;
        assert_eq!(one(CoordinateTransform::HalfPixel), [3.0]);
        assert_eq!(one(CoordinateTransform::PytorchHalfPixel), [0.0]);
        assert_eq!(one(CoordinateTransform::AlignCorners), [0.0]);
    }

    #[test]
    fn both_axes() {
        let op = Resize {
            size: [3, 3],
            mode: ResizeMode::Linear,
            transform: CoordinateTransform::AlignCorners,
            scales: [1.5, 1.5],
        };
        let y = eval(op, &[], &[&counting(&[1, 1, 2, 2])]);
        assert_eq!(y.data, [0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.5, 3.0]);
    }

    #[test]
    fn rejects() {
        let op = resize(2, 2.0, ResizeMode::Linear, CoordinateTransform::HalfPixel);
        assert!(infer(op.clone(), &[], &[&[1, 2, 2]]).is_err());
        assert!(infer(op.clone(), &[], &[&[1, 1, 0, 2]]).is_err());
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let op = Resize {
                scales: [1.0, scale],
                ..op.clone()
            };
            assert!(infer(op, &[], &[&[1, 1, 2, 2]]).is_err(), "{scale}");
        }
    }
}
