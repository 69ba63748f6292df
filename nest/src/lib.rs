//! Supernets from trained networks, without training.
//!
//! ```text
//! Graph (one level) + calibration inputs
//!    |  for every layer, in order of execution
//!    |    moments     second moments of its inputs, in the dense network and at every level
//!    |    ranking     blocks of weights by what removing them costs (optimal brain surgeon)
//!    |    grouping    rows that want the same columns share blocks
//!    |    masks       a level is a prefix of the ranking, so masks nest
//!    |    repair      the one weight that serves all levels best, in the least-squares sense
//!    |    statistics  scale and bias per level and channel, so that mean and deviation match
//!    v    states      the layer's results at every level, inputs of the layers behind it
//! Graph (n levels)
//! ```
//! Works on any graph that the importer makes; does no IO. Without calibration inputs blocks are ranked
//! by magnitude and nothing else is done.

mod elimination;
mod grouping;
mod layers;
mod masks;
mod moments;
mod patches;
mod points;
mod ranking;
mod recipe;
mod rematch;
mod repair;
mod results;
mod rewrite;
mod states;
mod statistics;
mod sums;
mod walk;

pub use points::{Assignment, MaskedLayers, with_points};
pub use recipe::{BlockShape, Calibration, NestError, Ranking, Recipe};
pub use rematch::rematch;
pub use walk::{Nested, NestedLayer, Progress, nest};
