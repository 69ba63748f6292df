//! One node of the graph.

use crate::layout::Layout;
use crate::ops::Op;
use std::fmt;

/// Identity of a node and of its only result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// The ONNX node that a graph node came from, for diagnostics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// ONNX node name, or its first output if it has none.
    pub name: String,
    /// ONNX op type.
    pub op_type: String,
}

/// A tensor op and its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name of the result, unique in the graph.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// Where the result's elements live; [`Layout::Plain`] until `choose-layouts` has run.
    pub layout: Layout,
    /// ONNX node that it came from.
    pub origin: Origin,
}

/// A named result of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Name in the user's model.
    pub name: String,
    /// Node that computes it.
    pub node: NodeId,
}
