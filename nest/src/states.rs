//! The values of a graph's nodes in the dense network and at every level, over all samples.
//!
//! Every level goes its own way through the graph, one after the other and the dense network last: behind a
//! layer a level takes all steps to the next layer before the next level takes any, so that only one of them
//! holds more than what later layers read. A level goes with the dense network until it first differs.

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
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

/// One array per sample. What nobody reads any more goes sample by sample, before the last result is there.
pub(crate) type Samples = Vec<Arc<Array>>;

/// The values that somebody still reads, in one network.
#[derive(Debug, Clone)]
struct Values<'g> {
    graph: &'g Graph,
    of: HashMap<NodeId, Samples>,
    /// Reads that are still to come.
    n_reads: HashMap<NodeId, usize>,
}

impl Values<'_> {
    /// Sets the value of a node; nobody may read it.
    fn set(&mut self, node: NodeId, samples: Samples) {
        if self.n_reads[&node] > 0 {
            self.of.insert(node, samples);
        }
    }

    /// The operands of a node that reads them now, out of the store where it is the last to do so.
    fn read_operands(&mut self, node: NodeId) -> Vec<Samples> {
        let read = |operand: NodeId| {
            let n = self.n_reads.get_mut(&operand).expect("operands come first");
            *n -= 1;
            let is_last = *n == 0;
            let samples = match is_last {
                true => self.of.remove(&operand),
                false => self.of.get(&operand).cloned(),
            };
            samples.expect("values stay until they are read")
        };
        self.graph.operands(node).into_iter().map(read).collect()
    }

    /// Evaluates a node that is the same at all levels.
    fn eval(&mut self, node: NodeId, n_samples: usize) {
        let mut samples: Vec<Samples> = vec![Vec::new(); n_samples];
        for operand in self.read_operands(node) {
            for (arrays, array) in samples.iter_mut().zip(operand) {
                arrays.push(array);
            }
        }
        let one = |arrays: Samples| {
            let arrays: Vec<&Array> = arrays.iter().map(Arc::as_ref).collect();
            let node = self.graph.node(node);
            let ctx = EvalContext {
                tensors: self.graph.tensors(),
                level: LevelId(0),
                shape: &node.shape,
            };
            Arc::new(node.op.eval(&arrays, &ctx))
        };
        let results = samples.into_par_iter().map(one).collect();
        self.set(node, results);
    }
}

/// The values in the dense network and at every level.
#[derive(Debug)]
pub(crate) struct States<'g> {
    n_samples: usize,
    dense: Values<'g>,
    /// `None` for levels that do not differ from the dense network so far.
    levels: Vec<Option<Values<'g>>>,
}

impl<'g> States<'g> {
    /// The graph's inputs.
    pub fn new(graph: &'g Graph, calibration: Calibration, n_levels: usize) -> Self {
        let n_samples = calibration.n_samples();
        let reads = |node: NodeId| (node, graph.users(node).len());
        let share = |samples: Vec<Array>| samples.into_iter().map(Arc::new).collect();
        let inputs = calibration.inputs.into_iter().map(share);
        let dense = Values {
            graph,
            of: graph.inputs().iter().copied().zip(inputs).collect(),
            n_reads: graph.order().into_iter().map(reads).collect(),
        };
        Self {
            n_samples,
            dense,
            levels: vec![None; n_levels],
        }
    }

    /// The value of an operand in the dense network.
    pub fn dense(&self, node: NodeId) -> &Samples {
        &self.dense.of[&node]
    }

    /// The value of an operand at a level.
    pub fn level(&self, level: usize, node: NodeId) -> &Samples {
        &self.levels[level].as_ref().unwrap_or(&self.dense).of[&node]
    }

    /// Whether a level has the value of the dense network.
    pub fn is_dense(&self, level: usize, node: NodeId) -> bool {
        let mut pairs = self.level(level, node).iter().zip(self.dense(node));
        pairs.all(|(level, dense)| Arc::ptr_eq(level, dense))
    }

    /// Whether the value of `node` is at hand.
    pub fn has(&self, node: NodeId) -> bool {
        self.dense.of.contains_key(&node)
    }

    /// Evaluates nodes in the dense network, and at all levels that go with it.
    pub fn eval(&mut self, nodes: &[NodeId]) {
        for &node in nodes {
            self.dense.eval(node, self.n_samples);
        }
    }

    /// Sets the result of a layer at a level and evaluates the nodes behind it. The dense network must not have
    /// come this far.
    pub fn pass_level(&mut self, level: usize, layer: &Layer, result: Samples, behind: &[NodeId]) {
        let values = self.levels[level].get_or_insert_with(|| self.dense.clone());
        values.read_operands(layer.node);
        values.set(layer.end, result);
        for &node in behind {
            values.eval(node, self.n_samples);
        }
    }

    /// The same for a level whose result is that of the dense network.
    pub fn pass_level_dense(
        &mut self,
        level: usize,
        layer: &Layer,
        result: &Samples,
        behind: &[NodeId],
    ) {
        if self.levels[level].is_some() {
            self.pass_level(level, layer, result.clone(), behind);
        }
    }

    /// Sets the result of a layer in the dense network and evaluates the nodes behind it.
    pub fn pass_dense(&mut self, layer: &Layer, result: Samples, behind: &[NodeId]) {
        self.dense.read_operands(layer.node);
        self.dense.set(layer.end, result);
        self.eval(behind);
    }
}

/// `weights * x` for every sample, without bias; arrays of the shape of the layer's result.
pub(crate) fn products(
    graph: &Graph,
    layer: &Layer,
    weights: &[f32],
    inputs: &[impl Borrow<Array> + Sync],
) -> Vec<Array> {
    inputs
        .par_iter()
        .map(|x| product(graph, layer, weights, x.borrow()))
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
