//! The compiler as a library: front end, driver and command line. The only crate of ours that does IO.

pub mod cli;
pub mod compiled;
pub mod driver;
pub mod emit;
pub mod engine;
pub mod frontend;
mod given_shapes;
pub mod idx;
pub mod linker;
pub mod model_name;
pub mod npz;
pub mod output;
pub mod profile;
pub mod report;
pub mod tuning;
