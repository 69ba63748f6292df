//! Windows that slide over the spatial axes: the attributes that convolution and pooling share.

use condensec_ir::ops::{Op, Reshape};
use condensec_ir::{Diagnostic, NodeId};

use crate::frontend::onnx::import::{Context, NodeView};

/// A window over one or two spatial axes, as the attributes give it.
pub struct Window {
    /// One size per spatial axis, as all that follow.
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    padding: Padding,
}

/// The attributes `auto_pad` and `pads`.
enum Padding {
    /// Before each axis, then behind each axis.
    Explicit(Vec<usize>),
    None,
    SameLower,
    SameUpper,
}

impl Window {
    /// Reads the attributes of a node with this kernel.
    pub fn read(node: &NodeView, kernel: &[usize]) -> Result<Window, Diagnostic> {
        let n = kernel.len();
        let sizes: Vec<i64> = kernel
            .iter()
            .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
            .collect();
        let padding = match node.string_or("auto_pad", "NOTSET")? {
            "NOTSET" => {
                let pads = node.window_sizes("pads", 2 * n, 0)?;
                Padding::Explicit(pads.unwrap_or_else(|| vec![0; 2 * n]))
            }
            "VALID" => Padding::None,
            "SAME_LOWER" => Padding::SameLower,
            "SAME_UPPER" => Padding::SameUpper,
            other => return Err(node.bad_attribute(format!("`auto_pad` is `{other}`"))),
        };
        Ok(Window {
            kernel: node.checked_sizes("kernel_shape", &sizes, 1)?,
            strides: node
                .window_sizes("strides", n, 1)?
                .unwrap_or_else(|| vec![1; n]),
            dilations: node
                .window_sizes("dilations", n, 1)?
                .unwrap_or_else(|| vec![1; n]),
            padding,
        })
    }

    /// Reads the attributes of a node whose kernel is an attribute too.
    pub fn read_with_kernel(node: &NodeView, n_axes: usize) -> Result<Window, Diagnostic> {
        match node.window_sizes("kernel_shape", n_axes, 1)? {
            Some(kernel) => Window::read(node, &kernel),
            None => Err(node.bad_attribute("attribute `kernel_shape` is missing")),
        }
    }

    /// Elements from the first to the last that the window reads along `axis`.
    pub fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// Padding before and behind an axis of `size` elements.
    pub fn pads(&self, axis: usize, size: usize) -> (usize, usize) {
        let total = || {
            let n_windows = size.div_ceil(self.strides[axis]);
            let covered = n_windows.saturating_sub(1) * self.strides[axis] + self.reach(axis);
            covered.saturating_sub(size)
        };
        match &self.padding {
            Padding::Explicit(pads) => (pads[axis], pads[self.kernel.len() + axis]),
            Padding::None => (0, 0),
            Padding::SameUpper => (total() / 2, total().div_ceil(2)),
            Padding::SameLower => (total().div_ceil(2), total() / 2),
        }
    }

    /// The explicit padding, or what distributes the padding otherwise: whether more goes behind
    /// than before.
    pub fn is_upper(&self) -> bool {
        matches!(self.padding, Padding::SameUpper)
    }

    /// Whether the padding makes the result as large as the operand, over the stride.
    pub fn is_same(&self) -> bool {
        matches!(self.padding, Padding::SameUpper | Padding::SameLower)
    }

    /// Rows and columns that a last, incomplete window needs behind the padding, for `ceil_mode`.
    /// Such a window counts if it begins inside the operand or the padding before it.
    pub fn overhang(&self, axis: usize, size: usize) -> usize {
        let (low, high) = self.pads(axis, size);
        let (stride, reach) = (self.strides[axis], self.reach(axis));
        let Some(rest) = (low + size + high).checked_sub(reach) else {
            return 0;
        };
        let mut n_windows = rest.div_ceil(stride) + 1;
        if (n_windows - 1) * stride >= size + low {
            n_windows -= 1;
        }
        let covered = n_windows.saturating_sub(1) * stride + reach;
        covered.saturating_sub(low + size + high)
    }
}

/// Sizes along height and width; one spatial axis is the width.
pub fn pair(sizes: &[usize], height: usize) -> [usize; 2] {
    match sizes {
        [width] => [height, *width],
        [height, width, ..] => [*height, *width],
        [] => [height, height],
    }
}

/// `[top, left, bottom, right]` from a padding before and behind per axis.
pub fn box_pads(pads: &[(usize, usize)]) -> [usize; 4] {
    let before: Vec<usize> = pads.iter().map(|pad| pad.0).collect();
    let behind: Vec<usize> = pads.iter().map(|pad| pad.1).collect();
    let ([top, left], [bottom, right]) = (pair(&before, 0), pair(&behind, 0));
    [top, left, bottom, right]
}

/// Number of spatial axes of `[N, C, ..]`, which must be one or two.
pub fn n_spatial_axes(node: &NodeView, shape: &[usize]) -> Result<usize, Diagnostic> {
    match shape.len() {
        3 | 4 => Ok(shape.len() - 2),
        _ => Err(node
            .error(
                "unsupported-rank",
                format!("operand has shape {shape:?}, expected [N, C, L] or [N, C, H, W]"),
            )
            .with_note("one and two spatial axes are supported")),
    }
}

/// Adds a 2-D op as the node's result; an operand `[N, C, L]` becomes `[N, C, 1, L]` and back.
pub fn add_spatial(
    ctx: &mut Context,
    node: &NodeView,
    op: Op,
    x: NodeId,
) -> Result<NodeId, Diagnostic> {
    let shape = ctx.graph.node(x).shape.clone();
    let [n, c, l] = shape[..] else {
        return ctx.add(node, op, &[x]);
    };
    let flat = Op::Reshape(Reshape {
        shape: vec![n, c, 1, l],
    });
    let lifted = ctx.add_step(node, "lifted", flat, &[x])?;
    let result = ctx.add_step(node, "2d", op, &[lifted])?;
    let shape: Vec<usize> = match ctx.graph.node(result).shape[..] {
        [n, m, _, l] => vec![n, m, l],
        ref other => other.to_vec(),
    };
    ctx.add(node, Op::Reshape(Reshape { shape }), &[result])
}
