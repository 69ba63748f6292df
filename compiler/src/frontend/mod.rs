//! Front ends: file formats that become the graph IR.

pub mod onnx;
