//! One inference: `<name>_run`; `<name>_run_parallel`, which has the caller share out the tasks; and
//! `<name>_run_adaptive`, which lets the caller change the level before every step.
//!
//! ```text
//! check the pointers, copy them into the state, read the level once
//! for step in steps[level]
//!   run           kernel(bases, arguments, 0, n_tasks)
//!   run_parallel  parallel_for(pool, kernel, bases, arguments, n_tasks)    if n_tasks > 1, else as above
//!   run_adaptive  choose(context, number of the step, &level), then as `run` with the step of that level
//! ```

use super::{
    BASES_AT, Context, LEVEL_AT, StateLayout, check, check_state, is_null, new, status,
    step_level_at,
};
use crate::descriptor::step_bytes;
use condensec_ir::kernel::{
    CompareOp, Function, FunctionBuilder, IntBinaryOp, MemoryType, Symbol, Type, Value,
};
use condensec_runtime::abi::Status;

/// `<name>_run(state, inputs, outputs) -> status`
pub(super) fn run(context: &Context<'_>) -> Function {
    let mut f = new(context, "run", &[Type::Ptr; 3]);
    let [state, inputs, outputs] = f.parameters();
    let result = check_run(context, &mut f, [state, inputs, outputs], |f, run| {
        run.for_steps(f, |f, step| step.run(f));
        status(f, Status::Ok)
    });
    f.finish_with(Some(result))
}

/// `<name>_run_parallel(state, inputs, outputs, parallel_for, pool) -> status`
pub(super) fn run_parallel(context: &Context<'_>) -> Function {
    let mut f = new(context, "run_parallel", &[Type::Ptr; 5]);
    let [state, inputs, outputs, parallel_for, pool] = f.parameters();
    let result = check_run(context, &mut f, [state, inputs, outputs], |f, run| {
        let serial = is_null(f, parallel_for);
        let (most, few) = (f.index(-1), f.index(2));
        let fewest_tasks = f.select(serial, most, few);
        run.for_steps(f, |f, step| {
            let is_parallel = f.compare(CompareOp::Ge, step.n_tasks, fewest_tasks);
            f.if_else(
                is_parallel,
                |f| {
                    let Step {
                        kernel,
                        bases,
                        arguments,
                        n_tasks,
                    } = step;
                    f.call_indirect(parallel_for, &[pool, kernel, bases, arguments, n_tasks]);
                    Vec::new()
                },
                |f| {
                    step.run(f);
                    Vec::new()
                },
            );
        });
        status(f, Status::Ok)
    });
    f.finish_with(Some(result))
}

/// `<name>_run_adaptive(state, inputs, outputs, choose, context) -> status`
pub(super) fn run_adaptive(context: &Context<'_>) -> Function {
    let mut f = new(context, "run_adaptive", &[Type::Ptr; 5]);
    let [state, inputs, outputs, choose, caller] = f.parameters();
    let Context {
        program,
        pointer_bytes,
        ..
    } = *context;
    let null = is_null(&mut f, choose);
    let result = check(&mut f, &[null], Status::BadPointer, |f| {
        check_run(context, f, [state, inputs, outputs], |f, run| {
            let n_levels = program.n_levels() as i32;
            let chosen = f.ptr_add_const(state, step_level_at(program, pointer_bytes));
            f.store(MemoryType::I32, run.level, chosen, 0);
            let level_bytes = run.n_steps * step_bytes(pointer_bytes);
            f.for_range(run.n_steps, |f, i| {
                f.call_indirect(choose, &[caller, i, chosen]);
                let wanted = f.load(MemoryType::I32, chosen, 0);
                // Whatever the caller says, no step is read outside the tables.
                let (highest, n_levels) = (f.i32(n_levels - 1), f.i32(n_levels));
                let exists = f.compare(CompareOp::Lt, wanted, n_levels);
                let level = f.select(exists, wanted, highest);
                f.store(MemoryType::I32, level, chosen, 0);
                let level = f.i32_to_index(level);
                let steps = f.ptr_offset(run.tables, level, level_bytes);
                run.step(f, steps, i).run(f);
            });
            status(f, Status::Ok)
        })
    });
    f.finish_with(Some(result))
}

/// A run whose arguments have been checked.
struct Run {
    pointer_bytes: usize,
    /// Arena, inputs and outputs.
    bases: Value,
    /// The level that `set_level` asked for, an i32.
    level: Value,
    /// The step tables of all levels, L0 first.
    tables: Value,
    /// The one of the level, with `n_steps` entries.
    steps: Value,
    n_steps: usize,
}

