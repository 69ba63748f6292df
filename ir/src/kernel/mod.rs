//! The kernel IR: what every back end translates, and the only thing that it sees.
//!
//! Structured SSA over scalars, f32 vectors of a fixed number of lanes and plain pointers:
//! counted loops that carry values (accumulators stay in registers), two-armed conditionals,
//! loads and stores with a constant offset, calls. Strip widths, unrolling, mask layout and vector
//! width are decided by whoever builds a [`Function`]; a back end only selects instructions. The
//! runtime entry points (`init`, `run`, ..) are functions of this IR too, so a new back end gets
//! them for free. A [`Program`] is all functions and data of one model plus, per level, the table
//! of steps that a run executes.

mod builder;
mod eval;
mod function;
mod program;
mod symbol;
mod text;
mod types;
mod verify;

pub use builder::FunctionBuilder;
pub use eval::{Machine, MachineError};
pub use function::{Block, Callee, Carried, Expr, Function, Statement, Value};
pub use program::{
    Argument, Data, LayerLevel, LayerSummary, LevelSummary, Port, Program, Relocation, Section,
    Step,
};
pub use symbol::{DataId, FunctionId, Symbol};
pub use text::print_function;
pub use types::{
    CompareOp, FloatBinaryOp, FloatUnaryOp, Half, IntBinaryOp, MemoryType, Parity, Type,
};
pub use verify::verify_function;
