//! Maximum over sliding windows.

use super::window::{check_windows_inside, window_size, window_taps};
use super::{Attribute, AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// `y[n, c, oy, ox] = max x[n, c, oy*sh + ky*dh - top, ox*sw + kx*dw - left]` over the elements of
/// the window that exist. Every window has at least one.
///
/// ONNX's `ceil_mode` arrives here as larger padding at the bottom and on the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxPool {
    /// `[KH, KW]`
    pub kernel: [usize; 2],
    /// `[SH, SW]`
    pub strides: [usize; 2],
    /// `[top, left, bottom, right]`, minus infinity
    pub pads: [usize; 4],
    /// `[DH, DW]`
    pub dilations: [usize; 2],
}

impl Operation for MaxPool {
    const MNEMONIC: &'static str = "max_pool";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![("kernel", Attribute::sizes(&self.kernel))];
        if self.strides != [1, 1] {
            attributes.push(("strides", Attribute::sizes(&self.strides)));
        }
        if self.pads != [0; 4] {
            attributes.push(("pads", Attribute::sizes(&self.pads)));
        }
        if self.dilations != [1, 1] {
            attributes.push(("dilations", Attribute::sizes(&self.dilations)));
        }
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        Ok(Self {
            kernel: attributes.fixed("kernel", [0, 0])?,
            strides: attributes.fixed("strides", [1, 1])?,
            pads: attributes.fixed("pads", [0; 4])?,
            dilations: attributes.fixed("dilations", [1, 1])?,
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
            let (kernel, stride, dilation) = (self.kernel[a], self.strides[a], self.dilations[a]);
            let (low, high) = (self.pads[a], self.pads[a + 2]);
            let n_windows = window_size(size, kernel, stride, dilation, &[low, high])?;
            check_windows_inside(n_windows, size, low, kernel, stride, dilation)?;
            Ok::<usize, String>(n_windows)
        };
        Ok(vec![n, c, axis(0, h)?, axis(1, w)?])
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = operands[0];
        let taps = |axis: usize, o: usize| {
            let begin = o * self.strides[axis];
            window_taps(
                begin,
                self.kernel[axis],
                self.dilations[axis],
                self.pads[axis],
            )
            .filter(|&i| i < x.shape[2 + axis])
            .collect::<Vec<usize>>()
        };
        Array::from_fn(ctx.shape, |index| {
            let mut max = f32::NEG_INFINITY;
            for iy in taps(0, index[2]) {
                for ix in taps(1, index[3]) {
                    let value = x.at(&[index[0], index[1], iy, ix]);
                    max = if value > max { value } else { max };
                }
            }
            max
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, infer};
    use super::*;

    fn pool(kernel: [usize; 2], strides: [usize; 2], pads: [usize; 4]) -> MaxPool {
        MaxPool {
            kernel,
            strides,
            pads,
            dilations: [1, 1],
        }
    }

    #[test]
    fn plain() {
        let y = eval(
            pool([2, 2], [2, 2], [0; 4]),
            &[],
            &[&counting(&[1, 2, 2, 4])],
        );
        assert_eq!(y, array(&[1, 2, 1, 2], &[5.0, 7.0, 13.0, 15.0]));
    }

    #[test]
    fn padding_is_below_everything() {
        let x = array(&[1, 1, 1, 3], &[-3.0, -1.0, -2.0]);
        let y = eval(pool([1, 2], [1, 2], [0, 1, 0, 0]), &[], &[&x]);
        assert_eq!(y.data, [-3.0, -1.0]);
        // What ONNX's ceil mode becomes: one more column on the right.
        let y = eval(pool([1, 2], [1, 2], [0, 0, 0, 1]), &[], &[&x]);
        assert_eq!(y.data, [-1.0, -2.0]);
    }

    #[test]
    fn dilated() {
        let op = MaxPool {
            dilations: [1, 2],
            ..pool([1, 2], [1, 1], [0; 4])
        };
        let x = array(&[1, 1, 1, 4], &[4.0, 9.0, 1.0, 2.0]);
        assert_eq!(eval(op, &[], &[&x]).data, [4.0, 9.0]);
    }

    #[test]
    fn rejects() {
        let shape: &[usize] = &[1, 1, 4, 4];
        let outside = infer(pool([2, 2], [1, 1], [2, 0, 0, 0]), &[], &[shape]);
        assert_eq!(
            outside,
            Err("window 0 of 5 lies in the padding only".into())
        );
        assert!(infer(pool([2, 2], [1, 1], [0, 0, 2, 0]), &[], &[shape]).is_err());
        assert!(infer(pool([5, 1], [1, 1], [0; 4]), &[], &[shape]).is_err());
        assert!(infer(pool([0, 1], [1, 1], [0; 4]), &[], &[shape]).is_err());
        assert!(infer(pool([1, 1], [1, 1], [0; 4]), &[], &[&[1, 4, 4]]).is_err());
        assert!(infer(pool([1, 1], [1, 1], [0; 4]), &[], &[&[1, 1, 0, 4]]).is_err());
        assert!(infer(pool([1, 1], [1, 1], [usize::MAX; 4]), &[], &[shape]).is_err());
    }
}
