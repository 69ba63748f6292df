//! `Resize` of the two last axes, nearest and linear.

use condensec_ir::Diagnostic;
use condensec_ir::ops::{CoordinateTransform, Op, Resize, ResizeMode, Rounding};

use crate::frontend::onnx::import::{Context, NodeView, Outputs, Value};

/// What is resized, and by how much.
pub struct Target {
    /// Result size per axis of the operand.
    pub sizes: Vec<usize>,
    /// Result size over operand size, before rounding.
    pub scales: Vec<f32>,
}

/// How a result element is made.
#[derive(Clone, Copy)]
pub struct Sampling {
    pub mode: Mode,
    pub transform: CoordinateTransform,
}

/// What is read around a coordinate.
#[derive(Clone, Copy)]
pub enum Mode {
    Linear,
    Nearest(Rounding),
    /// Nearest up to operator set 10: down where the axis grows, up where it shrinks.
    NearestByDirection,
}

pub fn import(ctx: &mut Context, node: &NodeView) -> Outputs {
    let x = ctx.required(node, 0, "operand")?;
    let x = Value::Node(ctx.value_operand(node, &x)?);
    let shape = ctx.shape(&x).to_vec();
    let target = match node.opset {
        ..11 => Target::from_scales(ctx, node, &shape, 1)?,
        _ => target(ctx, node, &shape)?,
    };
    let sampling = match node.opset {
        ..11 => Sampling {
            mode: match node.string_or("mode", "nearest")? {
                "nearest" => Mode::NearestByDirection,
                "linear" => Mode::Linear,
                other => return Err(node.unsupported(format!("interpolation of mode `{other}`"))),
            },
            transform: CoordinateTransform::Asymmetric,
        },
        _ => sampling(node, &target)?,
    };
    resize(ctx, node, &x, &target, sampling)
}

/// Scales or sizes, from operator set 11 on.
fn target(ctx: &Context, node: &NodeView, shape: &[usize]) -> Result<Target, Diagnostic> {
    let is_given = |position: usize| {
        let constant = ctx.input(node, position);
        constant.is_some_and(|value| value.as_constant().is_none_or(|c| c.literal.n_elems() > 0))
    };
    if !is_given(3) {
        return Target::from_scales(ctx, node, shape, 2);
    }
    let given = ctx.ints(node, 3, "sizes")?.unwrap_or_default();
    let axes = resized_axes(node, shape.len())?;
    let given = match given.len() == axes.len() {
        true => node.checked_sizes("sizes", &given, 1)?,
        false => {
            return Err(node.error(
                "shape-mismatch",
                format!("sizes {given:?} do not fit {} axes", axes.len()),
            ));
        }
    };
    let ratio = |at: usize| given[at] as f32 / shape[axes[at]] as f32;
    let ratios = (0..axes.len()).map(ratio);
    let common = match node.string_or("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => None,
        "not_larger" => ratios.reduce(f32::min),
        "not_smaller" => ratios.reduce(f32::max),
        other => return Err(node.unsupported(format!("`keep_aspect_ratio_policy` is `{other}`"))),
    };
    let mut target = Target {
        sizes: shape.to_vec(),
        scales: vec![1.0; shape.len()],
    };
    for (at, &axis) in axes.iter().enumerate() {
        match common {
            None => {
                target.sizes[axis] = given[at];
                target.scales[axis] = ratio(at);
            }
            Some(scale) => {
                target.sizes[axis] = (scale * shape[axis] as f32).round() as usize;
                target.scales[axis] = scale;
            }
        }
    }
    Ok(target)
}

/// The axes that scales and sizes are for.
fn resized_axes(node: &NodeView, rank: usize) -> Result<Vec<usize>, Diagnostic> {
    match node.opset {
        ..18 => Ok((0..rank).collect()),
        _ => match node.ints("axes")? {
            Some(axes) => node.axes(axes, rank),
            None => Ok((0..rank).collect()),
        },
    }
}

impl Target {
    /// From the scales at input `position`.
    fn from_scales(
        ctx: &Context,
        node: &NodeView,
        shape: &[usize],
        position: usize,
    ) -> Result<Target, Diagnostic> {
        let Some(given) = ctx.floats(node, position, "scales")? else {
            return Err(node.error("missing-input", "neither scales nor sizes are given"));
        };
        let axes = resized_axes(node, shape.len())?;
        Target::new(node, shape, &axes, &given)
    }

    /// From a scale for each of `axes`.
    pub fn new(
        node: &NodeView,
        shape: &[usize],
        axes: &[usize],
        given: &[f32],
    ) -> Result<Target, Diagnostic> {
        if given.len() != axes.len() {
            return Err(node.error(
                "shape-mismatch",
                format!("scales {given:?} do not fit {} axes", axes.len()),
            ));
        }
        let mut target = Target {
            sizes: shape.to_vec(),
            scales: vec![1.0; shape.len()],
        };
        for (&axis, &scale) in axes.iter().zip(given) {
            // In f32, as ONNX Runtime does. The bound keeps the product exact enough to be a size.
            let size = (shape[axis] as f32 * scale).floor();
            if !(scale > 0.0 && size >= 1.0 && size < (1u64 << 31) as f32) {
                return Err(node.error(
                    "shape-mismatch",
                    format!("scale {scale} of axis {axis} of {shape:?}"),
                ));
            }
            target.sizes[axis] = size as usize;
            target.scales[axis] = scale;
        }
        Ok(target)
    }

    fn shrinks(&self) -> bool {
        self.scales.iter().any(|&scale| scale < 1.0)
    }
}

