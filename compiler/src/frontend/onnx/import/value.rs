//! What a tensor name of the file stands for during import.

use std::rc::Rc;

use condensec_ir::{Diagnostic, NodeId};

use crate::frontend::onnx::constants::Constant;

/// What a tensor name stands for.
#[derive(Debug, Clone)]
pub enum Value {
    /// Computed at run time, f32.
    Node(NodeId),
    /// Known at compile time.
    Constant(Rc<Constant>),
    /// Not to be had. The diagnostic, if any, is due when somebody reads it; nodes that do are
    /// skipped.
    Lost(Option<Box<Diagnostic>>),
}

impl From<NodeId> for Value {
    fn from(node: NodeId) -> Value {
        Value::Node(node)
    }
}

impl Value {
    pub fn as_constant(&self) -> Option<&Rc<Constant>> {
        match self {
            Value::Constant(constant) => Some(constant),
            Value::Node(_) | Value::Lost(_) => None,
        }
    }
}
