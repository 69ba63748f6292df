//! The graph and its edits.

use super::{Node, NodeId, Origin, Output};
use crate::layout::Layout;
use crate::ops::{Input, Op};
use crate::tensor::{Tensor, TensorId};
use indexmap::IndexSet;
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use thiserror::Error;

/// An op that does not fit its operands. The caller knows the node and turns it into a diagnostic.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum GraphError {
    /// The op's own rule about operand shapes was broken.
    #[error("{0}")]
    Shape(String),
}

/// A network: nodes, the constants they use, named inputs and outputs, and the number of levels.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// Number of levels, at least 1.
    pub n_levels: u32,
    /// One name per level, L0 first; empty if the model names none.
    pub level_names: Vec<String>,
    dag: StableDiGraph<Node, usize>,
    inputs: Vec<NodeId>,
    outputs: Vec<Output>,
    tensors: Vec<Tensor>,
    names: IndexSet<String>,
}

fn index(id: NodeId) -> NodeIndex {
    NodeIndex::new(id.0 as usize)
}

fn id(index: NodeIndex) -> NodeId {
    NodeId(u32::try_from(index.index()).expect("petgraph indices are u32"))
}

impl Graph {
    /// An empty graph with `n_levels` levels.
    pub fn new(name: impl Into<String>, n_levels: u32) -> Self {
        Self {
            name: name.into(),
            n_levels,
            level_names: Vec::new(),
            dag: StableDiGraph::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            tensors: Vec::new(),
            names: IndexSet::new(),
        }
    }

    /// Adds a graph input of `shape`.
    pub fn add_input(&mut self, name: &str, shape: &[usize]) -> NodeId {
        let node = self.insert(name, Op::Input(Input), shape.to_vec(), Origin::default());
        self.inputs.push(node);
        node
    }

    /// Adds a node; its shape follows from the op and the operands. A name that is taken gets a
    /// number behind it.
    ///
    /// # Errors
    /// [`GraphError::Shape`] if the op does not accept operands of these shapes.
    pub fn add_node(
        &mut self,
        name: &str,
        op: Op,
        operands: &[NodeId],
        origin: Origin,
    ) -> Result<NodeId, GraphError> {
        let shape = self.infer_shape(&op, operands)?;
        let node = self.insert(name, op, shape, origin);
        for (position, &operand) in operands.iter().enumerate() {
            self.dag.add_edge(index(operand), index(node), position);
        }
        Ok(node)
    }

    /// Shape that `op` would have on `operands`.
    ///
    /// # Errors
    /// [`GraphError::Shape`] if the op does not accept operands of these shapes.
    pub fn infer_shape(&self, op: &Op, operands: &[NodeId]) -> Result<Vec<usize>, GraphError> {
        let shapes: Vec<&[usize]> = operands
            .iter()
            .map(|&o| self.node(o).shape.as_slice())
            .collect();
        op.infer_shape(&shapes, &self.tensors)
            .map_err(GraphError::Shape)
    }

    fn insert(&mut self, name: &str, op: Op, shape: Vec<usize>, origin: Origin) -> NodeId {
        let name = self.unique_name(name);
        id(self.dag.add_node(Node {
            name,
            op,
            shape,
            layout: Layout::Plain,
            origin,
        }))
    }

