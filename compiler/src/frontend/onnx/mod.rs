//! ONNX in: protobuf messages, import of nodes and sparsity masks, merging of exports.

mod constants;
pub mod external_data;
mod import;
mod masks;
mod nodes;
pub mod proto;
mod sidecar;

pub use import::{IR_VERSIONS, ImportOptions, Imported, OPSETS, import_model};
pub use masks::MAX_LEVELS;
pub use nodes::{NODE_IMPORTERS, NodeImporter};
pub use sidecar::MaskFile;
