//! Windows over rows that follow each other without padding between them.
//!
//! The tap one column left of column 0 is the last column of the row above there, where the padding's
//! zero should be. So taps of a column that leaves the row are summed apart, and the sums of those
//! pixels whose tap is outside are cleared by a mask before they count:
//!
//! ```text
//! y = sum of taps of columns that stay inside
//! for each other column kx: y += (sum of its taps) & mask[kx][pixel]
//! ```
//! A masked depthwise convolution takes a third longer, at all levels; the 1x1 convolutions around it win what they no
//! longer compute for pad columns. See [`is_packed`].

use super::is_direct;
use condensec_ir::layout::Planes;
use condensec_ir::ops::Conv2d;
use condensec_ir::{Graph, NodeId};

/// One in so many of the vectors must be saved. Measured on Zen 4: maps of 25x5 (20 % fewer) gain 10 % for the whole
/// DS-CNN at its dense level and lose 3 % at a tenth of its weights; maps of 14x14 (7 % fewer) gain nothing for
/// MobileNetV2.
const WORTHWHILE: usize = 10;

/// Whether `result`, the convolution `conv` of `input`, does without pad columns, on vectors of `lanes`.
pub(crate) fn is_packed(
    graph: &Graph,
    conv: &Conv2d,
    [input, result]: [NodeId; 2],
    lanes: usize,
) -> bool {
    let shape = &graph.node(result).shape;
    let (h, w) = (shape[2], shape[3]);
    let width = w.max(graph.node(input).shape[3]);
    let n_vectors = |pitch: usize| (h.saturating_sub(1) * pitch + w).div_ceil(lanes);
    let padded = n_vectors(width + conv.pads[1].max(conv.pads[3]));
    is_direct(graph, conv)
        && conv.strides == [1, 1]
        && !conv.residual
        && n_vectors(width) + padded.div_ceil(WORTHWHILE) <= padded
}

/// The columns of a window that leave the rows, and for which pixels.
pub(super) struct Edges {
    /// Columns of the window whose sums need a mask.
    pub columns: Vec<usize>,
    /// Pixels of a mask.
    n_pixels: usize,
    /// All ones where a tap counts, `[columns, n_pixels]`.
    pub masks: Vec<u32>,
}

impl Edges {
    /// Of `conv`, with `kernel_width` columns, from rows of `planes` and `widths[0]` pixels to rows of
    /// `widths[1]`. Pixel `q` of a mask, of `n_pixels`, is column `q % pitch`.
    pub fn new(
        conv: &Conv2d,
        kernel_width: usize,
        planes: &Planes,
        widths: [usize; 2],
        pitch: usize,
        n_pixels: usize,
    ) -> Self {
        let [width, out_width] = widths;
        let gap = planes.pitch - width;
        // Column of the input under column 0 of the result, shifted by the left padding.
        let shift = |kx: usize| kx * conv.dilations[1];
        let left = conv.pads[1];
        let leaves = |&kx: &usize| {
            let beyond_left = left.saturating_sub(shift(kx));
            let beyond_right = (out_width + shift(kx)).saturating_sub(left + width);
            beyond_left > gap || beyond_right > gap
        };
        let columns: Vec<usize> = (0..kernel_width).filter(leaves).collect();
        let inside = |kx: usize, pixel: usize| {
            let column = pixel % pitch;
            column < out_width && (left..left + width).contains(&(column + shift(kx)))
        };
        let mask = |&kx: &usize| (0..n_pixels).map(move |q| (kx, q));
        let masks = columns.iter().flat_map(mask);
        let masks = masks.map(|(kx, q)| if inside(kx, q) { u32::MAX } else { 0 });
        Self {
            masks: masks.collect(),
            columns,
            n_pixels,
        }
    }

    /// Of rows with enough padding between them.
    pub fn none() -> Self {
        Self {
            columns: Vec::new(),
            n_pixels: 0,
            masks: Vec::new(),
        }
    }

    /// Bytes from a pixel's mask for the first of the columns to that for the one of this number.
    pub fn offset(&self, number: usize) -> usize {
        number * self.n_pixels * 4
    }
}
