//! The graph with the masks, weights, scales and biases that were found.

use crate::layers::Layer;
use crate::masks;
use crate::ranking::RankedBlocks;
use crate::recipe::Recipe;
use crate::statistics::ChannelMap;
use condensec_ir::ops::BatchNorm;
use condensec_ir::sparsity::LevelMask;
use condensec_ir::tensor::{LevelRule, Tensor};
use condensec_ir::{Graph, Op, TensorId};
use std::borrow::Cow;

/// What was found for a layer.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub layer: Layer,
    /// `[rows, columns]`
    pub weights: Vec<f32>,
    /// First level of every weight; `None` for a layer that stays dense.
    pub level_of: Option<Vec<u8>>,
    /// Shape of the mask's blocks, over the weight's axes.
    pub block: Vec<usize>,
    pub is_regrouped: bool,
    /// `scale * product + bias` per level; empty if nothing was matched.
    pub maps: Vec<ChannelMap>,
}

impl Settled {
    /// The trained weights under the masks of `ranked`.
    pub fn by_mask(
        graph: &Graph,
        layer: &Layer,
        ranked: Option<&RankedBlocks>,
        recipe: &Recipe,
    ) -> Self {
        let weight = graph.tensor(layer.weight);
        let is_regrouped = ranked.is_some_and(|ranked| ranked.is_regrouped);
        // Blocks end with their channel group, those of a mask's grid would not.
        let is_off_grid =
            layer.channel_groups > 1 && !layer.rows_per_group().is_multiple_of(recipe.block.rows());
        let axes = weight.shape.iter().enumerate();
        let size = |(axis, size): (usize, &usize)| match axis {
            0 if is_regrouped || is_off_grid => 1,
            _ => recipe.block.size(axis).min(*size),
        };
        Self {
            layer: layer.clone(),
            weights: weight.data.to_vec(),
            level_of: ranked.map(|ranked| masks::levels(layer, ranked, &recipe.densities)),
            block: axes.map(size).collect(),
            is_regrouped,
            maps: Vec::new(),
        }
    }

    /// The weights that `level` keeps.
    pub fn weights_at(&self, level: usize) -> Cow<'_, [f32]> {
        match &self.level_of {
            None => Cow::Borrowed(&self.weights),
            Some(level_of) => self
                .weights
                .iter()
                .zip(level_of)
                .map(|(&w, &v)| if usize::from(v) <= level { w } else { 0.0 })
                .collect(),
        }
    }

    /// Whether `level` computes with the trained weights, all of them.
    pub fn is_dense_at(&self, level: usize, trained: &[f32]) -> bool {
        let is_full = self
            .level_of
            .as_ref()
            .is_none_or(|level_of| level_of.iter().all(|&v| usize::from(v) <= level));
        is_full && self.weights == trained
    }
}

/// The layer's own bias, zeros if it has none.
pub(crate) fn bias(graph: &Graph, layer: &Layer) -> Vec<f32> {
    layer.bias(graph).map_or_else(
        || vec![0.0; layer.rows],
        |bias| graph.tensor(bias).data.to_vec(),
    )
}

fn norm<'g>(graph: &'g Graph, layer: &Layer) -> Option<&'g BatchNorm> {
    match &graph.node(layer.end).op {
        Op::BatchNorm(norm) => Some(norm),
        _ => None,
    }
}

/// `map` followed by the layer's batch norm with its trained parameters.
pub(crate) fn through_norm(graph: &Graph, layer: &Layer, map: &ChannelMap) -> ChannelMap {
    let Some(norm) = norm(graph, layer) else {
        return map.clone();
    };
    let factors = layer.norm_factors(graph);
    let (mean, beta) = (&graph.tensor(norm.mean).data, &graph.tensor(norm.bias).data);
    ChannelMap {
        scale: map.scale.iter().zip(&factors).map(|(s, f)| s * f).collect(),
        bias: (0..layer.rows)
            .map(|row| factors[row] * (map.bias[row] - mean[row]) + beta[row])
            .collect(),
    }
}

