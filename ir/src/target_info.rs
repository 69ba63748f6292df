//! What a pass may ask of a target: numbers, never a name.

/// Facts that decide tiles and layouts. Built by `condensec-backends` from a target description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInfo {
    /// f32 lanes of the vectors that kernels use; 1 for scalar code.
    pub lanes: usize,
    /// Vector registers that a kernel may fill.
    pub vector_registers: usize,
    /// Whether `mul_add` is one fused instruction. Results differ in the last bit if not.
    pub has_fma: bool,
    /// Size of a pointer and of an index: 4 or 8.
    pub pointer_bytes: usize,
    /// L1 data cache; bounds the K-block of unstructured lists.
    pub l1_bytes: usize,
    /// Last private cache; buffers above it are streamed.
    pub l2_bytes: usize,
}
