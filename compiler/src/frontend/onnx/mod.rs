//! ONNX in: protobuf messages, import of nodes and sparsity masks, merging of exports, and
//! levels back into a file.

// A diagnostic is large, but a file has few of them, and boxing each would say nothing to the
// reader.
#![allow(clippy::result_large_err)]

mod constants;
pub mod external_data;
mod import;
mod masks;
mod merge;
mod nodes;
pub mod proto;
mod sidecar;
mod supernet;

pub use import::{IR_VERSIONS, ImportOptions, Imported, OPSETS, import_model};
pub use masks::MAX_LEVELS;
pub use merge::merge_levels;
pub use nodes::{NODE_IMPORTERS, NodeImporter};
pub use sidecar::MaskFile;
pub use supernet::{fixed_layers, without_levels, write_levels};
