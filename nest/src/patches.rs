//! The inputs of a layer as columns of a matrix: what every result is a product with.
//!
//! A column has one element per weight of a row, `[C / groups, KH, KW]`; zeros where the window hangs
//! over the border. Positions count the pixels (rows) of the result.

use crate::layers::Layer;
use condensec_ir::Graph;
use condensec_ir::eval::Array;
use condensec_ir::ops::Conv2d;

/// Positions of one sample's result.
pub(crate) fn n_positions(graph: &Graph, layer: &Layer) -> usize {
    graph.node(layer.node).shape.iter().product::<usize>() / layer.rows
}

/// Writes the columns at `positions` one after the other: `[positions, columns]`, row-major.
pub(crate) fn gather(
    graph: &Graph,
    layer: &Layer,
    channel_group: usize,
    x: &Array,
    positions: impl Iterator<Item = usize>,
    out: &mut [f32],
) {
    let columns = out.chunks_exact_mut(layer.columns);
    let Some(conv) = layer.conv(graph) else {
        for (position, column) in positions.zip(columns) {
            column.copy_from_slice(&x.data[position * layer.columns..][..layer.columns]);
        }
        return;
    };
    let shape = &graph.node(layer.node).shape;
    let plane = shape[2] * shape[3];
    for (position, column) in positions.zip(columns) {
        let (image, pixel) = (position / plane, position % plane);
        let window = Window::new(graph, layer, conv, x, image, channel_group);
        window.copy(pixel / shape[3], pixel % shape[3], column);
    }
}

/// All columns of one image side by side: `[columns, positions]`, row-major.
pub(crate) fn image(
    graph: &Graph,
    layer: &Layer,
    conv: &Conv2d,
    x: &Array,
    image: usize,
) -> Vec<f32> {
    let shape = &graph.node(layer.node).shape;
    let (oh, ow) = (shape[2], shape[3]);
    let (h, w) = (x.shape[2], x.shape[3]);
    let weight = &graph.tensor(layer.weight).shape;
    let (channels, kh, kw) = (weight[1], weight[2], weight[3]);
    let mut out = vec![0.0; layer.columns * oh * ow];
    let mut rows = out.chunks_exact_mut(oh * ow);
    for c in 0..channels {
        let source = &x.data[(image * channels + c) * h * w..][..h * w];
        for ky in 0..kh {
            for kx in 0..kw {
                let row = rows.next().expect("one row per column of the weight");
                for oy in 0..oh {
                    let iy =
                        (oy * conv.strides[0] + ky * conv.dilations[0]).wrapping_sub(conv.pads[0]);
                    if iy >= h {
                        continue;
                    }
                    let line = &mut row[oy * ow..][..ow];
                    for (ox, value) in line.iter_mut().enumerate() {
                        let ix = (ox * conv.strides[1] + kx * conv.dilations[1])
                            .wrapping_sub(conv.pads[1]);
                        if ix < w {
                            *value = source[iy * w + ix];
                        }
                    }
                }
            }
        }
    }
    out
}

/// The input of one image under the window of a convolution.
struct Window<'a> {
    conv: &'a Conv2d,
    /// `[C / groups, H, W]`
    source: &'a [f32],
    size: [usize; 2],
    kernel: [usize; 2],
}

impl<'a> Window<'a> {
    fn new(
        graph: &Graph,
        layer: &Layer,
        conv: &'a Conv2d,
        x: &'a Array,
        image: usize,
        channel_group: usize,
    ) -> Self {
        let weight = &graph.tensor(layer.weight).shape;
        let [h, w] = [x.shape[2], x.shape[3]];
        let n = weight[1] * h * w;
        Self {
            conv,
            source: &x.data[(image * layer.channel_groups + channel_group) * n..][..n],
            size: [h, w],
            kernel: [weight[2], weight[3]],
        }
    }

    fn copy(&self, oy: usize, ox: usize, out: &mut [f32]) {
        let [h, w] = self.size;
        let [kh, kw] = self.kernel;
        let conv = self.conv;
        for (plane, out) in self
            .source
            .chunks_exact(h * w)
            .zip(out.chunks_exact_mut(kh * kw))
        {
            for ky in 0..kh {
                let iy = (oy * conv.strides[0] + ky * conv.dilations[0]).wrapping_sub(conv.pads[0]);
                for kx in 0..kw {
                    let ix =
                        (ox * conv.strides[1] + kx * conv.dilations[1]).wrapping_sub(conv.pads[1]);
                    out[ky * kw + kx] = match iy < h && ix < w {
                        true => plane[iy * w + ix],
                        false => 0.0,
                    };
                }
            }
        }
    }
}
