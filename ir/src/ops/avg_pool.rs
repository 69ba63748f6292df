//! Mean over sliding windows.

use super::window::{check_windows_inside, window_size, window_taps};
use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// `y[n, c, oy, ox] = sum x[n, c, oy*sh + ky - top, ox*sw + kx - left] / count`
///
/// `count` is the number of elements of the window that exist or, with `count_include_pad`, lie in
/// the padding. With ONNX's `ceil_mode` the last windows may reach beyond the padding: those rows
/// and columns are `overhang` and never count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvgPool {
    /// `[KH, KW]`
    pub kernel: [usize; 2],
    /// `[SH, SW]`
    pub strides: [usize; 2],
    /// `[top, left, bottom, right]`, zeros
    pub pads: [usize; 4],
    /// `[bottom, right]`, beyond the padding
    pub overhang: [usize; 2],
    /// Whether the padding counts.
    pub count_include_pad: bool,
}

impl AvgPool {
    /// Number of elements that count in window `o` along `axis` (0 rows, 1 columns) of an operand
    /// with `size` elements there. The divisor of a window is the product over both axes.
    pub fn count(&self, axis: usize, size: usize, o: usize) -> usize {
        let (low, high) = (self.pads[axis], self.pads[axis + 2]);
        let begin = o * self.strides[axis];
        let end = begin + self.kernel[axis];
        match self.count_include_pad {
            true => end.min(low + size + high) - begin,
            false => end.min(low + size).saturating_sub(begin.max(low)),
        }
    }
}

impl Operation for AvgPool {
    const MNEMONIC: &'static str = "avg_pool";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![("kernel", Attribute::sizes(&self.kernel))];
        if self.strides != [1, 1] {
            attributes.push(("strides", Attribute::sizes(&self.strides)));
        }
        if self.pads != [0; 4] {
            attributes.push(("pads", Attribute::sizes(&self.pads)));
        }
        if self.overhang != [0; 2] {
            attributes.push(("overhang", Attribute::sizes(&self.overhang)));
        }
        if self.count_include_pad {
            attributes.push(("count_include_pad", Attribute::Flag));
        }
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        Ok(Self {
            kernel: attributes.fixed("kernel", [0, 0])?,
            strides: attributes.fixed("strides", [1, 1])?,
            pads: attributes.fixed("pads", [0; 4])?,
            overhang: attributes.fixed("overhang", [0; 2])?,
            count_include_pad: attributes.flag("count_include_pad")?,
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
        let axis = |a: usize, size: usize| {
            let (kernel, stride) = (self.kernel[a], self.strides[a]);
            let (low, high) = (self.pads[a], self.pads[a + 2]);
            let around = [low, high, self.overhang[a]];
            let n_windows = window_size(size, kernel, stride, 1, &around)?;
            // No window may have a count of zero.
            match self.count_include_pad {
                true => check_windows_inside(n_windows, low + size + high, 0, kernel, stride, 1)?,
                false => check_windows_inside(n_windows, size, low, kernel, stride, 1)?,
            }
            Ok::<usize, String>(n_windows)
        };
        Ok(vec![n, c, axis(0, h)?, axis(1, w)?])
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = operands[0];
        let taps = |axis: usize, o: usize| {
            window_taps(
                o * self.strides[axis],
                self.kernel[axis],
                1,
                self.pads[axis],
            )
            .filter(|&i| i < x.shape[2 + axis])
            .collect::<Vec<usize>>()
        };
        Array::from_fn(ctx.shape, |index| {
            let mut sum = 0.0;
            for iy in taps(0, index[2]) {
                for ix in taps(1, index[3]) {
                    sum += x.at(&[index[0], index[1], iy, ix]);
                }
            }
            let rows = self.count(0, x.shape[2], index[2]);
            let columns = self.count(1, x.shape[3], index[3]);
            sum / (rows * columns) as f32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{counting, eval, infer};
    use super::*;

    fn pool(kernel: [usize; 2], strides: [usize; 2], pads: [usize; 4]) -> AvgPool {
        AvgPool {
            kernel,
            strides,
            pads,
            overhang: [0; 2],
            count_include_pad: false,
        }
    }

    #[test]
    fn plain() {
        let y = eval(
            pool([2, 2], [1, 1], [0; 4]),
            &[],
            &[&counting(&[1, 1, 3, 3])],
        );
        assert_eq!(y.data, [2.0, 3.0, 5.0, 6.0]);
    }

    #[test]
    fn padding_counts_only_if_asked() {
        let x = counting(&[1, 1, 1, 3]);
        let without = pool([1, 2], [1, 2], [0, 1, 0, 0]);
        assert_eq!(eval(without.clone(), &[], &[&x]).data, [0.0, 1.5]);
        let with = AvgPool {
            count_include_pad: true,
            ..pool([1, 3], [1, 1], [0, 1, 0, 1])
        };
        assert_eq!(eval(with, &[], &[&x]).data, [1.0 / 3.0, 1.0, 1.0]);
    }

    #[test]
    fn overhang_never_counts() {
        // ONNX's ceil mode: 4 columns, one of padding on the right, windows of 3 every 3 columns;
        // the second window reads column 3, one padding and one overhanging column.
        let x = counting(&[1, 1, 1, 4]);
        let op = AvgPool {
            overhang: [0, 1],
            count_include_pad: true,
            ..pool([1, 3], [1, 3], [0, 0, 0, 1])
        };
        assert_eq!(eval(op, &[], &[&x]).data, [1.0, 1.5]);
    }

    #[test]
    fn rejects() {
        let inner = pool([2, 2], [2, 2], [2, 0, 0, 0]);
        assert!(
            infer(inner.clone(), &[], &[&[1, 1, 4, 4]]).is_err(),
            "window in the padding"
        );
        let counted = AvgPool {
            count_include_pad: true,
            ..inner
        };
        assert_eq!(infer(counted, &[], &[&[1, 1, 4, 4]]), Ok(vec![1, 1, 3, 2]));
        assert!(infer(pool([2, 2], [0, 1], [0; 4]), &[], &[&[1, 1, 4, 4]]).is_err());
        assert!(infer(pool([2, 2], [1, 1], [0; 4]), &[], &[&[1, 4, 4]]).is_err());
        assert!(infer(pool([2, 2], [1, 1], [0; 4]), &[], &[&[1, 1, 0, 4]]).is_err());
        let huge = pool([2, 2], [1, 1], [usize::MAX; 4]);
        assert!(infer(huge, &[], &[&[1, 1, 4, 4]]).is_err());
    }
}