/// One entry of the step table, and what its kernel works on.
#[derive(Clone, Copy)]
struct Step {
    kernel: Value,
    bases: Value,
    arguments: Value,
    n_tasks: Value,
}

impl Run {
    /// Runs `body` on every step in order.
    fn for_steps(&self, f: &mut FunctionBuilder, body: impl FnOnce(&mut FunctionBuilder, Step)) {
        f.for_range(self.n_steps, |f, i| {
            let step = self.step(f, self.steps, i);
            body(f, step);
        });
    }

    /// Entry `i` of a step table.
    fn step(&self, f: &mut FunctionBuilder, steps: Value, i: Value) -> Step {
        let entry = f.ptr_offset(steps, i, step_bytes(self.pointer_bytes));
        Step {
            kernel: f.load(MemoryType::Ptr, entry, 0),
            bases: self.bases,
            arguments: f.load(MemoryType::Ptr, entry, self.pointer_bytes),
            n_tasks: f.load(MemoryType::Index, entry, 3 * self.pointer_bytes),
        }
    }
}

impl Step {
    /// All tasks in one call.
    fn run(&self, f: &mut FunctionBuilder) {
        let first = f.index(0);
        f.call_indirect(
            self.kernel,
            &[self.bases, self.arguments, first, self.n_tasks],
        );
    }
}

/// Checks the arguments of a run, copies the pointers into the state and reads the level.
fn check_run(
    context: &Context<'_>,
    f: &mut FunctionBuilder,
    [state, inputs, outputs]: [Value; 3],
    otherwise: impl FnOnce(&mut FunctionBuilder, Run) -> Value,
) -> Value {
    let Context {
        program,
        pointer_bytes,
        ..
    } = *context;
    let layout = StateLayout::new(program, pointer_bytes);
    let n_steps = program.steps.first().map_or(0, Vec::len);
    let inputs_at = BASES_AT + pointer_bytes;
    let outputs_at = inputs_at + program.inputs.len() * pointer_bytes;
    let ports = [
        (inputs, inputs_at, program.inputs.len()),
        (outputs, outputs_at, program.outputs.len()),
    ];
    // A model without inputs may be called with a null array of them.
    let arrays: Vec<Value> = ports
        .iter()
        .filter(|(.., n)| *n > 0)
        .map(|(array, ..)| is_null(f, *array))
        .collect();
    check_state(f, state, &arrays, |f| {
        let bases = f.ptr_add_const(state, BASES_AT);
        let missing = ports.map(|(array, at, n)| {
            let target = f.ptr_add_const(state, at);
            copy_pointers(f, pointer_bytes, array, target, n)
        });
        let missing = f.int(IntBinaryOp::Or, missing[0], missing[1]);
        let zero = f.i32(0);
        let is_missing = f.compare(CompareOp::Ne, missing, zero);
        check(f, &[is_missing], Status::BadPointer, |f| {
            let level = f.atomic_load(state, LEVEL_AT);
            let n_levels = f.i32(program.n_levels() as i32);
            let no_such_level = f.compare(CompareOp::Ge, level, n_levels);
            check(f, &[no_such_level], Status::BadLevel, |f| {
                let arena = f.ptr_add_const(state, layout.arena_offset as usize);
                f.store(MemoryType::Ptr, arena, bases, 0);
                let tables = f.address(Symbol::Data(context.steps, 0));
                let index = f.i32_to_index(level);
                let steps = f.ptr_offset(tables, index, n_steps * step_bytes(pointer_bytes));
                let run = Run {
                    pointer_bytes,
                    bases,
                    level,
                    tables,
                    steps,
                    n_steps,
                };
                otherwise(f, run)
            })
        })
    })
}

/// Copies `n` pointers; returns an i32 that is not zero if one of them is null.
fn copy_pointers(
    f: &mut FunctionBuilder,
    pointer_bytes: usize,
    source: Value,
    target: Value,
    n: usize,
) -> Value {
    let zero = f.i32(0);
    let one = f.i32(1);
    let low = f.index(0);
    let high = f.size(n);
    f.for_loop(low, high, 1, &[zero], |f, i, missing| {
        let from = f.ptr_offset(source, i, pointer_bytes);
        let to = f.ptr_offset(target, i, pointer_bytes);
        let pointer = f.load(MemoryType::Ptr, from, 0);
        f.store(MemoryType::Ptr, pointer, to, 0);
        let null = is_null(f, pointer);
        vec![f.select(null, one, missing[0])]
    })[0]
}
