//! `<name>_run_parallel`: which steps it hands out, with what, and that the result is that of `run`.

use crate::support::loaded::{Line, Loaded, host};
use crate::support::programs::{add_step, kernel};
use crate::support::scale::{N_LEVELS, X, scale, times};
use condensec_backends::image::Image;
use condensec_ir::kernel::{
    Function, FunctionBuilder, FunctionId, IntBinaryOp, Machine, MemoryType, Program, Symbol, Type,
};
use condensec_runtime::abi::{Kernel, Model, ParallelFor, Status};
use std::ffi::c_void;
use std::sync::Mutex;
use std::thread;

/// [`scale`], then a step of one task that negates the first element.
fn program() -> Program {
    let mut program = scale();
    let negate = kernel("negate", |f, [bases, ..]| {
        let y = f.load(MemoryType::Ptr, bases, 16);
        let value = f.load(MemoryType::F32, y, 0);
        let zero = f.f32(0.0);
        let value = f.fsub(zero, value);
        f.store(MemoryType::F32, value, y, 0);
    });
    add_step(&mut program, negate, &[]);
    program
}

const FACTORS: [f32; N_LEVELS] = [2.0, 3.0, 5.0];

fn expected(level: usize) -> Vec<f32> {
    let mut y = times(FACTORS[level]);
    y[0] = -y[0];
    y
}

/// Where a `parallel_for` of these tests writes what it was asked for.
#[derive(Default)]
struct Calls(Mutex<Vec<(usize, usize)>>);

fn run_parallel(
    loaded: &Loaded,
    parallel_for: Option<ParallelFor>,
    pool: *mut c_void,
) -> (i32, Vec<f32>) {
    let mut y = vec![f32::NAN; 8];
    let inputs: [*const c_void; 1] = [X.as_ptr().cast()];
    let outputs: [*mut c_void; 1] = [y.as_mut_ptr().cast()];
    // SAFETY: the ports have 8 elements, and the tests' `parallel_for` do what they should.
    let status = unsafe {
        let (inputs, outputs) = (inputs.as_ptr(), outputs.as_ptr());
        (loaded.model.run_parallel)(loaded.state, inputs, outputs, parallel_for, pool)
    };
    (status, y)
}

/// One task at a time, the last one first.
unsafe extern "C" fn backwards(
    pool: *mut c_void,
    kernel: Kernel,
    bases: *const *mut c_void,
    arguments: *const c_void,
    n_tasks: usize,
) {
    // SAFETY: the tests hand in calls, and `run_parallel` a kernel with its arguments.
    unsafe {
        let Calls(calls) = &*pool.cast::<Calls>();
        calls.lock().unwrap().push((kernel as usize, n_tasks));
        for task in (0..n_tasks).rev() {
            kernel(bases, arguments, task, task + 1);
        }
    }
}

/// A thread per task.
unsafe extern "C" fn at_once(
    _: *mut c_void,
    kernel: Kernel,
    bases: *const *mut c_void,
    arguments: *const c_void,
    n_tasks: usize,
) {
    let (bases, arguments) = (bases as usize, arguments as usize);
    thread::scope(|scope| {
        for task in 0..n_tasks {
            // SAFETY: the tasks are independent of each other.
            scope.spawn(move || unsafe { kernel(bases as _, arguments as _, task, task + 1) });
        }
    });
}

#[test]
fn steps_with_several_tasks_are_handed_out() {
    for loaded in Loaded::by_every_backend(&program()) {
        for level in 0..N_LEVELS {
            assert_eq!(loaded.set_level(level as u32), 0);
            let calls = Calls::default();
            let pool = (&raw const calls).cast_mut().cast();
            assert_eq!(
                run_parallel(&loaded, Some(backwards), pool),
                (0, expected(level))
            );
            // SAFETY: the descriptor's tables have the lengths it says.
            let steps = unsafe {
                let level = &*loaded.model.levels.add(level);
                std::slice::from_raw_parts(level.steps, loaded.model.n_steps as usize)
            };
            let all = steps.iter().map(|s| (s.kernel as usize, s.n_tasks));
            let several: Vec<_> = all.filter(|&(_, n_tasks)| n_tasks > 1).collect();
            assert_eq!((steps.len(), several.len()), (3, 2));
            assert_eq!(*calls.0.lock().unwrap(), several);
        }
    }
}

#[test]
fn tasks_run_on_any_thread() {
    for loaded in Loaded::by_every_backend(&program()) {
        for level in 0..N_LEVELS {
            assert_eq!(loaded.set_level(level as u32), 0);
            let result = run_parallel(&loaded, Some(at_once), std::ptr::null_mut());
            assert_eq!(result, (0, expected(level)));
            assert_eq!(loaded.run(&[&X]), [result.1]);
        }
    }
}

#[test]
fn without_anybody_to_help_it_runs_alone() {
    for loaded in Loaded::by_every_backend(&program()) {
        let result = run_parallel(&loaded, None, std::ptr::null_mut());
        assert_eq!(result, (0, expected(N_LEVELS - 1)));
    }
}

