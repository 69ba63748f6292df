//! Tensors of the file as operands, parameters and weights of the graph, with their level data.

use std::rc::Rc;

use condensec_ir::ops::{Constant as ConstantOp, Op};
use condensec_ir::sparsity::LevelMask;
use condensec_ir::tensor::{LevelRule, Tensor};
use condensec_ir::{Diagnostic, NodeId, TensorId};

use super::context::{Context, check_size};
use super::node_view::NodeView;
use super::value::Value;
use super::weight::Weight;
use crate::frontend::onnx::constants::{ByLevel, Constant, Literal};
use crate::frontend::onnx::masks::nested_from_rows;

impl Context {
    /// An input as an operand of an op.
    pub fn operand(
        &mut self,
        node: &NodeView,
        position: usize,
        what: &str,
    ) -> Result<NodeId, Diagnostic> {
        let value = self.required(node, position, what)?;
        self.value_operand(node, &value)
    }

    /// A tensor as an operand of an op; a constant becomes a node.
    pub fn value_operand(&mut self, node: &NodeView, value: &Value) -> Result<NodeId, Diagnostic> {
        if let Value::Constant(constant) = value {
            self.require_no_mask(node, constant)?;
        }
        self.any_operand(node, value)
    }

    /// Like [`Context::value_operand`], for an op that takes weights too.
    pub fn any_operand(&mut self, node: &NodeView, value: &Value) -> Result<NodeId, Diagnostic> {
        let constant = match value {
            Value::Node(operand) => return Ok(*operand),
            Value::Constant(constant) => constant.clone(),
            Value::Lost(_) => {
                return Err(node.error("undefined-tensor", "an input is not to be had"));
            }
        };
        if let Some((_, operand)) = self.constant_nodes.get(&Rc::as_ptr(&constant)) {
            return Ok(*operand);
        }
        if constant.literal.as_f32().is_none() {
            return Err(node
                .error(
                    "unsupported-dtype",
                    format!(
                        "`{}` is {}, expected FLOAT",
                        constant.name, constant.literal.elems
                    ),
                )
                .at_tensor(&constant.name)
                .with_note(
                    "only float tensors are computed at run time; integers must follow \
                     from constants and shapes",
                ));
        }
        check_size(node, constant.shape())?;
        let tensor = self.tensor(&constant, "", |name| tensor_of(&constant, name));
        let op = Op::Constant(ConstantOp { tensor });
        let added = self.graph.add_node(&constant.name, op, &[], node.origin());
        let operand = added.map_err(|error| node.error("shape-mismatch", error.to_string()))?;
        self.constant_nodes
            .insert(Rc::as_ptr(&constant), (constant, operand));
        Ok(operand)
    }

    /// Refuses masks where no weight is expected.
    fn require_no_mask(&self, node: &NodeView, constant: &Constant) -> Result<(), Diagnostic> {
        if matches!(constant.levels, ByLevel::Masked(_)) {
            return Err(node
                .error(
                    "mask-not-on-weight",
                    format!(
                        "`{0}__level` masks `{0}`, which is no weight here",
                        constant.name
                    ),
                )
                .at_tensor(&constant.name)
                .with_note(
                    "weights are the constant operands of Conv, ConvTranspose, Gemm and MatMul",
                )
                .with_help(format!(
                    "give a parameter its values per level as `{}__levels`",
                    constant.name
                )));
        }
        match &constant.scale {
            None => Ok(()),
            Some(scale) => Err(node
                .error(
                    "scale-not-on-weight",
                    format!(
                        "`{}` scales `{}`, which is no weight here",
                        scale.name, constant.name
                    ),
                )
                .at_tensor(&scale.name)),
        }
    }

    /// Refuses any level data.
    pub fn require_plain(
        &self,
        node: &NodeView,
        constant: &Constant,
        what: &str,
    ) -> Result<(), Diagnostic> {
        self.require_no_mask(node, constant)?;
        match constant.levels {
            ByLevel::Rows(_) => Err(node
                .error(
                    "levels-not-on-parameter",
                    format!("`{}` ({what}) cannot differ between levels", constant.name),
                )
                .at_tensor(&constant.name)),
            ByLevel::Shared | ByLevel::Masked(_) => Ok(()),
        }
    }

    // Constants of the graph.

    fn tensor(
        &mut self,
        constant: &Rc<Constant>,
        steps: &str,
        make: impl FnOnce(String) -> Tensor,
    ) -> TensorId {
        let key = (Rc::as_ptr(constant), steps.to_string());
        if let Some((_, tensor)) = self.tensors.get(&key) {
            return *tensor;
        }
        let name = self.unique_tensor_name(&constant.name);
        let tensor = self.graph.add_tensor(make(name));
        self.tensors.insert(key, (constant.clone(), tensor));
        tensor
    }

