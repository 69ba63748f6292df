//! Operations that only move elements, for constants and values of the graph alike.

use std::rc::Rc;

use condensec_ir::Diagnostic;
use condensec_ir::ops::{Binary, BinaryKind, Op, Reshape, Slice, Transpose};

use super::context::{Context, check_size};
use super::node_view::NodeView;
use super::value::Value;
use crate::frontend::onnx::constants::{self, Constant, Literal, arithmetic};

impl Context {
    /// `value` in another shape, as output 0.
    pub fn reshape(
        &mut self,
        node: &NodeView,
        value: &Value,
        shape: &[usize],
    ) -> Result<Value, Diagnostic> {
        self.reshape_named(node, node.output(0), value, shape)
    }

    /// `value` in another shape.
    pub fn reshape_named(
        &mut self,
        node: &NodeView,
        name: &str,
        value: &Value,
        shape: &[usize],
    ) -> Result<Value, Diagnostic> {
        if self.shape(value) == shape {
            return Ok(value.clone());
        }
        match value {
            Value::Constant(constant) => {
                if constants::checked_product(shape) != Some(constant.literal.n_elems()) {
                    return Err(node.error(
                        "shape-mismatch",
                        format!(
                            "shapes {:?} and {shape:?} differ in the number of elements",
                            constant.shape()
                        ),
                    ));
                }
                Ok(Value::Constant(Rc::new(constant.reshaped(shape))))
            }
            Value::Node(_) | Value::Lost(_) => {
                let x = self.value_operand(node, value)?;
                let op = Op::Reshape(Reshape {
                    shape: shape.to_vec(),
                });
                Ok(self.add_named(node, name, op, &[x])?.into())
            }
        }
    }

    /// `value` with another order of axes, as output 0.
    pub fn transpose(
        &mut self,
        node: &NodeView,
        value: &Value,
        permutation: &[usize],
    ) -> Result<Value, Diagnostic> {
        self.transpose_named(node, node.output(0), value, permutation)
    }

    /// `value` with another order of axes.
    pub fn transpose_named(
        &mut self,
        node: &NodeView,
        name: &str,
        value: &Value,
        permutation: &[usize],
    ) -> Result<Value, Diagnostic> {
        if permutation.iter().copied().eq(0..permutation.len()) {
            return Ok(value.clone());
        }
        match value {
            Value::Constant(constant) => {
                Ok(Value::Constant(Rc::new(constant.permuted(permutation))))
            }
            Value::Node(_) | Value::Lost(_) => {
                let x = self.value_operand(node, value)?;
                let op = Op::Transpose(Transpose {
                    permutation: permutation.to_vec(),
                });
                Ok(self.add_named(node, name, op, &[x])?.into())
            }
        }
    }

    /// A part of `value`. The bounds must be inside; the whole is returned as it is.
    pub fn slice(
        &mut self,
        node: &NodeView,
        name: &str,
        value: &Value,
        starts: Vec<usize>,
        sizes: Vec<usize>,
        steps: Vec<i64>,
    ) -> Result<Value, Diagnostic> {
        let shape = self.shape(value).to_vec();
        let is_whole = |axis: usize| {
            sizes[axis] == shape[axis]
                && (shape[axis] <= 1 || (starts[axis] == 0 && steps[axis] == 1))
        };
        if (0..shape.len()).all(is_whole) {
            return Ok(value.clone());
        }
        match value {
            Value::Constant(constant) => Ok(Value::Constant(Rc::new(
                constant.sliced(&starts, &sizes, &steps),
            ))),
            Value::Node(_) | Value::Lost(_) => {
                let x = self.value_operand(node, value)?;
                let op = Op::Slice(Slice {
                    starts,
                    sizes,
                    steps,
                });
                Ok(self.add_named(node, name, op, &[x])?.into())
            }
        }
    }

    /// `value` repeated along axes of size 1, numpy style, under `name`.
    pub fn expand(
        &mut self,
        node: &NodeView,
        name: &str,
        value: &Value,
        shape: &[usize],
    ) -> Result<Value, Diagnostic> {
        let from = self.shape(value).to_vec();
        let too_large = |error: String| node.error("shape-mismatch", error);
        let shape = arithmetic::broadcast_shape(&from, shape).map_err(too_large)?;
        if from == shape {
            return Ok(value.clone());
        }
        if let Value::Constant(constant) = value {
            arithmetic::check_size(&shape, constant.literal.n_elems()).map_err(too_large)?;
            return Ok(Value::Constant(Rc::new(constant.broadcast(&shape))));
        }
        let n_new = shape.len() - from.len();
        let padded: Vec<usize> = [vec![1; n_new], from].concat();
        if padded == shape {
            return self.reshape_named(node, name, value, &shape);
        }
        // Times one: exact for every value, infinities and NaN included. The ones have only the
        // axes that grow.
        let ones: Vec<usize> = padded
            .iter()
            .zip(&shape)
            .map(|(&from, &to)| if from == to { 1 } else { to })
            .collect();
        check_size(node, &shape)?;
        let n_ones = arithmetic::check_size(&ones, 0).map_err(too_large)?;
        let ones = Literal::f32(&ones, vec![1.0; n_ones]);
        let ones = Value::Constant(Rc::new(Constant::shared(format!("{name}/ones"), ones)));
        let ones = self.value_operand(node, &ones)?;
        let x = self.value_operand(node, value)?;
        let op = Op::Binary(Binary {
            kind: BinaryKind::Mul,
        });
        Ok(self.add_named(node, name, op, &[x, ones])?.into())
    }
}
