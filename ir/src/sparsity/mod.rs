//! Nested sparsity: masks by level and the formats that store them.

pub mod formats;
mod mask;

pub use mask::{LevelMask, MaskError};
