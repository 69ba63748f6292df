//! Channel statistics of operating points, matched to those of the levels they are made of.
//!
//! The parameters of a layer at level `l` suit inputs of that level. At an operating point the layers before it run
//! at other levels, so mean and deviation of its results are a little off; a scale and a bias per channel and
//! point put them back to what they are at level `l` of the supernet. That holds for supernets whose levels imitate
//! the dense network as for those that were trained.

use crate::layers::Layer;
use crate::points::{Assignment, MaskedLayers};
use crate::recipe::{Calibration, NestError};
use crate::results::ResultLayout;
use crate::states;
use crate::statistics::{ChannelMap, ChannelStatistics};
use crate::walk::Progress;
use condensec_ir::eval::{Array, EvalContext};
use condensec_ir::ops::LayerParameters;
use condensec_ir::tensor::Tensor;
use condensec_ir::{Graph, LevelId, NodeId, Op, TensorId};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Changes smaller than this are rounding.
const NEGLIGIBLE: f32 = 1e-6;

/// Matches the statistics of `planned`, which [`crate::with_points`] made of `supernet` and `points`.
///
/// # Errors
/// [`NestError::NoCalibration`], [`NestError::InputShape`], [`NestError::NotFinite`].
pub fn rematch(
    planned: &mut Graph,
    supernet: &Graph,
    points: &[Assignment],
    calibration: &Calibration,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), NestError> {
    calibration.check(supernet)?;
    let total = supernet.n_levels as usize + points.len();
    // Statistics at every level, by the name of the node.
    let mut targets: Vec<HashMap<String, ChannelStatistics>> = Vec::new();
    for level in (0..supernet.n_levels).map(LevelId) {
        let mut found = HashMap::new();
        run(supernet, level, calibration, &mut |end, layer, results| {
            let statistics = ChannelStatistics::of(supernet, layer, results);
            found.insert(supernet.node(end).name.clone(), statistics);
        });
        targets.push(found);
        let done = targets.len();
        progress(Progress { done, total });
    }
    let layers = MaskedLayers::of(supernet);
    let layer_of: HashMap<&str, usize> = supernet
        .order()
        .into_iter()
        .map(|node| (supernet.node(node).name.as_str(), layers.followed_by(node)))
        .collect();
    let n_uses = n_uses(planned);
    let mut maps: BTreeMap<NodeId, (Layer, Vec<ChannelMap>)> = BTreeMap::new();
    for (at, point) in points.iter().enumerate() {
        let graph = &*planned;
        run(
            graph,
            LevelId(at as u32),
            calibration,
            &mut |end, layer, results| {
                let name = graph.node(end).name.as_str();
                let level = layer_of.get(name).map(|&layer| point[layer]);
                let map = match level.and_then(|level| targets[level].get(name)) {
                    // What other layers read, too, cannot be changed for one of them.
                    Some(target) if parameters(graph, layer).iter().all(|id| n_uses[id] == 1) => {
                        let found = ChannelStatistics::of(graph, layer, results);
                        ChannelMap::matching(&found, target, &target.mean)
                    }
                    _ => ChannelMap::identity(&vec![0.0; layer.rows]),
                };
                ResultLayout::new(graph, layer).apply(&map, results);
                let entry = maps
                    .entry(end)
                    .or_insert_with(|| (layer.clone(), Vec::new()));
                entry.1.push(map);
            },
        );
        let done = targets.len() + at + 1;
        progress(Progress { done, total });
    }
    for (end, (layer, maps)) in maps {
        let is_off = |map: &ChannelMap| {
            let scale = map.scale.iter().any(|s| (s - 1.0).abs() > NEGLIGIBLE);
            scale || map.bias.iter().any(|b| b.abs() > NEGLIGIBLE)
        };
        if maps.iter().any(is_off) {
            add_maps(planned, &layer, end, &maps);
        }
    }
    Ok(())
}

/// Runs all samples at one level. `visit` gets the results of every layer, behind its batch norm if it has one, and may
/// change them.
fn run(
    graph: &Graph,
    level: LevelId,
    calibration: &Calibration,
    visit: &mut dyn FnMut(NodeId, &Layer, &mut [Array]),
) {
    let mut values: HashMap<NodeId, Vec<Array>> = HashMap::new();
    let mut n_reads: HashMap<NodeId, usize> = HashMap::new();
    for (&node, samples) in graph.inputs().iter().zip(&calibration.inputs) {
        values.insert(node, samples.clone());
    }
    // Layers whose end, a batch norm, is still to come.
    let mut waiting: HashMap<NodeId, Layer> = HashMap::new();
    for node in graph.order() {
        n_reads.insert(node, graph.users(node).len());
        if matches!(graph.node(node).op, Op::Input(_)) {
            continue;
        }
        let operands = graph.operands(node);
        let layer = Layer::plain(graph, node);
        let mut results = match &layer {
            Some(layer) => layer_results(graph, layer, level, &values[&operands[0]]),
            None => node_results(graph, node, level, calibration.n_samples(), &|operand| {
                &values[&operand]
            }),
        };
        if let Some(layer) = layer {
            match layer.end == node {
                true => visit(node, &layer, &mut results),
                false => {
                    waiting.insert(layer.end, layer);
                }
            }
        } else if let Some(layer) = waiting.remove(&node) {
            visit(node, &layer, &mut results);
        }
        values.insert(node, results);
        for operand in operands {
            let n = n_reads.get_mut(&operand).expect("operands come first");
            *n -= 1;
            if *n == 0 {
                values.remove(&operand);
            }
        }
    }
}

