//! A node of the file, with checked access to its attributes.

use condensec_ir::Diagnostic;
use condensec_ir::graph::Origin;

use crate::frontend::onnx::constants::Literal;
use crate::frontend::onnx::proto::{AttributeProto, AttributeType, GraphProto, NodeProto};

/// The largest size that an attribute of a window (kernel, stride, padding, dilation, repeats) may
/// have. Larger ones are damage, and below it no product of two overflows.
const MAX_WINDOW_SIZE: i64 = 1 << 20;

/// A node and the operator set version that says what it means.
#[derive(Clone, Copy)]
pub struct NodeView<'m> {
    proto: &'m NodeProto,
    /// Version of the `ai.onnx` operator set.
    pub opset: i64,
}

impl<'m> NodeView<'m> {
    pub fn new(proto: &'m NodeProto, opset: i64) -> NodeView<'m> {
        NodeView { proto, opset }
    }

    pub fn op_type(&self) -> &'m str {
        self.proto.op_type()
    }

    /// Name of the node, or of its first output if it has none.
    pub fn name(&self) -> &'m str {
        node_name(self.proto)
    }

    pub fn origin(&self) -> Origin {
        Origin {
            name: self.name().to_string(),
            op_type: self.op_type().to_string(),
        }
    }

    /// Name of input `position`; `None` where an optional input is left out.
    pub fn input(&self, position: usize) -> Option<&'m str> {
        let name = self.proto.input.get(position)?;
        (!name.is_empty()).then_some(name.as_str())
    }

    pub fn n_inputs(&self) -> usize {
        self.proto.input.len()
    }

    pub fn outputs(&self) -> &'m [String] {
        &self.proto.output
    }

    /// Name of output `position`, empty if there is none.
    pub fn output(&self, position: usize) -> &'m str {
        self.proto.output.get(position).map_or("", String::as_str)
    }

    /// An error at this node.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, message).at_node(self.name(), self.op_type())
    }

    /// An attribute with an impossible value.
    pub fn bad_attribute(&self, message: impl Into<String>) -> Diagnostic {
        self.error("bad-attribute", message)
    }

    /// An attribute with a value that means something, but not to this compiler.
    pub fn unsupported(&self, message: impl Into<String>) -> Diagnostic {
        self.error("unsupported-attribute", message)
    }

    pub fn has_attribute(&self, name: &str) -> bool {
        self.proto
            .attribute
            .iter()
            .any(|attribute| attribute.name() == name)
    }

    fn attribute(
        &self,
        name: &str,
        wanted: AttributeType,
    ) -> Result<Option<&'m AttributeProto>, Diagnostic> {
        let Some(found) = self
            .proto
            .attribute
            .iter()
            .find(|attribute| attribute.name() == name)
        else {
            return Ok(None);
        };
        let found_type = found.r#type();
        // Files of IR version 1 and 2 leave the type out.
        if found_type != wanted && found_type != AttributeType::Undefined {
            return Err(self.bad_attribute(format!(
                "attribute `{name}` is of type {found_type:?}, expected {wanted:?}"
            )));
        }
        if !found.ref_attr_name().is_empty() {
            return Err(self.bad_attribute(format!(
                "attribute `{name}` refers to a function's attribute"
            )));
        }
        Ok(Some(found))
    }

    pub fn int(&self, name: &str) -> Result<Option<i64>, Diagnostic> {
        Ok(self
            .attribute(name, AttributeType::Int)?
            .map(|found| found.i()))
    }

    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, Diagnostic> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// An integer that is 0 or 1.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Diagnostic> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => {
                Err(self.bad_attribute(format!("attribute `{name}` is {other}, expected 0 or 1")))
            }
        }
    }

    pub fn ints(&self, name: &str) -> Result<Option<&'m [i64]>, Diagnostic> {
        Ok(self
            .attribute(name, AttributeType::Ints)?
            .map(|found| found.ints.as_slice()))
    }

    pub fn float_or(&self, name: &str, default: f32) -> Result<f32, Diagnostic> {
        Ok(self
            .attribute(name, AttributeType::Float)?
            .map_or(default, |found| found.f()))
    }

    pub fn float(&self, name: &str) -> Result<Option<f32>, Diagnostic> {
        Ok(self
            .attribute(name, AttributeType::Float)?
            .map(|found| found.f()))
    }

    pub fn floats(&self, name: &str) -> Result<Option<&'m [f32]>, Diagnostic> {
        Ok(self
            .attribute(name, AttributeType::Floats)?
            .map(|found| found.floats.as_slice()))
    }

    pub fn string_or(&self, name: &str, default: &'static str) -> Result<&'m str, Diagnostic> {
        let Some(found) = self.attribute(name, AttributeType::String)? else {
            return Ok(default);
        };
        std::str::from_utf8(found.s())
            .map_err(|_| self.bad_attribute(format!("attribute `{name}` is not UTF-8")))
    }

    pub fn tensor(&self, name: &str) -> Result<Option<Literal>, Diagnostic> {
        let Some(found) = self.attribute(name, AttributeType::Tensor)? else {
            return Ok(None);
        };
        let Some(tensor) = &found.t else {
            return Err(self.bad_attribute(format!("attribute `{name}` holds no tensor")));
        };
        let literal = Literal::from_proto(tensor);
        literal
            .map(Some)
            .map_err(|error| self.error("bad-tensor", format!("attribute `{name}`: {error}")))
    }

    pub fn sparse_tensor(&self, name: &str) -> Result<Option<Literal>, Diagnostic> {
        let Some(found) = self.attribute(name, AttributeType::SparseTensor)? else {
            return Ok(None);
        };
        let Some(tensor) = &found.sparse_tensor else {
            return Err(self.bad_attribute(format!("attribute `{name}` holds no sparse tensor")));
        };
        let literal = Literal::from_sparse_proto(tensor);
        literal
            .map(Some)
            .map_err(|error| self.error("bad-tensor", format!("attribute `{name}`: {error}")))
    }

    pub fn graph(&self, name: &str) -> Result<Option<&'m GraphProto>, Diagnostic> {
        let Some(found) = self.attribute(name, AttributeType::Graph)? else {
            return Ok(None);
        };
        match &found.g {
            Some(graph) => Ok(Some(graph)),
            None => Err(self.bad_attribute(format!("attribute `{name}` holds no graph"))),
        }
    }

    /// Sizes of a window: `n` integers from `min` up.
    pub fn window_sizes(
        &self,
        name: &str,
        n: usize,
        min: i64,
    ) -> Result<Option<Vec<usize>>, Diagnostic> {
        let Some(given) = self.ints(name)? else {
            return Ok(None);
        };
        if given.len() != n {
            return Err(self.bad_attribute(format!(
                "attribute `{name}` is {given:?}, expected {n} values"
            )));
        }
        self.checked_sizes(name, given, min).map(Some)
    }

    /// Checks integers that are sizes of a window.
    pub fn checked_sizes(
        &self,
        name: &str,
        given: &[i64],
        min: i64,
    ) -> Result<Vec<usize>, Diagnostic> {
        let size = |&value: &i64| {
            let value = (min..=MAX_WINDOW_SIZE).contains(&value).then_some(value)?;
            usize::try_from(value).ok()
        };
        let sizes: Option<Vec<usize>> = given.iter().map(size).collect();
        sizes.ok_or_else(|| {
            self.bad_attribute(format!(
                "`{name}` is {given:?}, expected values from {min} to {MAX_WINDOW_SIZE}"
            ))
        })
    }

    /// An axis of a tensor of `rank` axes; negative ones count from the end.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Diagnostic> {
        let signed_rank = i64::try_from(rank).unwrap_or(i64::MAX);
        let counted = if axis < 0 {
            axis.checked_add(signed_rank)
        } else {
            Some(axis)
        };
        match counted
            .and_then(|axis| usize::try_from(axis).ok())
            .filter(|&axis| axis < rank)
        {
            Some(axis) => Ok(axis),
            None => Err(self.error(
                "bad-axis",
                format!("axis {axis} of a tensor with {rank} axes"),
            )),
        }
    }

    /// Several axes, each listed once, in the order given.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Diagnostic> {
        let mut found: Vec<usize> = Vec::new();
        for &axis in axes {
            let axis = self.axis(axis, rank)?;
            if found.contains(&axis) {
                return Err(self.error(
                    "bad-axis",
                    format!("axis {axis} is listed twice in {axes:?}"),
                ));
            }
            found.push(axis);
        }
        Ok(found)
    }
}

/// Name of a node for the user: its own, or of its first output.
pub fn node_name(node: &NodeProto) -> &str {
    match (
        node.name(),
        node.output.iter().find(|name| !name.is_empty()),
    ) {
        ("", Some(output)) => output,
        (name, _) => name,
    }
}
