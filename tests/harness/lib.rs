//! Test support shared by the runners.

pub mod assets;
pub mod c_program;
pub mod chromium;
pub mod condensec;
pub mod filetest;
pub mod graphs;
pub mod npz;
pub mod numbers;
pub mod program;
pub mod python;
pub mod random_graph;
pub mod runtime_library;
pub mod skip;
pub mod workspace;
