//! The runtime of a library, `<name>_init` .. `<name>_model`, as functions of the kernel IR.
//!
//! They are kernel IR so that every back end gets them and the checked interpreter can run them.
//! State of an instance, in memory that the caller gives:
//!
//! ```text
//! offset 0        level, an i32 that `set_level` writes and `run` reads, each in one atomic access
//! offset 4        STATE_MAGIC
//! offset 8        bases: arena, inputs, outputs, as pointers
//! behind them     level of the next step of `run_adaptive`, an i32
//! next 64-multiple: the activation arena
//! ```
//! `run` reads the level once, so a change during a run takes effect with the next one;
//! `run_parallel` differs in who calls the kernels only, and `run_adaptive` asks before every step. An address that is no initialised state is
//! told by alignment and magic; that is a help against mistakes, not a defence.

mod run;

use condensec_ir::kernel::{
    CompareOp, DataId, Function, FunctionBuilder, IntBinaryOp, MemoryType, Program, Symbol, Type,
    Value,
};
use condensec_runtime::abi::{STATE_ALIGN, STATE_MAGIC, Status};

/// Where things are in the state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLayout {
    /// Offset of the activation arena.
    pub arena_offset: u64,
    /// Size of the whole, a multiple of [`STATE_ALIGN`].
    pub state_bytes: u64,
}

const LEVEL_AT: usize = 0;
const MAGIC_AT: usize = 4;
const BASES_AT: usize = 8;

/// What `<name>_level` returns without a state.
const NO_LEVEL: i32 = -1;

impl StateLayout {
    /// The layout for `program` on a target with pointers of `pointer_bytes`.
    pub fn new(program: &Program, pointer_bytes: usize) -> Self {
        let step_level_at = step_level_at(program, pointer_bytes);
        let arena_offset = (step_level_at + 4).next_multiple_of(STATE_ALIGN) as u64;
        let state_bytes = (arena_offset + program.arena_bytes).next_multiple_of(STATE_ALIGN as u64);
        Self {
            arena_offset,
            state_bytes,
        }
    }
}

/// Where the level of the next step is kept.
fn step_level_at(program: &Program, pointer_bytes: usize) -> usize {
    let n_bases = 1 + program.inputs.len() + program.outputs.len();
    BASES_AT + n_bases * pointer_bytes
}

/// What the entry points refer to.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The model.
    pub program: &'a Program,
    /// Size of a pointer on the target.
    pub pointer_bytes: usize,
    /// The step tables of all levels.
    pub steps: DataId,
    /// The descriptor.
    pub model: DataId,
}

/// Names of the entry points in the order of [`build`], without the model's prefix.
pub const NAMES: [&str; 7] = [
    "init",
    "set_level",
    "level",
    "run",
    "run_parallel",
    "run_adaptive",
    "model",
];

/// Builds the entry points, in the order of [`NAMES`].
pub fn build(context: &Context<'_>) -> Vec<Function> {
    let mut functions = vec![
        init(context),
        set_level(context),
        level(context),
        run::run(context),
        run::run_parallel(context),
        run::run_adaptive(context),
        model(context),
    ];
    for function in &mut functions {
        function.is_exported = true;
    }
    functions
}

/// `<name>_init(memory, bytes, state_out) -> status`
fn init(context: &Context<'_>) -> Function {
    let layout = StateLayout::new(context.program, context.pointer_bytes);
    let mut f = new(context, "init", &[Type::Ptr, Type::Index, Type::Ptr]);
    let [memory, bytes, out] = f.parameters();
    let memory_null = is_null(&mut f, memory);
    let out_null = is_null(&mut f, out);
    let result = check(&mut f, &[memory_null, out_null], Status::BadPointer, |f| {
        let misaligned = is_misaligned(f, memory);
        let needed = f.index(layout.state_bytes as i64);
        let too_small = f.compare(CompareOp::Lt, bytes, needed);
        check(f, &[misaligned, too_small], Status::BadMemory, |f| {
            let highest = f.i32(context.program.n_levels() as i32 - 1);
            f.atomic_store(highest, memory, LEVEL_AT);
            let magic = f.i32(STATE_MAGIC as i32);
            f.store(MemoryType::I32, magic, memory, MAGIC_AT);
            f.store(MemoryType::Ptr, memory, out, 0);
            status(f, Status::Ok)
        })
    });
    f.finish_with(Some(result))
}

