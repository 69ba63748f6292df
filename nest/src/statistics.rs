//! Scale and bias per level and channel that give a level the mean and deviation of the dense network.

use crate::layers::Layer;
use crate::results::ResultLayout;
use crate::sums;
use condensec_ir::Graph;
use condensec_ir::eval::Array;
use rayon::prelude::*;

/// Scales are kept within this factor of one: a channel that is nearly dead at a level is not blown up.
const MAX_SCALE: f64 = 4.0;

/// What makes the deviation `wanted` of the one found.
pub(crate) fn matching_scale(found: f64, wanted: f64) -> f64 {
    match found > 0.0 {
        true => (wanted / found).clamp(1.0 / MAX_SCALE, MAX_SCALE),
        false => 1.0,
    }
}

/// Mean and deviation of every channel.
#[derive(Debug, Clone)]
pub(crate) struct ChannelStatistics {
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
}

impl ChannelStatistics {
    /// Over all samples and positions of `results`.
    pub fn of(graph: &Graph, layer: &Layer, results: &[Array]) -> Self {
        let layout = ResultLayout::new(graph, layer);
        let sums: Vec<Vec<(f64, f64)>> = results
            .par_iter()
            .map(|result| {
                let mut totals = vec![(0.0, 0.0); layer.rows];
                for (row, plane) in layout.planes(result) {
                    let sum = sums::sum(plane, f64::from);
                    let squares = sums::sum(plane, |value| f64::from(value).powi(2));
                    totals[row] = (totals[row].0 + sum, totals[row].1 + squares);
                }
                totals
            })
            .collect();
        let n = (results.len() * results[0].data.len() / layer.rows) as f64;
        let total = |row: usize| {
            let add = |a: (f64, f64), s: &Vec<(f64, f64)>| (a.0 + s[row].0, a.1 + s[row].1);
            sums.iter().fold((0.0, 0.0), add)
        };
        let totals: Vec<(f64, f64)> = (0..layer.rows).map(total).collect();
        let mean: Vec<f64> = totals.iter().map(|(sum, _)| sum / n).collect();
        let deviation = |(row, (_, squares)): (usize, &(f64, f64))| {
            (squares / n - mean[row] * mean[row]).max(0.0).sqrt()
        };
        let deviation = totals.iter().enumerate().map(deviation).collect();
        Self { mean, deviation }
    }
}

/// `scale * product + bias` per channel: what a level makes of a layer's product.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChannelMap {
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
}

impl ChannelMap {
    /// The product as it is.
    pub fn identity(bias: &[f32]) -> Self {
        Self {
            scale: vec![1.0; bias.len()],
            bias: bias.to_vec(),
        }
    }

    /// Deviations of `level` become those of `dense`, means become `target`.
    pub fn matching(level: &ChannelStatistics, dense: &ChannelStatistics, target: &[f64]) -> Self {
        let scale: Vec<f64> = level
            .deviation
            .iter()
            .zip(&dense.deviation)
            .map(|(&level, &dense)| matching_scale(level, dense))
            .collect();
        let bias = |((target, mean), scale): ((&f64, &f64), &f64)| (target - scale * mean) as f32;
        Self {
            bias: target
                .iter()
                .zip(&level.mean)
                .zip(&scale)
                .map(bias)
                .collect(),
            scale: scale.iter().map(|&s| s as f32).collect(),
        }
    }
}
