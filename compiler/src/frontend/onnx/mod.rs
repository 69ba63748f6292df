//! ONNX in: protobuf messages, import of nodes and sparsity masks, merging of exports.

pub mod proto;
