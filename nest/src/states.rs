//! The values of a graph's nodes in the dense network and at every level, over all samples.
//!
//! Values are made in order of execution and dropped behind their last reader. Before the first layer
//! that differs all levels share the values of the dense network.

use crate::layers::Layer;
use crate::patches;
use crate::recipe::Calibration;
use condensec_ir::eval::{Array, EvalContext};
use condensec_ir::ops::Conv2d;
use condensec_ir::tensor::{LevelId, Tensor};
use condensec_ir::{Graph, NodeId, Op, TensorId};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// One array per sample.
pub(crate) type Samples = Arc<Vec<Array>>;

/// Values of one node.
#[derive(Debug, Clone)]
pub(crate) struct NodeValues {
    /// In the dense network.
    pub dense: Samples,
    /// At every level.
    pub levels: Vec<Samples>,
}

/// The values that somebody still reads.
#[derive(Debug)]
pub(crate) struct States<'g> {
    graph: &'g Graph,
    n_levels: usize,
    n_samples: usize,
    values: HashMap<NodeId, NodeValues>,
    /// Reads that are still to come.
    n_reads: HashMap<NodeId, usize>,
}

impl<'g> States<'g> {
    /// The graph's inputs.
    pub fn new(graph: &'g Graph, calibration: Calibration, n_levels: usize) -> Self {
        let reads = |node: NodeId| (node, graph.users(node).len());
        let mut states = Self {
            graph,
            n_levels,
            n_samples: calibration.n_samples(),
            values: HashMap::new(),
            n_reads: graph.order().into_iter().map(reads).collect(),
        };
        for (&node, samples) in graph.inputs().iter().zip(calibration.inputs) {
            states.set_shared(node, samples);
        }
        states
    }

    /// The value of an operand.
    pub fn get(&self, node: NodeId) -> &NodeValues {
        &self.values[&node]
    }

    /// Whether the value of `node` is at hand.
    pub fn has(&self, node: NodeId) -> bool {
        self.values.contains_key(&node)
    }

    fn set_shared(&mut self, node: NodeId, samples: Vec<Array>) {
        let dense = Arc::new(samples);
        let levels = vec![dense.clone(); self.n_levels];
        self.set(node, NodeValues { dense, levels });
    }

    /// Sets the value of a node; nobody may read it.
    pub fn set(&mut self, node: NodeId, values: NodeValues) {
        if self.n_reads.get(&node).copied().unwrap_or(0) > 0 {
            self.values.insert(node, values);
        }
    }

    /// Says that `node` has read its operands.
    pub fn release_operands(&mut self, node: NodeId) {
        for operand in self.graph.operands(node) {
            let Some(n) = self.n_reads.get_mut(&operand) else {
                continue;
            };
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.values.remove(&operand);
            }
        }
    }

    /// Evaluates a node that is the same at all levels.
    pub fn eval(&mut self, node: NodeId) {
        let operands = self.graph.operands(node);
        let eval = |pick: &dyn Fn(&NodeValues) -> Samples| -> Samples {
            let samples: Vec<Samples> = operands.iter().map(|o| pick(&self.values[o])).collect();
            let one = |sample: usize| {
                let arrays: Vec<&Array> = samples.iter().map(|s| &s[sample]).collect();
                self.eval_op(node, &arrays)
            };
            Arc::new((0..self.n_samples).into_par_iter().map(one).collect())
        };
        let dense = eval(&|values| values.dense.clone());
        let is_dense = |level: usize| {
            let same = |o: &NodeId| {
                let values = &self.values[o];
                Arc::ptr_eq(&values.levels[level], &values.dense)
            };
            operands.iter().all(same)
        };
        let levels = (0..self.n_levels)
            .map(|level| match is_dense(level) {
                true => dense.clone(),
                false => eval(&|values| values.levels[level].clone()),
            })
            .collect();
        self.set(node, NodeValues { dense, levels });
        self.release_operands(node);
    }

    fn eval_op(&self, node: NodeId, arrays: &[&Array]) -> Array {
        let node = self.graph.node(node);
        let ctx = EvalContext {
            tensors: self.graph.tensors(),
            level: LevelId(0),
            shape: &node.shape,
        };
        node.op.eval(arrays, &ctx)
    }
}

/// `weights * x` for every sample, without bias; arrays of the shape of the layer's result.
pub(crate) fn products(
    graph: &Graph,
    layer: &Layer,
    weights: &[f32],
    inputs: &[Array],
) -> Vec<Array> {
    inputs
        .par_iter()
        .map(|x| product(graph, layer, weights, x))
        .collect()
}

fn product(graph: &Graph, layer: &Layer, weights: &[f32], x: &Array) -> Array {
    let shape = &graph.node(layer.node).shape;
    let mut y = Array::zeros(shape);
    let matrix = MatRef::from_row_major_slice(weights, layer.rows, layer.columns);
    match layer.conv(graph) {
        None => {
            let n = y.data.len() / layer.rows;
            let x = MatRef::from_column_major_slice(&x.data, layer.columns, n);
            let out = MatMut::from_column_major_slice_mut(&mut y.data, layer.rows, n);
            matmul(out, Accum::Replace, matrix, x, 1.0, Par::Seq);
        }
        Some(conv) if layer.channel_groups == 1 => {
            let n = shape[2] * shape[3];
            for (image, out) in y.data.chunks_exact_mut(layer.rows * n).enumerate() {
                let x = patches::image(graph, layer, conv, x, image);
                let x = MatRef::from_row_major_slice(&x, layer.columns, n);
                let out = MatMut::from_row_major_slice_mut(out, layer.rows, n);
                matmul(out, Accum::Replace, matrix, x, 1.0, Par::Seq);
            }
        }
        // Products of many small channel groups are not worth a matrix.
        Some(conv) => {
            let weight = &graph.tensor(layer.weight);
            let tensors = [Tensor::shared(&weight.name, &weight.shape, weights)];
            let op = Op::Conv2d(Conv2d {
                weight: TensorId(0),
                bias: None,
                ..conv.clone()
            });
            let ctx = EvalContext {
                tensors: &tensors,
                level: LevelId(0),
                shape,
            };
            y = op.eval(&[x], &ctx);
        }
    }
    y
}
