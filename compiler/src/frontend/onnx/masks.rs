//! Level data of the file: which tensor has which value at which level.
//!
//! Level data are initializers beside the tensor they belong to (`W__level`, `P__levels`,
//! `W__scale`), or arrays of a sidecar. [`LevelTable`] finds them, checks them against the tensor,
//! and attaches them to its [`Constant`]; from then on they travel with it. That a mask ends up at
//! a weight, and a row per level at a parameter, is checked by the node that reads the constant,
//! since only the node knows.

mod attach;
mod doubts;
mod level_array;
mod metadata;
mod nesting;
mod table;

use std::sync::Arc;

pub(super) use nesting::{NestingFault, nested_from_rows};
pub(super) use table::LevelTable;

/// The most levels that a model may have.
pub const MAX_LEVELS: u32 = 64;

/// Suffixes of the names of level data.
pub(super) const SUFFIXES: [&str; 3] = ["__level", "__levels", "__scale"];

/// Key of the metadata that says in which blocks the mask of a weight is given.
const BLOCK_PREFIX: &str = "condense.block:";

/// A block as metadata spell it: `4x1x1x1`.
fn block_text(block: &[usize]) -> String {
    block
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("x")
}

/// A weight's factor per level and output channel. Which axis of the weight has the output
/// channels, the node knows that uses it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChannelScale {
    /// Name of the tensor.
    pub name: String,
    /// `[K, C_out]` if it is right; checked by the node.
    pub shape: Vec<usize>,
    /// Factors, L0 first.
    pub rows: Arc<[f32]>,
}