/// `<name>_set_level(state, level) -> status`
fn set_level(context: &Context<'_>) -> Function {
    let mut f = new(context, "set_level", &[Type::Ptr, Type::I32]);
    let [state, level] = f.parameters();
    let result = check_state(&mut f, state, &[], |f| {
        let n_levels = f.i32(context.program.n_levels() as i32);
        let no_such_level = f.compare(CompareOp::Ge, level, n_levels);
        check(f, &[no_such_level], Status::BadLevel, |f| {
            f.atomic_store(level, state, LEVEL_AT);
            status(f, Status::Ok)
        })
    });
    f.finish_with(Some(result))
}

/// `<name>_level(state) -> level`
fn level(context: &Context<'_>) -> Function {
    let mut f = new(context, "level", &[Type::Ptr]);
    let [state] = f.parameters();
    let null = is_null(&mut f, state);
    let result = f.if_else(
        null,
        |f| vec![f.i32(NO_LEVEL)],
        |f| {
            let misaligned = is_misaligned(f, state);
            f.if_else(
                misaligned,
                |f| vec![f.i32(NO_LEVEL)],
                |f| {
                    let bad = lacks_magic(f, state);
                    let level = f.atomic_load(state, LEVEL_AT);
                    let none = f.i32(NO_LEVEL);
                    vec![f.select(bad, none, level)]
                },
            )
        },
    )[0];
    f.finish_with(Some(result))
}

/// `<name>_model() -> descriptor`
fn model(context: &Context<'_>) -> Function {
    let mut f = new(context, "model", &[]);
    let model = f.address(Symbol::Data(context.model, 0));
    f.finish_with(Some(model))
}

fn new(context: &Context<'_>, name: &str, parameters: &[Type]) -> FunctionBuilder {
    FunctionBuilder::new(format!("{}_{name}", context.program.name), parameters)
}

fn status(f: &mut FunctionBuilder, status: Status) -> Value {
    f.i32(status as i32)
}

fn is_null(f: &mut FunctionBuilder, pointer: Value) -> Value {
    let address = f.ptr_to_index(pointer);
    let zero = f.index(0);
    f.compare(CompareOp::Eq, address, zero)
}

fn is_misaligned(f: &mut FunctionBuilder, pointer: Value) -> Value {
    let address = f.ptr_to_index(pointer);
    let mask = f.index(STATE_ALIGN as i64 - 1);
    let rest = f.int(IntBinaryOp::And, address, mask);
    let zero = f.index(0);
    f.compare(CompareOp::Ne, rest, zero)
}

fn lacks_magic(f: &mut FunctionBuilder, state: Value) -> Value {
    let found = f.load(MemoryType::I32, state, MAGIC_AT);
    let magic = f.i32(STATE_MAGIC as i32);
    f.compare(CompareOp::Ne, found, magic)
}

/// `if any condition { failure } else { otherwise() }`
fn check(
    f: &mut FunctionBuilder,
    conditions: &[Value],
    failure: Status,
    otherwise: impl FnOnce(&mut FunctionBuilder) -> Value,
) -> Value {
    let Some((&first, rest)) = conditions.split_first() else {
        return otherwise(f);
    };
    f.if_else(
        first,
        |f| vec![status(f, failure)],
        |f| vec![check_boxed(f, rest, failure, Box::new(otherwise))],
    )[0]
}

/// [`check`] without a new instance per nesting depth.
fn check_boxed<'a>(
    f: &mut FunctionBuilder,
    conditions: &[Value],
    failure: Status,
    otherwise: Box<dyn FnOnce(&mut FunctionBuilder) -> Value + 'a>,
) -> Value {
    match conditions.split_first() {
        None => otherwise(f),
        Some((&first, rest)) => f.if_else(
            first,
            |f| vec![status(f, failure)],
            |f| vec![check_boxed(f, rest, failure, otherwise)],
        )[0],
    }
}

