//! IR to IR: the passes over the graph, and the lowering of the graph to kernel IR.
//!
//! [`PIPELINE`] is what every model goes through, in order; [`lower::lower`] then turns the graph
//! into a [`condensec_ir::kernel::Program`]. Nothing here knows a target's name: what matters of it
//! is in [`condensec_ir::target_info::TargetInfo`].
#![deny(missing_docs)]

mod channel_affine;
#[cfg(test)]
mod check;
mod choose_layouts;
mod fold_batch_norm;
mod fuse_bias;
mod fuse_epilogue;
mod fuse_gated_activation;
mod group_rows;
pub mod lower;
mod subsample_pointwise;

use condensec_ir::Graph;
use condensec_ir::target_info::TargetInfo;

/// A rewrite of the graph. It takes a verified graph, leaves a verified graph of the same meaning,
/// has one job, and run twice changes nothing more.
pub struct Pass {
    /// Name on the command line, in file names and in filetests.
    pub name: &'static str,
    /// Does the work; returns whether anything changed.
    pub run: fn(&mut Graph, &TargetInfo) -> bool,
}

/// All passes in the order in which a model goes through them.
pub const PIPELINE: &[Pass] = &[
    // Before everything that looks at a convolution's users: batch norm sits between it and the
    // activation. Statistics shared by all levels go into the weights; statistics per level become
    // a per-level scale and bias, since the weights are shared.
    Pass {
        name: fold_batch_norm::NAME,
        run: fold_batch_norm::run,
    },
    Pass {
        name: fuse_bias::NAME,
        run: fuse_bias::run,
    },
    // `x * sigmoid(x)` must be one activation before activations are fused.
    Pass {
        name: fuse_gated_activation::NAME,
        run: fuse_gated_activation::run,
    },
    Pass {
        name: fuse_epilogue::NAME,
        run: fuse_epilogue::run,
    },
    // A strided 1x1 convolution reads a fraction of its input: cut that out once, then it is an
    // ordinary 1x1 convolution.
    Pass {
        name: subsample_pointwise::NAME,
        run: subsample_pointwise::run,
    },
    // Behind what changes weights, scales and biases; before layouts, which depend on the groups.
    Pass {
        name: group_rows::NAME,
        run: group_rows::run,
    },
    // Last: it inserts relayouts for the graph as it will be lowered.
    Pass {
        name: choose_layouts::NAME,
        run: choose_layouts::run,
    },
];