    fn unique_name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        let mut n = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}.{n}");
            n += 1;
        }
        name
    }

    /// Adds a constant.
    pub fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        let id = TensorId(u32::try_from(self.tensors.len()).expect("fewer than 2^32 tensors"));
        self.tensors.push(tensor);
        id
    }

    /// The constant `id`.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    /// Replaces the constant `id` for all that read it; the shape stays.
    pub fn set_tensor(&mut self, id: TensorId, tensor: Tensor) {
        debug_assert_eq!(self.tensor(id).shape, tensor.shape);
        self.tensors[id.0 as usize] = tensor;
    }

    /// All constants; [`TensorId`] is the index.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Whether there is a node `id`; passes may have removed it.
    pub fn contains(&self, id: NodeId) -> bool {
        self.dag.contains_node(index(id))
    }

    /// The node `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.dag[index(id)]
    }

    /// The node `id`, to change its op or layout; the caller keeps the shape true.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.dag[index(id)]
    }

    /// Operands in order.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut edges: Vec<(usize, NodeId)> = self
            .dag
            .edges_directed(index(id), Direction::Incoming)
            .map(|e| (*e.weight(), self::id(e.source())))
            .collect();
        edges.sort_unstable();
        edges.into_iter().map(|(_, source)| source).collect()
    }

    /// Nodes that read `id`, with the operand position, in node order. A node that reads it twice
    /// is listed twice.
    pub fn users(&self, id: NodeId) -> Vec<(NodeId, usize)> {
        let mut users: Vec<(NodeId, usize)> = self
            .dag
            .edges_directed(index(id), Direction::Outgoing)
            .map(|e| (self::id(e.target()), *e.weight()))
            .collect();
        users.sort_unstable();
        users
    }

    /// The only reader of `id`, unless it has several or is a graph output.
    pub fn sole_user(&self, id: NodeId) -> Option<NodeId> {
        let users = self.users(id);
        match users.as_slice() {
            [(user, _)] if !self.outputs.iter().any(|o| o.node == id) => Some(*user),
            _ => None,
        }
    }

    /// Makes operand `position` of `node` read `operand`.
    pub fn set_operand(&mut self, node: NodeId, position: usize, operand: NodeId) {
        let edge = self
            .dag
            .edges_directed(index(node), Direction::Incoming)
            .find(|e| *e.weight() == position)
            .map(|e| e.id());
        if let Some(edge) = edge {
            self.dag.remove_edge(edge);
        }
        self.dag.add_edge(index(operand), index(node), position);
    }

    /// Replaces op and operands of `node` at once and infers the new shape.
    ///
    /// # Errors
    /// [`GraphError::Shape`] if the op does not accept these operands; the node is unchanged then.
    pub fn replace_node(
        &mut self,
        node: NodeId,
        op: Op,
        operands: &[NodeId],
    ) -> Result<(), GraphError> {
        let shape = self.infer_shape(&op, operands)?;
        let old: Vec<_> = self
            .dag
            .edges_directed(index(node), Direction::Incoming)
            .map(|e| e.id())
            .collect();
        for edge in old {
            self.dag.remove_edge(edge);
        }
        for (position, &operand) in operands.iter().enumerate() {
            self.dag.add_edge(index(operand), index(node), position);
        }
        let target = self.node_mut(node);
        target.op = op;
        target.shape = shape;
        Ok(())
    }

    /// Makes every reader of `old`, and every output that names it, read `new` instead.
    pub fn replace_uses(&mut self, old: NodeId, new: NodeId) {
        for (user, position) in self.users(old) {
            if user != new {
                self.set_operand(user, position, new);
            }
        }
        for output in &mut self.outputs {
            if output.node == old {
                output.node = new;
            }
        }
    }

    /// Removes what no output needs; inputs stay.
    pub fn remove_dead(&mut self) {
        let live: IndexSet<NodeId> = self.order().into_iter().collect();
        let inputs = self.inputs.clone();
        self.dag
            .retain_nodes(|_, n| live.contains(&id(n)) || inputs.contains(&id(n)));
    }

    /// Graph inputs in the user's order.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// Graph outputs in the user's order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Appends a graph output.
    pub fn add_output(&mut self, name: &str, node: NodeId) {
        self.outputs.push(Output {
            name: name.to_string(),
            node,
        });
    }

    /// Makes output number `position` come from `node`.
    pub fn set_output(&mut self, position: usize, node: NodeId) {
        self.outputs[position].node = node;
    }

    /// Execution order: all inputs, then every live node after its operands. It is the post-order
    /// of a depth-first walk from the outputs, so one branch is finished before the next begins,
    /// which keeps few values alive; it does not depend on ids that passes have added.
    pub fn order(&self) -> Vec<NodeId> {
        let mut order: IndexSet<NodeId> = self.inputs.iter().copied().collect();
        for output in &self.outputs {
            let mut stack = vec![(output.node, false)];
            while let Some((node, operands_done)) = stack.pop() {
                if order.contains(&node) {
                    continue;
                }
                if operands_done {
                    order.insert(node);
                    continue;
                }
                stack.push((node, true));
                for &operand in self.operands(node).iter().rev() {
                    stack.push((operand, false));
                }
            }
        }
        order.into_iter().collect()
    }
}
