//! ONNX messages.
