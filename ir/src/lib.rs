//! The data structures of condensec: graph IR, sparsity, kernel IR, and their interpreters.
//!
//! ```text
//! graph::Graph   tensor ops, one result each, static shapes, `.cir` text form
//! sparsity       levels, masks, the prefix-nested weight format
//! layout         where the elements of an activation live in memory
//! kernel         loops over vectors and pointers, all that a back end sees
//! ```
//! No IO and no target names: what passes may know of a target is [`target_info::TargetInfo`].

pub mod diagnostic;
pub mod eval;
pub mod graph;
pub mod kernel;
pub mod layout;
pub mod ops;
pub mod sparsity;
pub mod target_info;
pub mod tensor;
pub mod text;
pub mod verify;

pub use diagnostic::{Diagnostic, Severity};
pub use graph::{Graph, Node, NodeId};
pub use ops::Op;
pub use tensor::{LevelId, Tensor, TensorId};
