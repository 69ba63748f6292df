//! 2-D convolution (cross-correlation) with a fused epilogue.

use super::window::window_size;
use super::{Attribute, AttributeReader, Attributes, Operation, UnaryKind};
use super::{check_arity, check_channels, tensor_shape};
use crate::eval::{Array, EvalContext};
use crate::tensor::{Tensor, TensorId};
use std::ops::Range;

/// `y[n, m(r), oy, ox] = act(scale[r] * sum x[n, c, oy*sh + ky*dh - top, ox*sw + kx*dw - left] *
/// w[r, c, ky, kx] + bias[r] + residual[n, m(r), oy, ox])`
///
/// Row `r` of the weight makes output channel `m(r)`, which is `r` itself unless `channel_order` says
/// otherwise; so rows that are stored together need not be channels that follow each other.
///
/// Operands: `x [N, C, H, W]` and, if `residual`, a value of the result's shape. `w` is
/// `[M, C/groups, KH, KW]`; `scale` and `bias` are `[M]`, shared or per level. A batch norm with
/// per-level statistics ends up in `scale` and `bias`, since the weights are shared by all levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// `[M, C/groups, KH, KW]`
    pub weight: TensorId,
    /// `[M]`
    pub scale: Option<TensorId>,
    /// `[M]`
    pub bias: Option<TensorId>,
    /// `[SH, SW]`
    pub strides: [usize; 2],
    /// `[top, left, bottom, right]`, zeros
    pub pads: [usize; 4],
    /// `[DH, DW]`
    pub dilations: [usize; 2],
    /// Number of channel groups.
    pub groups: usize,
    /// Output channel of every row of the weight, a permutation within each channel group; empty if rows
    /// are channels.
    pub channel_order: Vec<usize>,
    /// Whether a second operand is added before the activation.
    pub residual: bool,
    /// Applied last.
    pub activation: Option<UnaryKind>,
}

impl Conv2d {
    /// Stride 1, no padding, no dilation, one group, no epilogue.
    pub fn new(weight: TensorId) -> Self {
        Self {
            weight,
            scale: None,
            bias: None,
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
            groups: 1,
            channel_order: Vec::new(),
            residual: false,
            activation: None,
        }
    }

    /// Output channel of `row`.
    pub fn channel(&self, row: usize) -> usize {
        self.channel_order.get(row).copied().unwrap_or(row)
    }

    /// Checks `channel_order` against `m` rows.
    fn check_channel_order(&self, m: usize) -> Result<(), String> {
        if self.channel_order.is_empty() {
            return Ok(());
        }
        let per = m / self.groups;
        let mut sorted = self.channel_order.clone();
        for group in sorted.chunks_mut(per) {
            group.sort_unstable();
        }
        match sorted.iter().copied().eq(0..m) {
            true => Ok(()),
            false => Err(format!(
                "channel_order is no permutation of {m} channels within {} groups",
                self.groups
            )),
        }
    }

    /// Result indices along `axis` (0 rows, 1 columns) whose tap `k` lies inside the input of `size`
    /// elements, and the input index that the first of them reads.
    fn inside(
        &self,
        axis: usize,
        k: usize,
        size: usize,
        n_results: usize,
    ) -> (Range<usize>, usize) {
        let (stride, pad) = (self.strides[axis], self.pads[axis]);
        let tap = k * self.dilations[axis];
        let begin = pad.saturating_sub(tap).div_ceil(stride);
        let end = (size + pad)
            .saturating_sub(tap)
            .div_ceil(stride)
            .min(n_results);
        if begin >= end {
            return (0..0, 0);
        }
        (begin..end, begin * stride + tap - pad)
    }
}