/// The attributes from operator set 11 on.
fn sampling(node: &NodeView, target: &Target) -> Result<Sampling, Diagnostic> {
    if node.flag("exclude_outside", false)? {
        return Err(node.unsupported("`exclude_outside` = 1"));
    }
    if node.opset >= 18 && node.flag("antialias", false)? && target.shrinks() {
        return Err(node.unsupported("`antialias` = 1 where an axis shrinks"));
    }
    let nearest = match node.string_or("nearest_mode", "round_prefer_floor")? {
        "ceil" => Rounding::Ceil,
        "floor" => Rounding::Floor,
        "round_prefer_ceil" => Rounding::RoundPreferCeil,
        "round_prefer_floor" => Rounding::RoundPreferFloor,
        other => return Err(node.bad_attribute(format!("`nearest_mode` is `{other}`"))),
    };
    let mode = match node.string_or("mode", "nearest")? {
        "nearest" => Mode::Nearest(nearest),
        "linear" => Mode::Linear,
        other => return Err(node.unsupported(format!("interpolation of mode `{other}`"))),
    };
    let transform = match node.string_or("coordinate_transformation_mode", "half_pixel")? {
        "align_corners" => CoordinateTransform::AlignCorners,
        "asymmetric" => CoordinateTransform::Asymmetric,
        "half_pixel" => CoordinateTransform::HalfPixel,
        "pytorch_half_pixel" => CoordinateTransform::PytorchHalfPixel,
        // The two differ only where the result size has been rounded.
        "half_pixel_symmetric" if target.is_exact(node) => CoordinateTransform::HalfPixel,
        other => return Err(node.unsupported(format!("coordinates of mode `{other}`"))),
    };
    Ok(Sampling { mode, transform })
}

impl Target {
    /// Whether sizes times scales give the result sizes without rounding. Sizes that the file gives
    /// are exact by definition.
    fn is_exact(&self, node: &NodeView) -> bool {
        node.input(3).is_some() || self.scales.iter().all(|&scale| scale.fract() == 0.0)
    }
}

/// Adds the op; axes before the two last are merged into the channels, which stay as they are.
pub fn resize(
    ctx: &mut Context,
    node: &NodeView,
    x: &Value,
    target: &Target,
    sampling: Sampling,
) -> Outputs {
    let shape = ctx.shape(x).to_vec();
    if target.sizes == shape && target.scales.iter().all(|&scale| scale == 1.0) {
        return Ok(vec![x.clone()]);
    }
    let n_outer = shape.len().saturating_sub(2);
    let moves = |axis: usize| target.sizes[axis] != shape[axis] || target.scales[axis] != 1.0;
    if let Some(axis) = (0..n_outer).find(|&axis| moves(axis)) {
        return Err(node
            .error(
                "unsupported-rank",
                format!(
                    "axis {axis} of {shape:?} is resized to {}",
                    target.sizes[axis]
                ),
            )
            .with_note("only the two last axes can be resized"));
    }
    let (outer, inner) = shape.split_at(n_outer);
    let [h, w] = super::window::pair(inner, 1);
    let image = match outer {
        [n, c] => [*n, *c, h, w],
        _ => [1, outer.iter().product(), h, w],
    };
    let size = super::window::pair(&target.sizes[n_outer..], 1);
    let scales = match target.scales[n_outer..] {
        [scale] => [1.0, scale],
        [height, width] => [height, width],
        _ => return Err(node.error("shape-mismatch", "a scalar cannot be resized")),
    };
    let Sampling { mode, transform } = sampling;
    // An axis that stays reads whole coordinates, on which every rounding agrees.
    let shrinks: Vec<bool> = scales
        .iter()
        .filter(|&&s| s != 1.0)
        .map(|&s| s < 1.0)
        .collect();
    let rounding = |scale: f32| {
        if scale < 1.0 {
            Rounding::Ceil
        } else {
            Rounding::Floor
        }
    };
    let steps = match mode {
        Mode::Linear => vec![(ResizeMode::Linear, size, scales)],
        Mode::Nearest(rounding) => vec![(ResizeMode::Nearest { rounding }, size, scales)],
        Mode::NearestByDirection if shrinks.iter().all(|&s| s == shrinks[0]) => {
            let rounding = rounding(scales[0].min(scales[1]));
            vec![(ResizeMode::Nearest { rounding }, size, scales)]
        }
        // One axis grows and one shrinks: one after the other.
        Mode::NearestByDirection => vec![
            (
                ResizeMode::Nearest {
                    rounding: rounding(scales[0]),
                },
                [size[0], w],
                [scales[0], 1.0],
            ),
            (
                ResizeMode::Nearest {
                    rounding: rounding(scales[1]),
                },
                size,
                [1.0, scales[1]],
            ),
        ],
    };
    let mut result = ctx.reshape_named(node, &format!("{}/image", node.output(0)), x, &image)?;
    let n_steps = steps.len();
    for (at, (mode, size, scales)) in steps.into_iter().enumerate() {
        let operand = ctx.value_operand(node, &result)?;
        let op = Op::Resize(Resize {
            size,
            mode,
            transform,
            scales,
        });
        let is_last = at + 1 == n_steps && outer.len() == 2;
        result = match is_last {
            true => ctx.add(node, op, &[operand])?.into(),
            false => ctx
                .add_step(node, &format!("resized{at}"), op, &[operand])?
                .into(),
        };
    }
    Ok(vec![ctx.reshape(node, &result, &target.sizes)?])
}
