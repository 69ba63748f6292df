//! What the importer of a node works with: the tensors so far, the graph that grows, and checks.
//!
//! Every function returns the diagnostic of the first fault, at the node in hand. Nodes are added
//! through [`Context::add`] only, which is where shapes are inferred and bounded.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use condensec_ir::ops::Op;
use condensec_ir::{Diagnostic, Graph, NodeId, TensorId};
use indexmap::IndexMap;

use super::node_view::NodeView;
use super::value::Value;
use crate::frontend::onnx::constants::{self, Constant, Literal};
use crate::frontend::onnx::masks::LevelTable;
use crate::frontend::onnx::proto::DataType;

/// Axes that a tensor of the graph may have.
const MAX_RANK: usize = 8;

/// Elements that a tensor of the graph may have: offsets in compiled code are 32-bit.
pub const MAX_ELEMS: usize = 1 << 31;

/// State of an import.
pub struct Context {
    pub graph: Graph,
    pub diagnostics: Vec<Diagnostic>,
    /// Tensor names, those of the subgraph in hand last.
    scopes: Vec<HashMap<String, Value>>,
    /// Level data of the file.
    pub levels: LevelTable,
    /// Tensors of the graph by constant and what was done to it. The constant is kept, so its
    /// address stays its own.
    pub(super) tensors: HashMap<(*const Constant, String), (Rc<Constant>, TensorId)>,
    pub(super) constant_nodes: HashMap<*const Constant, (Rc<Constant>, NodeId)>,
    pub(super) tensor_names: HashSet<String>,
    /// Nodes with op types that no importer knows, by op type.
    pub unsupported: IndexMap<String, Vec<String>>,
}

/// What an importer gives back: one value per output of the node, in order; outputs without a value
/// are not supported.
pub type Outputs = Result<Vec<Value>, Diagnostic>;

impl Context {
    pub fn new(graph: Graph, levels: LevelTable) -> Context {
        Context {
            graph,
            levels,
            diagnostics: Vec::new(),
            scopes: vec![HashMap::new()],
            tensors: HashMap::new(),
            constant_nodes: HashMap::new(),
            tensor_names: HashSet::new(),
            unsupported: IndexMap::new(),
        }
    }

    // Names.

    pub fn value(&self, name: &str) -> Option<&Value> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    pub fn define(&mut self, name: &str, value: impl Into<Value>) {
        let scope = self
            .scopes
            .last_mut()
            .expect("the outermost scope is never left");
        scope.insert(name.to_string(), value.into());
    }

    /// A constant of the file, with the level data that belongs to its name.
    pub fn new_constant(&mut self, name: &str, literal: Literal) -> Value {
        let mut constant = Constant::shared(name, literal);
        // Names of subgraphs are their own.
        if self.scopes.len() == 1 {
            self.levels.attach(&mut constant, &mut self.diagnostics);
        }
        Value::Constant(Rc::new(constant))
    }

    pub fn enter_scope(&mut self) {
        self.scopes.push(HashMap::new());
    }

    pub fn leave_scope(&mut self) {
        self.scopes.pop();
    }

    /// Takes the diagnostic that is due when a lost tensor is read; `false` if the tensor is there.
    pub fn is_lost(&mut self, name: &str) -> bool {
        let found = self
            .scopes
            .iter_mut()
            .rev()
            .find_map(|scope| scope.get_mut(name));
        let Some(Value::Lost(due)) = found else {
            return false;
        };
        if let Some(diagnostic) = due.take() {
            self.diagnostics.push(*diagnostic);
        }
        true
    }

    // Inputs of a node.

    pub fn input(&self, node: &NodeView, position: usize) -> Option<Value> {
        self.value(node.input(position)?).cloned()
    }

    pub fn required(
        &self,
        node: &NodeView,
        position: usize,
        what: &str,
    ) -> Result<Value, Diagnostic> {
        self.input(node, position).ok_or_else(|| {
            node.error(
                "missing-input",
                format!("input {position} ({what}) is missing"),
            )
        })
    }