impl Operation for Conv2d {
    const MNEMONIC: &'static str = "conv2d";

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![("weight", Attribute::Tensor(self.weight))];
        attributes.extend(self.scale.map(|id| ("scale", Attribute::Tensor(id))));
        attributes.extend(self.bias.map(|id| ("bias", Attribute::Tensor(id))));
        if self.strides != [1, 1] {
            attributes.push(("strides", Attribute::sizes(&self.strides)));
        }
        if self.pads != [0; 4] {
            attributes.push(("pads", Attribute::sizes(&self.pads)));
        }
        if self.dilations != [1, 1] {
            attributes.push(("dilations", Attribute::sizes(&self.dilations)));
        }
        if self.groups != 1 {
            attributes.push(("groups", Attribute::size(self.groups)));
        }
        if !self.channel_order.is_empty() {
            attributes.push(("channel_order", Attribute::sizes(&self.channel_order)));
        }
        if self.residual {
            attributes.push(("residual", Attribute::Flag));
        }
        attributes.extend(self.activation.map(|a| ("activation", a.to_attribute())));
        attributes
    }

    fn from_attributes(attributes: &mut AttributeReader) -> Result<Self, String> {
        let weight = attributes
            .tensor("weight")?
            .ok_or("conv2d needs weight=@tensor")?;
        Ok(Self {
            weight,
            scale: attributes.tensor("scale")?,
            bias: attributes.tensor("bias")?,
            strides: attributes.fixed("strides", [1, 1])?,
            pads: attributes.fixed("pads", [0; 4])?,
            dilations: attributes.fixed("dilations", [1, 1])?,
            groups: attributes.size("groups")?.unwrap_or(1),
            channel_order: attributes.sizes("channel_order")?.unwrap_or_default(),
            residual: attributes.flag("residual")?,
            activation: UnaryKind::from_attribute(attributes, "activation")?,
        })
    }

    fn infer_shape(&self, operands: &[&[usize]], tensors: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 1 + usize::from(self.residual))?;
        let weight = tensor_shape(tensors, self.weight)?;
        let &[n, c, h, w] = operands[0] else {
            return Err(format!(
                "input has shape {:?}, expected [N, C, H, W]",
                operands[0]
            ));
        };
        let &[m, c_per_group, kh, kw] = weight else {
            return Err(format!(
                "weight has shape {weight:?}, expected [M, C/groups, KH, KW]"
            ));
        };
        let g = self.groups;
        if g == 0 || m % g != 0 || c % g != 0 || c / g != c_per_group {
            return Err(format!(
                "weight {weight:?} with {g} groups does not fit {c} input channels"
            ));
        }
        self.check_channel_order(m)?;
        check_channels("scale", self.scale, m, tensors)?;
        check_channels("bias", self.bias, m, tensors)?;
        let [top, left, bottom, right] = self.pads;
        let oh = window_size(h, kh, self.strides[0], self.dilations[0], &[top, bottom])?;
        let ow = window_size(w, kw, self.strides[1], self.dilations[1], &[left, right])?;
        let shape = vec![n, m, oh, ow];
        match operands.get(1) {
            Some(residual) if *residual != shape.as_slice() => Err(format!(
                "residual has shape {residual:?}, expected {shape:?}"
            )),
            _ => Ok(shape),
        }
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let x = operands[0];
        let (c, h, w) = (x.shape[1], x.shape[2], x.shape[3]);
        let &[n, m, oh, ow] = ctx.shape else {
            unreachable!("inferred as rank 4")
        };
        let weight_shape = &ctx.tensors[self.weight.0 as usize].shape;
        let (cg, kh, kw) = (weight_shape[1], weight_shape[2], weight_shape[3]);
        let weight = ctx.tensor(self.weight);
        let scale = self.scale.map(|id| ctx.tensor(id));
        let bias = self.bias.map(|id| ctx.tensor(id));
        let mut y = Array::zeros(ctx.shape);
        // Row-wise accumulation over the taps that exist: the same sum as the formula, but fast
        // enough to run full-size networks in tests. A weight of zero reads nothing, so that a
        // pruned weight and an absent one are the same even next to an infinity.
        for image in 0..n {
            for row in 0..m {
                let group = row / (m / self.groups);
                let channel = self.channel(row);
                let plane = &mut y.data[(image * m + channel) * oh * ow..][..oh * ow];
                for k in 0..cg {
                    let source = &x.data[(image * c + group * cg + k) * h * w..][..h * w];
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let value = weight[((row * cg + k) * kh + ky) * kw + kx];
                            if value == 0.0 {
                                continue;
                            }
                            let (columns, first) = self.inside(1, kx, w, ow);
                            let (rows, first_row) = self.inside(0, ky, h, oh);
                            for (i, oy) in rows.enumerate() {
                                let iy = first_row + i * self.strides[0];
                                let sums = &mut plane[oy * ow..][columns.clone()];
                                let inputs = &source[iy * w..][first..w];
                                // A step of 1 is written apart, since the compiler vectorizes it.
                                if self.strides[1] == 1 {
                                    let pairs = sums.iter_mut().zip(inputs);
                                    pairs.for_each(|(sum, input)| *sum += value * input);
                                } else {
                                    let inputs = inputs.iter().step_by(self.strides[1]);
                                    let pairs = sums.iter_mut().zip(inputs);
                                    pairs.for_each(|(sum, input)| *sum += value * input);
                                }
                            }
                        }
                    }
                }
                let s = scale.as_ref().map_or(1.0, |s| s[row]);
                let b = bias.as_ref().map_or(0.0, |b| b[row]);
                for value in plane.iter_mut() {
                    *value = *value * s + b;
                }
            }
        }
        if self.residual {
            for (value, r) in y.data.iter_mut().zip(&operands[1].data) {
                *value += r;
            }
        }
        if let Some(activation) = self.activation {
            y.data
                .iter_mut()
                .for_each(|value| *value = activation.eval(*value));
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, eval_at, infer};
    use super::*;
    use crate::sparsity::LevelMask;
    use crate::tensor::LevelRule;

    fn conv(shape: &[usize], data: &[f32]) -> (Conv2d, Vec<Tensor>) {
        (
            Conv2d::new(TensorId(0)),
            vec![Tensor::shared("w", shape, data)],
        )
    }

    #[test]
    fn valid_window() {
        let (op, tensors) = conv(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let y = eval(op, &tensors, &[&counting(&[1, 1, 3, 3])]);
        assert_eq!(y, array(&[1, 1, 2, 2], &[27.0, 37.0, 57.0, 67.0]));
    }

    #[test]
    fn stride_dilation_and_padding() {
        let (op, tensors) = conv(&[1, 1, 1, 2], &[1.0, 10.0]);
        let x = counting(&[1, 1, 1, 5]);
        let op = Conv2d {
            strides: [1, 2],
            dilations: [1, 3],
            pads: [0, 1, 0, 2],
            ..op
        };
        // Windows begin at -1, 1 and 3 and read three columns further.
        assert_eq!(eval(op, &tensors, &[&x]).data, [20.0, 41.0, 3.0]);
    }

    #[test]
    fn depthwise_groups() {
        let (op, tensors) = conv(&[2, 1, 1, 1], &[2.0, 3.0]);
        let x = counting(&[1, 2, 1, 2]);
        let op = Conv2d { groups: 2, ..op };
        assert_eq!(eval(op, &tensors, &[&x]).data, [0.0, 2.0, 6.0, 9.0]);
    }

    #[test]
    fn every_window_reads_what_the_formula_says() {
        let x = counting(&[1, 1, 1, 7]);
        let tensors = [Tensor::shared("w", &[1, 1, 1, 3], [1.0, 10.0, 100.0])];
        for stride in 1..4 {
            for dilation in 1..4 {
                for (left, right) in [(0, 0), (1, 0), (0, 2), (5, 3), (9, 9)] {
                    let op = Conv2d {
                        strides: [1, stride],
                        dilations: [1, dilation],
                        pads: [0, left, 0, right],
                        ..Conv2d::new(TensorId(0))
                    };
                    let y = eval(op, &tensors, &[&x]);
                    for (ox, sum) in y.data.iter().enumerate() {
                        let at = |k: usize| (ox * stride + k * dilation).checked_sub(left);
                        let value = |k| at(k).and_then(|i| x.data.get(i)).unwrap_or(&0.0);
                        let expected = value(0) + 10.0 * value(1) + 100.0 * value(2);
                        assert_eq!(*sum, expected, "{stride} {dilation} {left} {right} {ox}");
                    }
                }
            }
        }
    }

    #[test]
    fn epilogue_in_order() {
        let (op, mut tensors) = conv(&[2, 1, 1, 1], &[1.0, -1.0]);
        tensors.push(Tensor::per_level("scale", &[2], [2.0, 2.0, 3.0, 3.0]));
        tensors.push(Tensor::shared("bias", &[2], [0.5, -0.5]));
        let op = Conv2d {
            scale: Some(TensorId(1)),
            bias: Some(TensorId(2)),
            residual: true,
            activation: Some(UnaryKind::Relu),
            ..op
        };
        let (x, r) = (
            array(&[1, 1, 1, 1], &[4.0]),
            array(&[1, 2, 1, 1], &[1.0, 10.0]),
        );
        assert_eq!(eval_at(0, op.clone(), &tensors, &[&x, &r]).data, [9.5, 1.5]);
        assert_eq!(eval_at(1, op, &tensors, &[&x, &r]).data, [13.5, 0.0]);
    }

    #[test]
    fn a_level_sees_its_weights() {
        let (op, mut tensors) = conv(&[1, 3, 1, 1], &[1.0, 10.0, 100.0]);
        tensors[0].rule = LevelRule::Masked(LevelMask::new([1, 0, 2], &[1; 4]));
        let x = array(&[1, 3, 1, 1], &[1.0; 3]);
        let sums = [0, 1, 2].map(|l| eval_at(l, op.clone(), &tensors, &[&x]).data[0]);
        assert_eq!(sums, [10.0, 11.0, 111.0]);
    }

    #[test]
    fn rejects() {
        let (op, tensors) = conv(&[2, 2, 3, 3], &[0.0; 36]);
        let fails =
            |op: &Conv2d, shape: &[usize]| infer(op.clone(), &tensors, &[shape]).unwrap_err();
        assert_eq!(
            fails(&op, &[1, 2, 9]),
            "input has shape [1, 2, 9], expected [N, C, H, W]"
        );
        fails(&op, &[1, 3, 9, 9]);
        fails(&op, &[1, 2, 2, 9]);
        fails(
            &Conv2d {
                groups: 0,
                ..op.clone()
            },
            &[1, 2, 9, 9],
        );
        fails(
            &Conv2d {
                strides: [0, 1],
                ..op.clone()
            },
            &[1, 2, 9, 9],
        );
        fails(
            &Conv2d {
                pads: [usize::MAX; 4],
                ..op.clone()
            },
            &[1, 2, 9, 9],
        );
        fails(
            &Conv2d {
                bias: Some(TensorId(0)),
                ..op.clone()
            },
            &[1, 2, 9, 9],
        );
        fails(
            &Conv2d {
                weight: TensorId(7),
                ..op.clone()
            },
            &[1, 2, 9, 9],
        );
        let residual = Conv2d {
            residual: true,
            ..op
        };
        let error = infer(residual, &tensors, &[&[1, 2, 3, 3], &[1, 2, 1, 2]]).unwrap_err();
        assert_eq!(
            error,
            "residual has shape [1, 2, 1, 2], expected [1, 2, 1, 1]"
        );
    }
}
