//! The binary interface of a generated library, shared by the compiler that writes it, the C
//! header, and Rust code that reads it. Standalone: nothing here depends on the rest.
//!
//! `<name>_model()` returns a static [`Model`]. Everything in it is constant and may live in flash.
//! Fields are only ever appended: a reader checks [`Model::abi_version`] for the meaning and
//! [`Model::struct_bytes`] for how far it may read.

use core::ffi::{c_char, c_void};

/// Version of this interface; it changes with any of the types below.
pub const ABI_VERSION: u32 = 3;

/// Alignment of the state memory that the caller gives to `init`, in bytes.
pub const STATE_ALIGN: usize = 64;

/// First word of initialised state after the level: `"cnd1"`.
pub const STATE_MAGIC: u32 = 0x3164_6e63;

/// Outcome of a call.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The level does not exist; nothing was changed.
    BadLevel = 1,
    /// The state memory is too small, not aligned, or was never initialised.
    BadMemory = 2,
    /// A null pointer where data is needed.
    BadPointer = 3,
}

/// Element type of a tensor, with ONNX's numbers.
pub const DTYPE_F32: u32 = 1;

/// An input or output.
#[repr(C)]
pub struct TensorInfo {
    /// Name in the user's model, NUL-terminated UTF-8.
    pub name: *const c_char,
    /// Sizes, row-major, `rank` of them.
    pub shape: *const u64,
    /// Number of dimensions.
    pub rank: u32,
    /// [`DTYPE_F32`]
    pub dtype: u32,
    /// Size of the whole tensor.
    pub bytes: u64,
}

/// A kernel: does tasks `begin..end` of a step. `bases[0]` is the activation arena, then come the
/// inputs, then the outputs.
pub type Kernel = unsafe extern "C" fn(
    bases: *const *mut c_void,
    arguments: *const c_void,
    begin: usize,
    end: usize,
);

/// One kernel call of a run. Its tasks are independent of each other; steps are not.
#[repr(C)]
pub struct Step {
    /// The kernel.
    pub kernel: Kernel,
    /// Its arguments.
    pub arguments: *const c_void,
    /// Name of the graph node that it computes.
    pub node: *const c_char,
    /// Number of independent tasks.
    pub n_tasks: usize,
}

/// A level, L0 first.
#[repr(C)]
pub struct Level {
    /// Name, or "L0", "L1", ..
    pub name: *const c_char,
    /// [`Model::n_steps`] steps.
    pub steps: *const Step,
    /// Kept share of the maskable layers' weights, in [0, 1].
    pub density: f64,
    /// Multiply-adds of one run.
    pub macs: u64,
    /// Bytes of the weights that a run reads.
    pub weight_bytes: u64,
    /// Cost model's estimate for one run on one thread.
    pub predicted_cycles: u64,
}

/// `init`: makes state in `memory`; the level is the highest.
pub type Init =
    unsafe extern "C" fn(memory: *mut c_void, bytes: usize, state: *mut *mut c_void) -> i32;
/// `set_level`: one atomic store; any thread, any time, also during a run (which keeps its level).
pub type SetLevel = unsafe extern "C" fn(state: *mut c_void, level: u32) -> i32;
/// `level`: the level that the next run uses.
pub type GetLevel = unsafe extern "C" fn(state: *const c_void) -> u32;
/// `run`: one inference; `inputs` and `outputs` in the model's order.
pub type Run = unsafe extern "C" fn(
    state: *mut c_void,
    inputs: *const *const c_void,
    outputs: *const *mut c_void,
) -> i32;

/// Does the tasks of a step: calls `kernel(bases, arguments, begin, end)` on ranges that together are
/// `0..n_tasks`, each task once, on any threads at any time, and returns when all calls have. What
/// was written before is visible to the tasks, and what they write to the caller, as threads and
/// locks have it. `pool` is what the caller of the run gave, for whatever it needs.
pub type ParallelFor = unsafe extern "C" fn(
    pool: *mut c_void,
    kernel: Kernel,
    bases: *const *mut c_void,
    arguments: *const c_void,
    n_tasks: usize,
);
/// `run_parallel`: `run` with the tasks of every step that has several done by `parallel_for`; the
/// same bits come out. The library starts no threads of its own. Without a `parallel_for` it is `run`.
pub type RunParallel = unsafe extern "C" fn(
    state: *mut c_void,
    inputs: *const *const c_void,
    outputs: *const *mut c_void,
    parallel_for: Option<ParallelFor>,
    pool: *mut c_void,
) -> i32;

/// Changes the level of a run before step `step`, if it likes: `*level` is that of the step before, at first that of
/// [`SetLevel`]. What is no level means the highest. `context` is what the caller of the run gave.
pub type ChooseLevel = unsafe extern "C" fn(context: *mut c_void, step: usize, level: *mut u32);
/// `run_adaptive`: `run` on this thread, with `choose` called before every step. Steps compute the same values in the same
/// layouts at all levels, so any choice gives the results of the layers at their levels.
pub type RunAdaptive = unsafe extern "C" fn(
    state: *mut c_void,
    inputs: *const *const c_void,
    outputs: *const *mut c_void,
    choose: Option<ChooseLevel>,
    context: *mut c_void,
) -> i32;

/// The static description of a model.
#[repr(C)]
pub struct Model {
    /// [`ABI_VERSION`] of the compiler that wrote it.
    pub abi_version: u32,
    /// Size of this struct when it was written.
    pub struct_bytes: u32,
    /// Name of the model.
    pub name: *const c_char,
    /// Target that it was compiled for.
    pub target: *const c_char,
    /// CPU that it was compiled for.
    pub cpu: *const c_char,
    /// Back end that compiled it.
    pub backend: *const c_char,
    /// Number of levels.
    pub n_levels: u32,
    /// Number of inputs.
    pub n_inputs: u32,
    /// Number of outputs.
    pub n_outputs: u32,
    /// Steps of a run, equal at all levels.
    pub n_steps: u32,
    /// Levels, L0 first.
    pub levels: *const Level,
    /// Inputs.
    pub inputs: *const TensorInfo,
    /// Outputs.
    pub outputs: *const TensorInfo,
    /// The one weight buffer.
    pub weights: *const c_void,
    /// Size of the weight values.
    pub weight_bytes: u64,
    /// Size of the column indices.
    pub index_bytes: u64,
    /// Size of list tables, parameters, step tables and this descriptor.
    pub table_bytes: u64,
    /// Size of the machine code.
    pub code_bytes: u64,
    /// Size of an instance's state: a header and the activation arena.
    pub state_bytes: u64,
    /// Offset of the arena in the state.
    pub arena_offset: u64,
    /// Entry point.
    pub init: Init,
    /// Entry point.
    pub set_level: SetLevel,
    /// Entry point.
    pub level: GetLevel,
    /// Entry point.
    pub run: Run,
    /// Entry point; since version 2.
    pub run_parallel: RunParallel,
    /// Entry point; since version 3.
    pub run_adaptive: RunAdaptive,
    /// Predicted cycles from each step to the end, one thread: `n_levels` rows, L0 first, of `n_steps`; since version 3.
    pub remaining_cycles: *const f32,
}

// SAFETY: all pointers lead to constants of the library, which nobody writes.
unsafe impl Sync for Model {}