fn layer_results(graph: &Graph, layer: &Layer, level: LevelId, inputs: &[Array]) -> Vec<Array> {
    let weights = graph.tensor(layer.weight).at_level(level);
    let mut results = states::products(graph, layer, &weights, inputs);
    let (scale, bias) = epilogue(graph, layer.node);
    let row = |id: Option<TensorId>, default: f32| match id {
        Some(id) => graph.tensor(id).at_level(level).into_owned(),
        None => vec![default; layer.rows],
    };
    let map = ChannelMap {
        scale: row(scale, 1.0),
        bias: row(bias, 0.0),
    };
    ResultLayout::new(graph, layer).apply(&map, &mut results);
    results
}

fn node_results<'v>(
    graph: &Graph,
    node: NodeId,
    level: LevelId,
    n_samples: usize,
    values: &(dyn Fn(NodeId) -> &'v Vec<Array> + Sync),
) -> Vec<Array> {
    let operands = graph.operands(node);
    let operands: Vec<&Vec<Array>> = operands.iter().map(|&operand| values(operand)).collect();
    let node = graph.node(node);
    let one = |sample: usize| {
        let arrays: Vec<&Array> = operands.iter().map(|values| &values[sample]).collect();
        let ctx = EvalContext {
            tensors: graph.tensors(),
            level,
            shape: &node.shape,
        };
        node.op.eval(&arrays, &ctx)
    };
    (0..n_samples).into_par_iter().map(one).collect()
}

/// How many nodes read each tensor.
fn n_uses(graph: &Graph) -> HashMap<TensorId, usize> {
    let mut counts = HashMap::new();
    for node in graph.order() {
        for tensor in graph.node(node).op.tensors() {
            *counts.entry(tensor).or_default() += 1;
        }
    }
    counts
}

/// What [`add_maps`] changes, and the weight, whose name new parameters get.
fn parameters(graph: &Graph, layer: &Layer) -> Vec<TensorId> {
    let (scale, bias) = match &graph.node(layer.end).op {
        Op::BatchNorm(norm) => (Some(norm.scale), Some(norm.bias)),
        _ => epilogue(graph, layer.node),
    };
    [Some(layer.weight), scale, bias]
        .into_iter()
        .flatten()
        .collect()
}

/// Scale and bias of a layer.
fn epilogue(graph: &Graph, node: NodeId) -> (Option<TensorId>, Option<TensorId>) {
    let parameters = LayerParameters::of(&graph.node(node).op);
    parameters.map_or((None, None), |p| (p.scale, p.bias))
}

/// Puts one map per level behind what the graph has there already, into the batch norm or the layer itself.
fn add_maps(graph: &mut Graph, layer: &Layer, end: NodeId, maps: &[ChannelMap]) {
    let name = graph.tensor(layer.weight).name.clone();
    let (scale, bias) = match &graph.node(end).op {
        Op::BatchNorm(norm) => (Some(norm.scale), Some(norm.bias)),
        _ => epilogue(graph, layer.node),
    };
    let rows = |graph: &Graph, id: Option<TensorId>, default: f32| -> Vec<Vec<f32>> {
        let levels = (0..graph.n_levels).map(LevelId);
        levels
            .map(|level| match id {
                Some(id) => graph.tensor(id).at_level(level).into_owned(),
                None => vec![default; layer.rows],
            })
            .collect()
    };
    let mut scales = rows(graph, scale, 1.0);
    let mut biases = rows(graph, bias, 0.0);
    for ((scales, biases), map) in scales.iter_mut().zip(&mut biases).zip(maps) {
        for row in 0..layer.rows {
            scales[row] *= map.scale[row];
            biases[row] = biases[row] * map.scale[row] + map.bias[row];
        }
    }
    let mut set = |id: Option<TensorId>, name: String, rows: Vec<Vec<f32>>| -> TensorId {
        let tensor = Tensor::per_level(name, &[layer.rows], rows.concat());
        match id {
            Some(id) => {
                let name = graph.tensor(id).name.clone();
                graph.set_tensor(id, Tensor { name, ..tensor });
                id
            }
            None => graph.add_tensor(tensor),
        }
    };
    let scale = set(scale, format!("{name}__scale"), scales);
    let bias = set(bias, format!("{name}__bias"), biases);
    if layer.end == layer.node {
        layer.set_epilogue(graph, scale, bias);
    }
}