    fn unique_tensor_name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        let mut n = 1;
        while !self.tensor_names.insert(name.clone()) {
            name = format!("{wanted}.{n}");
            n += 1;
        }
        name
    }

    /// A parameter with one value per channel: `[n]`, shared or per level. Axes of size 1 do not
    /// matter.
    pub fn parameter(
        &mut self,
        node: &NodeView,
        constant: &Rc<Constant>,
        n: usize,
        what: &str,
    ) -> Result<TensorId, Diagnostic> {
        self.require_no_mask(node, constant)?;
        if constant.literal.as_f32().is_none() {
            return Err(node
                .error(
                    "unsupported-dtype",
                    format!(
                        "`{}` ({what}) is {}, expected FLOAT",
                        constant.name, constant.literal.elems
                    ),
                )
                .at_tensor(&constant.name));
        }
        if constant.literal.n_elems() != n {
            return Err(node
                .error(
                    "shape-mismatch",
                    format!(
                        "`{}` ({what}) has shape {:?}, expected [{n}]",
                        constant.name,
                        constant.shape()
                    ),
                )
                .at_tensor(&constant.name));
        }
        let flat = constant.reshaped(&[n]);
        Ok(self.tensor(constant, "parameter", |name| tensor_of(&flat, name)))
    }

    /// The weight at an input: it must be a constant, and if its values differ between levels they
    /// must nest.
    pub fn weight(&self, node: &NodeView, position: usize) -> Result<Weight, Diagnostic> {
        match self.required(node, position, "weight")? {
            Value::Constant(constant) => self.as_weight(node, &constant),
            Value::Node(_) | Value::Lost(_) => Err(node
                .error(
                    "not-constant",
                    format!("input {position} (weight) is computed at run time"),
                )
                .at_tensor(node.input(position).unwrap_or_default())
                .with_note("weights must follow from initializers and constants")),
        }
    }

    /// A constant as a weight.
    pub fn as_weight(
        &self,
        node: &NodeView,
        constant: &Rc<Constant>,
    ) -> Result<Weight, Diagnostic> {
        if constant.literal.as_f32().is_none() {
            return Err(node
                .error(
                    "unsupported-dtype",
                    format!(
                        "the weight `{}` is {}, expected FLOAT",
                        constant.name, constant.literal.elems
                    ),
                )
                .at_tensor(&constant.name));
        }
        let ByLevel::Rows(rows) = &constant.levels else {
            return Ok(Weight::new(constant.clone(), (**constant).clone()));
        };
        match nested_from_rows(rows, self.graph.n_levels) {
            Ok((values, mask)) => {
                let block = vec![1; constant.shape().len()];
                let nested = Constant {
                    literal: Literal::f32(constant.shape(), values),
                    levels: ByLevel::Masked(LevelMask::new(mask, &block)),
                    ..(**constant).clone()
                };
                Ok(Weight::new(constant.clone(), nested))
            }
            Err(fault) => {
                let ((lower, lower_value), (upper, upper_value)) = (fault.lower, fault.upper);
                Err(node
                    .error(
                        fault.code(),
                        format!(
                            "a weight of `{}` is {lower_value} at L{lower} and {upper_value} at \
                             L{upper}",
                            constant.name
                        ),
                    )
                    .at_tensor(&constant.name)
                    .at_index(&fault.index(constant.shape()))
                    .with_note(
                        "levels share one set of weights: a level may only add weights to \
                         those of the level below",
                    ))
            }
        }
    }

    /// The weight as a tensor of the graph.
    pub fn add_weight(&mut self, weight: &Weight) -> TensorId {
        self.tensor(
            &weight.origin,
            &format!("weight {}", weight.steps),
            |name| weight.to_tensor(name),
        )
    }

    /// The weight's factor per level, if it has one; `m` is its number of output channels.
    pub fn add_scale(
        &mut self,
        node: &NodeView,
        weight: &Weight,
        m: usize,
    ) -> Result<Option<TensorId>, Diagnostic> {
        let Some(scale) = weight.scale().cloned() else {
            return Ok(None);
        };
        let expected = [self.graph.n_levels as usize, m];
        if scale.shape != expected || scale.rows.len() != expected[0] * expected[1] {
            return Err(node
                .error(
                    "scale-shape-mismatch",
                    format!(
                        "`{}` has shape {:?}, expected {expected:?}: one factor per level and \
                         output channel of `{}`",
                        scale.name,
                        scale.shape,
                        weight.name()
                    ),
                )
                .at_tensor(&scale.name));
        }
        let steps = format!("scale[{m}]");
        let key = (Rc::as_ptr(&weight.origin), steps);
        if let Some((_, tensor)) = self.tensors.get(&key) {
            return Ok(Some(*tensor));
        }
        let name = self.unique_tensor_name(&scale.name);
        let tensor = self
            .graph
            .add_tensor(Tensor::per_level(name, &[m], scale.rows.clone()));
        self.tensors.insert(key, (weight.origin.clone(), tensor));
        Ok(Some(tensor))
    }
}

fn tensor_of(constant: &Constant, name: String) -> Tensor {
    let values = constant
        .literal
        .as_f32()
        .expect("the caller refuses other types")
        .clone();
    let (data, rule) = match &constant.levels {
        ByLevel::Shared => (values, LevelRule::Shared),
        ByLevel::Masked(mask) => (values, LevelRule::Masked(mask.clone())),
        ByLevel::Rows(rows) => (rows.clone(), LevelRule::PerLevel),
    };
    Tensor {
        name,
        shape: constant.shape().to_vec(),
        data,
        rule,
    }
}
