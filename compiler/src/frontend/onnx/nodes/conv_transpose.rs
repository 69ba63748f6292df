//! `ConvTranspose` as an ordinary convolution.
//!
//! The strides become zeros between the elements of the operand, the kernel is flipped and its
//! channel axes change places, and the window slides one by one over a padding of all but the last
//! element of its reach, less what the attributes cut off.

use condensec_ir::ops::{Conv2d, Op, Pad, Slice};

use super::conv;
use super::window::{self, Window};
use crate::frontend::onnx::import::{Context, NodeView, Outputs};
use condensec_ir::Diagnostic;

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.operand(node, 0, "operand")?;
    let shape = ctx.graph.node(x).shape.clone();
    let n_axes = window::n_spatial_axes(node, &shape)?;
    let weight = ctx.weight(node, 1)?;
    let kernel = conv::kernel(node, weight.shape(), shape.len())?;
    let window = Window::read(node, &kernel)?;
    let groups = conv::groups(node)?;
    let (c, m_per_group) = (weight.shape()[0], weight.shape()[1]);
    let m = m_per_group.checked_mul(groups);
    let Some(m) = m.filter(|_| c.is_multiple_of(groups) && c == shape[1]) else {
        return Err(node.error(
            "shape-mismatch",
            format!(
                "weight {:?} with {groups} groups does not fit operand {shape:?}",
                weight.shape()
            ),
        ));
    };
    let crops = crops(node, &window, &shape[2..])?;

    // `[C, M/g, KH, KW]` to `[M, C/g, KH, KW]`, flipped.
    let [kh, kw] = window::pair(&window.kernel, 1);
    let weight = weight
        .reshaped(&[groups, c / groups, m_per_group, kh, kw])
        .permuted(&[0, 2, 1, 3, 4])
        .reshaped(&[m, c / groups, kh, kw])
        .flipped(&[2, 3]);
    let scale = ctx.add_scale(node, &weight, m)?;
    let weight = ctx.add_weight(&weight);

    let mut operand = x;
    let spread: Vec<usize> = [
        vec![0; 2],
        window.strides.iter().map(|stride| stride - 1).collect(),
    ]
    .concat();
    if (0..n_axes).any(|axis| window.strides[axis] > 1 && shape[2 + axis] > 1) {
        let none = vec![0; shape.len()];
        let pad = Pad {
            low: none.clone(),
            high: none,
            interior: spread,
            value: 0.0,
        };
        operand = ctx.add_step(node, "spread", Op::Pad(pad), &[operand])?;
    }
    // A crop beyond the reach of the kernel cuts off parts of the operand.
    let mut pads = vec![(0, 0); n_axes];
    let mut starts = vec![0; shape.len()];
    let mut sizes = ctx.graph.node(operand).shape.clone();
    for (axis, &(low, high)) in crops.iter().enumerate() {
        let amount = |n: i64| usize::try_from(n).unwrap_or(0);
        pads[axis] = (amount(low), amount(high));
        let (cut_low, cut_high) = (amount(-low), amount(-high));
        starts[2 + axis] = cut_low;
        let left = sizes[2 + axis]
            .checked_sub(cut_low)
            .and_then(|size| size.checked_sub(cut_high));
        sizes[2 + axis] = left.filter(|&size| size > 0).ok_or_else(|| {
            node.error(
                "empty-tensor",
                format!("the padding cuts off all of operand {shape:?}"),
            )
        })?;
    }
    if sizes != ctx.graph.node(operand).shape {
        let cut = Op::Slice(Slice {
            starts,
            sizes,
            steps: vec![1; shape.len()],
        });
        operand = ctx.add_step(node, "cut", cut, &[operand])?;
    }
    let op = Conv2d {
        scale,
        pads: window::box_pads(&pads),
        dilations: window::pair(&window.dilations, 1),
        groups,
        ..Conv2d::new(weight)
    };
    Ok(vec![conv::add_with_bias(ctx, node, op, m, operand)?.into()])
}

/// Padding of the spread operand before and behind each axis; negative where something is cut off.
fn crops(node: &NodeView, window: &Window, sizes: &[usize]) -> Result<Vec<(i64, i64)>, Diagnostic> {
    let n_axes = sizes.len();
    let extra = node
        .window_sizes("output_padding", n_axes, 0)?
        .unwrap_or_else(|| vec![0; n_axes]);
    let wanted = match node.ints("output_shape")? {
        None => None,
        // Some exporters give the whole shape.
        Some(given) if given.len() == n_axes || given.len() == n_axes + 2 => {
            Some(node.checked_sizes("output_shape", &given[given.len() - n_axes..], 1)?)
        }
        Some(given) => {
            return Err(node.bad_attribute(format!(
                "`output_shape` is {given:?}, expected {n_axes} sizes"
            )));
        }
    };
    let signed = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    let crop = |axis: usize| {
        // Size of the result before anything is cut off. Sizes are below 2^31, attributes below
        // 2^20.
        let full = signed(sizes[axis] - 1) * signed(window.strides[axis])
            + signed(window.reach(axis))
            + signed(extra[axis]);
        let distributed = |wanted: i64| {
            let total = (full - wanted).max(0);
            let (half, rest) = (total / 2, total - total / 2);
            if window.is_upper() {
                (half, rest)
            } else {
                (rest, half)
            }
        };
        // As in ONNX Runtime: a size that the file gives may be beyond the full one, the size that
        // "same" stands for may not.
        let ((cut_low, cut_high), missing) = match &wanted {
            Some(wanted) => {
                let wanted = signed(wanted[axis]);
                (distributed(wanted), (wanted - full).max(0))
            }
            None if window.is_same() => (
                distributed(signed(sizes[axis]) * signed(window.strides[axis])),
                0,
            ),
            None => {
                let (low, high) = window.pads(axis, sizes[axis]);
                ((signed(low), signed(high)), 0)
            }
        };
        let around = signed(window.reach(axis)) - 1;
        (
            around - cut_low,
            around - cut_high + signed(extra[axis]) + missing,
        )
    };
    Ok((0..n_axes).map(crop).collect())
}