    /// All inputs of a node that takes any number of them.
    pub fn all_inputs(&self, node: &NodeView) -> Result<Vec<Value>, Diagnostic> {
        let inputs: Vec<Value> = (0..node.n_inputs())
            .map(|position| self.required(node, position, "operand"))
            .collect::<Result<_, _>>()?;
        match inputs.is_empty() {
            true => Err(node.error("missing-input", "the node has no inputs")),
            false => Ok(inputs),
        }
    }

    /// An input that must be known at compile time, if it is given.
    pub fn constant(
        &self,
        node: &NodeView,
        position: usize,
        what: &str,
    ) -> Result<Option<Rc<Constant>>, Diagnostic> {
        match self.input(node, position) {
            None => Ok(None),
            Some(Value::Constant(constant)) => Ok(Some(constant)),
            Some(Value::Node(_) | Value::Lost(_)) => Err(self.not_constant(node, position, what)),
        }
    }

    fn not_constant(&self, node: &NodeView, position: usize, what: &str) -> Diagnostic {
        let name = node.input(position).unwrap_or_default();
        node.error(
            "not-constant",
            format!("input {position} ({what}) is computed at run time"),
        )
        .at_tensor(name)
        .with_help(
            "shapes are static: only inputs that follow from constants and shapes are \
             supported here",
        )
    }

    /// An optional input with integers.
    pub fn ints(
        &self,
        node: &NodeView,
        position: usize,
        what: &str,
    ) -> Result<Option<Vec<i64>>, Diagnostic> {
        let Some(constant) = self.constant(node, position, what)? else {
            return Ok(None);
        };
        match constant.literal.as_i64() {
            Some(values) if constant.shape().len() <= 1 => Ok(Some(values.to_vec())),
            Some(_) => Err(node.error(
                "shape-mismatch",
                format!(
                    "input {position} ({what}) has shape {:?}, expected one axis",
                    constant.shape()
                ),
            )),
            None => Err(wrong_type(node, position, what, &constant, "integers")),
        }
    }

    /// An optional input with floats.
    pub fn floats(
        &self,
        node: &NodeView,
        position: usize,
        what: &str,
    ) -> Result<Option<Arc<[f32]>>, Diagnostic> {
        let Some(constant) = self.constant(node, position, what)? else {
            return Ok(None);
        };
        self.require_plain(node, &constant, what)?;
        match constant.literal.as_f32() {
            Some(values) => Ok(Some(values.clone())),
            None => Err(wrong_type(node, position, what, &constant, "floats")),
        }
    }

    /// An optional input with one float.
    pub fn scalar(
        &self,
        node: &NodeView,
        position: usize,
        what: &str,
    ) -> Result<Option<f32>, Diagnostic> {
        match self.floats(node, position, what)?.as_deref() {
            None => Ok(None),
            Some(&[value]) => Ok(Some(value)),
            Some(values) => Err(node.error(
                "shape-mismatch",
                format!(
                    "input {position} ({what}) has {} elements, expected one",
                    values.len()
                ),
            )),
        }
    }

    /// Shape of a tensor; empty for one that is lost.
    pub fn shape<'a>(&'a self, value: &'a Value) -> &'a [usize] {
        match value {
            Value::Node(node) => &self.graph.node(*node).shape,
            Value::Constant(constant) => constant.shape(),
            Value::Lost(_) => &[],
        }
    }

    // Results.

    /// Adds the node that makes output 0.
    pub fn add(
        &mut self,
        node: &NodeView,
        op: Op,
        operands: &[NodeId],
    ) -> Result<NodeId, Diagnostic> {
        self.add_named(node, node.output(0), op, operands)
    }

    /// Adds a node on the way to the result.
    pub fn add_step(
        &mut self,
        node: &NodeView,
        step: &str,
        op: Op,
        operands: &[NodeId],
    ) -> Result<NodeId, Diagnostic> {
        self.add_named(node, &format!("{}/{step}", node.output(0)), op, operands)
    }

