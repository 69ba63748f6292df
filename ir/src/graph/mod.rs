//! The graph IR: a directed acyclic graph of tensor ops with static shapes.
//!
//! Every node has exactly one f32 result, so a node and its value are one thing and share one id.
//! Constants are not nodes but entries of a table ([`crate::tensor`]): patterns such as
//! "convolution followed by batch norm" then need no look through constant operands.
//! petgraph stays inside this folder.

#[allow(clippy::module_inception)]
mod graph;
mod node;

pub use graph::{Graph, GraphError};
pub use node::{Node, NodeId, Origin, Output};