/// Checks that no pointer is null and that `state` was initialised.
fn check_state(
    f: &mut FunctionBuilder,
    state: Value,
    other_nulls: &[Value],
    otherwise: impl FnOnce(&mut FunctionBuilder) -> Value,
) -> Value {
    let null = is_null(f, state);
    let nulls: Vec<Value> = [null].iter().chain(other_nulls).copied().collect();
    check(f, &nulls, Status::BadPointer, |f| {
        let misaligned = is_misaligned(f, state);
        // In an arm of its own: a misaligned word must not be read.
        check(f, &[misaligned], Status::BadMemory, |f| {
            let bad = lacks_magic(f, state);
            check(f, &[bad], Status::BadMemory, otherwise)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec_ir::kernel::{LevelSummary, Machine, Port, verify_function};

    fn program() -> Program {
        let port = |name: &str| Port {
            name: name.into(),
            shape: vec![1],
        };
        let level = LevelSummary {
            name: "L0".into(),
            density: 1.0,
            macs: 0,
            weight_bytes: 0,
            predicted_cycles: 0,
        };
        Program {
            name: "m".into(),
            functions: Vec::new(),
            data: Vec::new(),
            steps: vec![Vec::new(); 3],
            levels: vec![level; 3],
            layers: Vec::new(),
            inputs: vec![port("a"), port("b")],
            outputs: vec![port("c")],
            arena_bytes: 65,
        }
    }

    #[test]
    fn the_arena_follows_the_bases() {
        // 8 bytes of level and magic, 4 pointers, 4 bytes of level.
        let program = program();
        let wide = StateLayout::new(&program, 8);
        assert_eq!(
            wide,
            StateLayout {
                arena_offset: 64,
                state_bytes: 192
            }
        );
        let narrow = StateLayout::new(&program, 4);
        assert_eq!(
            narrow,
            StateLayout {
                arena_offset: 64,
                state_bytes: 192
            }
        );
        let many = Program {
            inputs: vec![program.inputs[0].clone(); 6],
            ..program
        };
        assert_eq!(StateLayout::new(&many, 8).arena_offset, 128);
        assert_eq!(StateLayout::new(&many, 4).arena_offset, 64);
    }

    #[test]
    fn entry_points_are_legal_for_every_pointer_width() {
        let program = program();
        for pointer_bytes in [4, 8] {
            let (steps, model) = (DataId(0), DataId(1));
            let context = Context {
                program: &program,
                pointer_bytes,
                steps,
                model,
            };
            for (function, name) in build(&context).iter().zip(NAMES) {
                verify_function(function).unwrap();
                assert_eq!(function.name, format!("m_{name}"));
                assert!(function.is_exported);
            }
        }
    }

    /// The interpreter checks every access: a call that refuses must not touch the memory.
    #[test]
    fn no_access_outside_the_state() {
        let program = program();
        let context = Context {
            program: &program,
            pointer_bytes: 8,
            steps: DataId(0),
            model: DataId(1),
        };
        let [init, set_level, level, ..]: [Function; 7] = build(&context).try_into().unwrap();
        let mut machine = Machine::new(&program);
        let (state, out) = (machine.allocate("state", 192), machine.allocate("out", 8));
        let mut call = |function: &Function, arguments: &[u64]| {
            machine.call(function, arguments).unwrap().unwrap()
        };
        let [ok, bad_level, bad_memory] = [0, 1, 2];
        assert_eq!(
            call(&set_level, &[state, 1]),
            bad_memory,
            "never initialised"
        );
        assert_eq!(call(&init, &[state, 191, out]), bad_memory);
        assert_eq!(call(&init, &[state + 32, 192, out]), bad_memory);
        assert_eq!(call(&init, &[state, 192, out]), ok);
        assert_eq!(call(&level, &[state]), 2);
        assert_eq!(call(&set_level, &[state, 1]), ok);
        assert_eq!(call(&set_level, &[state, 3]), bad_level);
        assert_eq!(call(&set_level, &[state + 63, 0]), bad_memory);
        assert_eq!(call(&level, &[state]), 1);
        assert_eq!(call(&level, &[0]), 0xffff_ffff);
    }
}