/// The graph with levels.
pub(crate) fn rewrite(graph: &Graph, recipe: &Recipe, settled: Vec<Settled>) -> Graph {
    let mut graph = graph.clone();
    graph.n_levels = recipe.n_levels() as u32;
    for layer in settled {
        let own_bias = bias(&graph, &layer.layer);
        let is_identity = layer
            .maps
            .iter()
            .all(|map| *map == ChannelMap::identity(&own_bias));
        let mut weights = layer.weights;
        if !is_identity {
            match norm(&graph, &layer.layer).cloned() {
                Some(norm) => set_norm(&mut graph, &layer.layer, &norm, &layer.maps, &own_bias),
                None => set_epilogue(&mut graph, &layer.layer, &layer.maps, &mut weights),
            }
        }
        let id = layer.layer.weight;
        let tensor = graph.tensor(id);
        let rule = match layer.level_of {
            Some(level_of) => LevelRule::Masked(LevelMask::new(level_of, &layer.block)),
            None => LevelRule::Shared,
        };
        let tensor = Tensor {
            data: weights.into(),
            rule,
            ..tensor.clone()
        };
        graph.set_tensor(id, tensor);
    }
    graph
}

/// Levels in the batch norm: `gamma s ((z + b0) - mean) / sigma + beta'` is the map, then the trained
/// batch norm, where `b0` is the layer's own bias.
fn set_norm(
    graph: &mut Graph,
    layer: &Layer,
    norm: &BatchNorm,
    maps: &[ChannelMap],
    own_bias: &[f32],
) {
    let factors = layer.norm_factors(graph);
    let gamma = graph.tensor(norm.scale).data.clone();
    let beta = graph.tensor(norm.bias).data.clone();
    let mean = graph.tensor(norm.mean).data.clone();
    let mut scales = Vec::with_capacity(maps.len() * layer.rows);
    let mut biases = Vec::with_capacity(maps.len() * layer.rows);
    for map in maps {
        for row in 0..layer.rows {
            let (s, b) = (map.scale[row], map.bias[row]);
            scales.push(gamma[row] * s);
            let moved = (b - mean[row]) - s * (own_bias[row] - mean[row]);
            biases.push(beta[row] + factors[row] * moved);
        }
    }
    set_rows(graph, norm.scale, scales);
    set_rows(graph, norm.bias, biases);
}

/// Levels in the layer's own scale and bias. The top level's scale goes into the weights, so that the
/// plain file means the top level.
fn set_epilogue(graph: &mut Graph, layer: &Layer, maps: &[ChannelMap], weights: &mut [f32]) {
    let top = &maps[maps.len() - 1].scale;
    for (row, scale) in weights.chunks_exact_mut(layer.columns).zip(top) {
        row.iter_mut().for_each(|w| *w *= scale);
    }
    let scales: Vec<f32> = maps
        .iter()
        .flat_map(|map| map.scale.iter().zip(top).map(|(s, top)| s / top))
        .collect();
    let biases: Vec<f32> = maps.iter().flat_map(|map| map.bias.clone()).collect();
    let name = graph.tensor(layer.weight).name.clone();
    let rows = [layer.rows];
    let scale = Tensor::per_level(format!("{name}__scale"), &rows, scales);
    let scale = graph.add_tensor(scale);
    let bias = match layer.bias(graph) {
        Some(bias) => {
            set_rows(graph, bias, biases);
            bias
        }
        None => {
            let bias = Tensor::per_level(format!("{name}__bias"), &rows, biases);
            graph.add_tensor(bias)
        }
    };
    layer.set_epilogue(graph, scale, bias);
}

fn set_rows(graph: &mut Graph, id: TensorId, rows: Vec<f32>) {
    let tensor = Tensor {
        data: rows.into(),
        rule: LevelRule::PerLevel,
        ..graph.tensor(id).clone()
    };
    graph.set_tensor(id, tensor);
}
