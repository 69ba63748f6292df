//! Verifiers: the module doc of each lists the invariants of what it checks.

mod graph;
mod layout;

pub use graph::verify_graph;