    /// Adds a node called `name`.
    pub fn add_named(
        &mut self,
        node: &NodeView,
        name: &str,
        op: Op,
        operands: &[NodeId],
    ) -> Result<NodeId, Diagnostic> {
        let mismatch = |error: condensec_ir::graph::GraphError| {
            node.error("shape-mismatch", error.to_string())
        };
        let shape = self.graph.infer_shape(&op, operands).map_err(mismatch)?;
        check_size(node, &shape)?;
        self.graph
            .add_node(name, op, operands, node.origin())
            .map_err(mismatch)
    }

    /// A constant result under the name of output 0.
    pub fn literal(&self, node: &NodeView, literal: Literal) -> Value {
        Value::Constant(Rc::new(Constant::shared(node.output(0), literal)))
    }

    /// The result of a computation on constants.
    pub fn compute(
        &self,
        node: &NodeView,
        inputs: &[Rc<Constant>],
        operation: impl Fn(&[&Literal]) -> Result<Literal, String>,
    ) -> Outputs {
        let inputs: Vec<&Constant> = inputs.iter().map(Rc::as_ref).collect();
        let result = constants::compute(node.output(0), &inputs, self.graph.n_levels, operation);
        match result {
            Ok(constant) => Ok(vec![Value::Constant(Rc::new(constant))]),
            Err(error) => Err(node.error("constant-arithmetic", error)),
        }
    }

    /// The product of two constants; masks stay masks.
    pub fn product(&self, node: &NodeView, a: &Constant, b: &Constant) -> Outputs {
        match constants::product(node.output(0), a, b, self.graph.n_levels) {
            Ok(constant) => Ok(vec![Value::Constant(Rc::new(constant))]),
            Err(error) => Err(node.error("constant-arithmetic", error)),
        }
    }

    /// The given inputs, if all of them are constants.
    pub fn all_constant(values: &[Value]) -> Option<Vec<Rc<Constant>>> {
        values
            .iter()
            .map(|value| value.as_constant().cloned())
            .collect()
    }

    /// A type named by an attribute of the file.
    pub fn data_type(&self, node: &NodeView, number: i64) -> Result<DataType, Diagnostic> {
        let known = i32::try_from(number)
            .ok()
            .and_then(|number| DataType::try_from(number).ok());
        known.ok_or_else(|| node.bad_attribute(format!("{number} is no data type")))
    }
}

/// Refuses shapes that compiled code cannot have.
pub fn check_size(node: &NodeView, shape: &[usize]) -> Result<(), Diagnostic> {
    check_shape(shape).map_err(|(code, message)| node.error(code, message))
}

/// Why a tensor of the graph cannot have `shape`: code and message.
pub fn check_shape(shape: &[usize]) -> Result<(), (&'static str, String)> {
    if shape.len() > MAX_RANK {
        return Err((
            "too-many-axes",
            format!(
                "shape {shape:?} has {} axes, at most {MAX_RANK} are supported",
                shape.len()
            ),
        ));
    }
    if shape.contains(&0) {
        return Err((
            "empty-tensor",
            format!("a tensor of shape {shape:?} has no elements"),
        ));
    }
    match constants::checked_product(shape) {
        Some(n_elems) if n_elems <= MAX_ELEMS => Ok(()),
        _ => Err((
            "tensor-too-large",
            format!("a tensor of shape {shape:?} has more than 2^31 elements"),
        )),
    }
}

fn wrong_type(
    node: &NodeView,
    position: usize,
    what: &str,
    constant: &Constant,
    wanted: &str,
) -> Diagnostic {
    node.error(
        "unsupported-dtype",
        format!(
            "input {position} ({what}) is {}, expected {wanted}",
            constant.literal.elems
        ),
    )
    .at_tensor(&constant.name)
}