#[test]
fn it_checks_what_run_checks() {
    for loaded in Loaded::by_every_backend(&program()) {
        let Model { run_parallel, .. } = *loaded.model;
        let mut raw = vec![Line::default(); 64];
        let raw: *mut c_void = raw.as_mut_ptr().cast();
        let null = std::ptr::null_mut();
        let mut y = [0f32; 8];
        let inputs: [*const c_void; 1] = [X.as_ptr().cast()];
        let outputs: [*mut c_void; 1] = [y.as_mut_ptr().cast()];
        let (i, o) = (inputs.as_ptr(), outputs.as_ptr());
        let (no_inputs, no_outputs) = ([std::ptr::null()], [std::ptr::null_mut()]);
        let calls = Calls::default();
        let pool = (&raw const calls).cast_mut().cast();
        for (state, i, o, expected) in [
            (null, i, o, Status::BadPointer),
            (loaded.state, std::ptr::null(), o, Status::BadPointer),
            (loaded.state, i, std::ptr::null(), Status::BadPointer),
            (loaded.state, no_inputs.as_ptr(), o, Status::BadPointer),
            (loaded.state, i, no_outputs.as_ptr(), Status::BadPointer),
            (raw, i, o, Status::BadMemory),
        ] {
            // SAFETY: every pointer is null, or leads to enough memory.
            let found = unsafe { run_parallel(state, i, o, Some(backwards), pool) };
            assert_eq!(found, expected as i32);
        }
        assert!(calls.0.lock().unwrap().is_empty(), "nothing ran");
        assert_eq!(y, [0.0; 8]);
    }
}

/// `backwards` in kernel IR; counts its calls where `pool` leads.
fn backwards_in_kernel_ir() -> Function {
    let types = [Type::Ptr, Type::Ptr, Type::Ptr, Type::Ptr, Type::Index];
    let mut f = FunctionBuilder::new("backwards", &types);
    let [pool, kernel, bases, arguments, n_tasks] = f.parameters();
    let n_calls = f.load(MemoryType::I32, pool, 0);
    let one = f.i32(1);
    let n_calls = f.int(IntBinaryOp::Add, n_calls, one);
    f.store(MemoryType::I32, n_calls, pool, 0);
    let (first, one) = (f.index(0), f.index(1));
    f.for_each(first, n_tasks, 1, |f, i| {
        let end = f.sub(n_tasks, i);
        let begin = f.sub(end, one);
        f.call_indirect(kernel, &[bases, arguments, begin, end]);
    });
    f.finish()
}

/// The entry points in the interpreter, which checks every access that they make.
#[test]
fn both_runs_stay_in_bounds() {
    let source = program();
    let image = Image::new(&source, &host(), "interpreter").unwrap();
    let mut functions = image.functions.clone();
    let entry_point = |name: &str| {
        let found = functions.iter().find(|f| f.name == format!("scale_{name}"));
        found.unwrap().clone()
    };
    let [init, set_level, run, run_parallel] =
        ["init", "set_level", "run", "run_parallel"].map(entry_point);
    let parallel_for = FunctionId(functions.len() as u32);
    functions.push(backwards_in_kernel_ir());
    let whole = Program {
        functions,
        data: image.data().cloned().collect(),
        ..source.clone()
    };
    let mut machine = Machine::new(&whole);
    let state_bytes = image.state.state_bytes as usize;
    let state = machine.allocate("state", state_bytes);
    let out = machine.allocate("out", 8);
    let pool = machine.allocate("pool", 4);
    let call = |machine: &mut Machine<'_>, function: &Function, arguments: &[u64]| {
        let status = machine.call(function, arguments).unwrap();
        assert_eq!(status, Some(0), "{}", function.name);
    };
    call(&mut machine, &init, &[state, state_bytes as u64, out]);
    let x: Vec<u8> = X.iter().flat_map(|x| x.to_le_bytes()).collect();
    let [inputs, outputs] = ["inputs", "outputs"].map(|name| machine.allocate(name, 8));
    let x_at = machine.allocate("x", 32);
    machine.bytes_mut(x_at).copy_from_slice(&x);
    machine
        .bytes_mut(inputs)
        .copy_from_slice(&x_at.to_le_bytes());
    let parallel_for = Machine::address_of(Symbol::Function(parallel_for));
    for level in 0..N_LEVELS {
        call(&mut machine, &set_level, &[state, level as u64]);
        for (helper, n_calls) in [(None, 0), (Some(0), 0), (Some(parallel_for), 2)] {
            let y_at = machine.allocate("y", 32);
            let y_bytes = y_at.to_le_bytes();
            machine.bytes_mut(outputs).copy_from_slice(&y_bytes);
            machine.bytes_mut(pool).fill(0);
            match helper {
                None => call(&mut machine, &run, &[state, inputs, outputs]),
                Some(helper) => call(
                    &mut machine,
                    &run_parallel,
                    &[state, inputs, outputs, helper, pool],
                ),
            }
            let y = machine.bytes_mut(y_at).chunks_exact(4);
            let y: Vec<f32> = y
                .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
                .collect();
            assert_eq!(y, expected(level));
            assert_eq!(machine.bytes_mut(pool)[0], n_calls);
        }
    }
}
