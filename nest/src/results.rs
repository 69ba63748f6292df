//! The results of a layer by row and position, whatever the layer is: `[.., rows, plane]` with one pixel
//! per plane behind a fully connected layer.

use crate::layers::Layer;
use crate::statistics::ChannelMap;
use condensec_ir::Graph;
use condensec_ir::eval::Array;
use rayon::prelude::*;
use std::sync::Arc;

/// How the elements of a layer's result lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResultLayout {
    rows: usize,
    plane: usize,
}

impl ResultLayout {
    pub fn new(graph: &Graph, layer: &Layer) -> Self {
        let plane = match layer.conv(graph) {
            Some(_) => graph.node(layer.node).shape[2..].iter().product(),
            None => 1,
        };
        let rows = layer.rows;
        Self { rows, plane }
    }

    /// The result's element; positions count the pixels of all images.
    pub fn at(self, result: &Array, row: usize, position: usize) -> f32 {
        let (image, pixel) = (position / self.plane, position % self.plane);
        result.data[(image * self.rows + row) * self.plane + pixel]
    }

    /// The pixels of one row after the other, with the row.
    pub fn planes(self, result: &Array) -> impl Iterator<Item = (usize, &[f32])> {
        let planes = result.data.chunks_exact(self.plane).enumerate();
        planes.map(move |(at, plane)| (at % self.rows, plane))
    }

    /// Applies a map per row to every sample, in place.
    pub fn apply(self, map: &ChannelMap, results: &mut [Array]) {
        results.par_iter_mut().for_each(|result| {
            for (at, plane) in result.data.chunks_exact_mut(self.plane).enumerate() {
                let (scale, bias) = (map.scale[at % self.rows], map.bias[at % self.rows]);
                let map = |value: &mut f32| *value = *value * scale + bias;
                plane.iter_mut().for_each(map);
            }
        });
    }

    /// `target += (a - b) * factor`, one factor per row.
    pub fn add_difference(
        self,
        target: &mut [Array],
        a: &[Arc<Array>],
        b: &[Arc<Array>],
        factors: &[f32],
    ) {
        let operands = a.par_iter().zip(b);
        target
            .par_iter_mut()
            .zip(operands)
            .for_each(|(target, (a, b))| {
                let planes = a
                    .data
                    .chunks_exact(self.plane)
                    .zip(b.data.chunks_exact(self.plane));
                let targets = target.data.chunks_exact_mut(self.plane);
                for (at, (target, (a, b))) in targets.zip(planes).enumerate() {
                    let factor = factors[at % self.rows];
                    for (value, (a, b)) in target.iter_mut().zip(a.iter().zip(b)) {
                        *value += (a - b) * factor;
                    }
                }
            });
    }
}
