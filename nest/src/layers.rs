//! The layers of a graph: nodes with a constant weight, and what stands behind them.

use crate::recipe::Recipe;
use condensec_ir::ops::{BinaryKind, Conv2d, LayerParameters};
use condensec_ir::tensor::LevelRule;
use condensec_ir::{Graph, NodeId, Op, TensorId};
use std::collections::HashSet;

/// A convolution or a fully connected layer, with the batch norm behind it.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// The convolution or fully connected node.
    pub node: NodeId,
    /// The batch norm behind it, or the node itself.
    pub end: NodeId,
    /// `[rows, ..]`
    pub weight: TensorId,
    /// Output channels.
    pub rows: usize,
    /// Weights of a row.
    pub columns: usize,
    /// Channel groups of a convolution.
    pub channel_groups: usize,
    /// Whether every group has one input channel.
    pub is_depthwise: bool,
    /// What is added to the result behind `end`, if anything.
    pub shortcut: Option<NodeId>,
    /// Whether weights are dropped; the rest stays dense.
    pub is_pruned: bool,
}

impl Layer {
    /// The layer at `node`, if its weight and bias are shared by all levels, and its own.
    fn at(graph: &Graph, node: NodeId, uses: &dyn Fn(TensorId) -> usize) -> Option<Self> {
        let LayerParameters {
            weight,
            scale,
            bias,
            residual,
            activation,
        } = LayerParameters::of(&graph.node(node).op)?;
        let is_plain = scale.is_none() && !residual && activation.is_none();
        // What other nodes read, too, cannot be changed for one of them.
        let is_own = uses(weight) == 1 && bias.is_none_or(|bias| uses(bias) == 1);
        if !is_plain || !is_own || !matches!(graph.tensor(weight).rule, LevelRule::Shared) {
            return None;
        }
        let layer = Self::plain(graph, node)?;
        let end = match &graph.node(layer.end).op {
            Op::BatchNorm(norm) if uses(norm.scale) == 1 && uses(norm.bias) == 1 => layer.end,
            _ => node,
        };
        Some(Self {
            end,
            shortcut: shortcut(graph, end),
            ..layer
        })
    }

    /// The layer at `node` as it computes, with the batch norm that is all that reads it. Unlike those that
    /// [`find`] finds it may have parameters per level and share them with others.
    pub fn plain(graph: &Graph, node: NodeId) -> Option<Self> {
        let op = &graph.node(node).op;
        let weight = LayerParameters::of(op)?.weight;
        let channel_groups = match op {
            Op::Conv2d(conv) => conv.groups,
            _ => 1,
        };
        let is_norm = |user: &NodeId| {
            matches!(graph.node(*user).op, Op::BatchNorm(_)) && channel_axis(graph, node) == 1
        };
        let shape = &graph.tensor(weight).shape;
        Some(Self {
            node,
            end: graph.sole_user(node).filter(is_norm).unwrap_or(node),
            weight,
            rows: shape[0],
            columns: shape[1..].iter().product(),
            channel_groups,
            is_depthwise: channel_groups > 1 && shape[1] == 1,
            shortcut: None,
            is_pruned: false,
        })
    }

    /// Rows of one channel group.
    pub fn rows_per_group(&self) -> usize {
        self.rows / self.channel_groups
    }

    /// What is added to every row.
    pub fn bias(&self, graph: &Graph) -> Option<TensorId> {
        LayerParameters::of(&graph.node(self.node).op)?.bias
    }

    /// Gives the layer another scale and bias.
    pub fn set_epilogue(&self, graph: &mut Graph, scale: TensorId, bias: TensorId) {
        let op = &mut graph.node_mut(self.node).op;
        let parameters = LayerParameters::of(op).expect("a layer has parameters");
        let parameters = LayerParameters {
            scale: Some(scale),
            bias: Some(bias),
            ..parameters
        };
        parameters.write_to(op);
    }

    /// The convolution, unless it is a fully connected layer.
    pub fn conv<'g>(&self, graph: &'g Graph) -> Option<&'g Conv2d> {
        match &graph.node(self.node).op {
            Op::Conv2d(conv) => Some(conv),
            _ => None,
        }
    }

    /// Factor of every row between the layer and the node behind its batch norm.
    pub fn norm_factors(&self, graph: &Graph) -> Vec<f32> {
        match &graph.node(self.end).op {
            Op::BatchNorm(norm) => {
                let scale = &graph.tensor(norm.scale).data;
                let var = &graph.tensor(norm.var).data;
                let factor = |(s, v): (&f32, &f32)| s / (v + norm.epsilon).sqrt();
                scale.iter().zip(var.iter()).map(factor).collect()
            }
            _ => vec![1.0; self.rows],
        }
    }
}

/// Axis of the output channels in the result of a layer.
pub(crate) fn channel_axis(graph: &Graph, node: NodeId) -> usize {
    match graph.node(node).op {
        Op::FullyConnected(_) => graph.node(node).shape.len() - 1,
        _ => 1,
    }
}

/// The other operand of an addition that is all that reads `end`.
fn shortcut(graph: &Graph, end: NodeId) -> Option<NodeId> {
    let add = graph.sole_user(end)?;
    match &graph.node(add).op {
        Op::Binary(binary) if binary.kind == BinaryKind::Add => {}
        _ => return None,
    }
    let operands = graph.operands(add);
    let other = *operands.iter().find(|&&operand| operand != end)?;
    let same_shape = graph.node(other).shape == graph.node(end).shape;
    let is_constant = matches!(graph.node(other).op, Op::Constant(_));
    (same_shape && !is_constant).then_some(other)
}

/// All layers, in order of execution.
pub(crate) fn find(graph: &Graph, recipe: &Recipe) -> Vec<Layer> {
    let order = graph.order();
    let mut counts = vec![0; graph.tensors().len()];
    for &node in &order {
        for tensor in graph.node(node).op.tensors() {
            counts[tensor.0 as usize] += 1;
        }
    }
    let uses = |tensor: TensorId| counts[tensor.0 as usize];
    let mut layers: Vec<Layer> = order
        .iter()
        .filter(|node| !recipe.fixed_layers.contains(node))
        .filter_map(|&node| Layer::at(graph, node, &uses))
        .collect();
    let nodes: HashSet<NodeId> = layers.iter().map(|layer| layer.node).collect();

    // Layers before each node: those without are the first, those that no other follows the last.
    let mut has_before: HashSet<NodeId> = HashSet::new();
    for &node in &order {
        let operands = graph.operands(node);
        if operands
            .iter()
            .any(|o| nodes.contains(o) || has_before.contains(o))
        {
            has_before.insert(node);
        }
    }
    let mut has_after: HashSet<NodeId> = HashSet::new();
    for &node in order.iter().rev() {
        let users = graph.users(node);
        if users
            .iter()
            .any(|(user, _)| nodes.contains(user) || has_after.contains(user))
        {
            has_after.insert(node);
        }
    }
    for layer in &mut layers {
        let is_inner = has_before.contains(&layer.node) && has_after.contains(&layer.node);
        let is_named = recipe.dense_layers.contains(&layer.node);
        layer.is_pruned = is_inner && !is_named && !layer.is_depthwise && layer.columns > 1;
    }
    layers
}
