//! What commands that measure have in common.

use condensec_ir::Diagnostic;

use super::arguments::FormatArgs;
use crate::engine::Engine;
use crate::report;

/// Values in [-1, 1), always the same: zeros or denormals would not be typical.
pub(super) fn pseudo_random_inputs(engine: &Engine) -> Vec<Vec<f32>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    engine
        .inputs()
        .iter()
        .map(|port| (0..port.n_elems()).map(|_| next()).collect())
        .collect()
}

/// Memory for the outputs of a run.
pub(super) fn empty_outputs(engine: &Engine) -> Vec<Vec<f32>> {
    let ports = engine.outputs().iter();
    ports.map(|port| vec![0.0; port.n_elems()]).collect()
}

/// Keeps this thread on the core where it is, or warns: a move to another one costs the caches'
/// contents.
pub(super) fn pin_or_warn(format: FormatArgs) {
    if let Err(reason) = pin() {
        let message = format!("the process could not be kept on one core: {reason}");
        let warning = Diagnostic::warning("not-pinned", message);
        report::emit(&warning, format.form());
    }
}

/// Number of the core that this thread is on.
pub(super) fn current_cpu() -> u32 {
    #[cfg(target_os = "linux")]
    return u32::try_from(rustix::thread::sched_getcpu()).unwrap_or(0);
    #[cfg(not(target_os = "linux"))]
    return 0;
}

#[cfg(target_os = "linux")]
fn pin() -> Result<(), String> {
    use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn pin() -> Result<(), String> {
    Err("not supported on this system".into())
}
