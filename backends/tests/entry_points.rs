//! The C interface of a generated library: statuses, levels, several instances, concurrent switching.

use crate::support::loaded::{Line, Loaded};
use crate::support::programs::{add_step, empty, kernel, port};
use crate::support::scale::{N_LEVELS, X, scale, times};
use condensec_ir::kernel::MemoryType;
use condensec_runtime::abi::{ABI_VERSION, Model, STATE_ALIGN, STATE_MAGIC, Status};
use std::ffi::{CStr, c_void};

fn status(status: Status) -> i32 {
    status as i32
}

#[test]
fn levels_change_what_runs() {
    for loaded in Loaded::by_every_backend(&scale()) {
        let level = || unsafe { (loaded.model.level)(loaded.state) };
        assert_eq!(level(), 2, "init takes the highest level");
        assert_eq!(loaded.run(&[&X]), [times(5.0)]);
        for (number, factor) in [(0, 2.0), (2, 5.0), (1, 3.0), (0, 2.0)] {
            assert_eq!(loaded.set_level(number), status(Status::Ok));
            assert_eq!(level(), number);
            assert_eq!(loaded.run(&[&X]), [times(factor)]);
        }
        for bad in [3, 4, 1 << 31, u32::MAX] {
            assert_eq!(loaded.set_level(bad), status(Status::BadLevel));
            assert_eq!(level(), 0, "nothing was changed");
        }
    }
}

/// The ABIs of x86-64 and aarch64 leave the upper half of a register with a 32-bit argument
/// undefined.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn only_32_bits_of_a_level_count() {
    for loaded in Loaded::by_every_backend(&scale()) {
        // SAFETY: the callee reads the lower half of the register; this is a caller with garbage in the
        // upper one.
        let set_level: unsafe extern "C" fn(*mut c_void, u64) -> i32 =
            unsafe { std::mem::transmute(loaded.model.set_level) };
        assert_eq!(
            unsafe { set_level(loaded.state, 0xdead_beef_0000_0001) },
            status(Status::Ok)
        );
        assert_eq!(unsafe { (loaded.model.level)(loaded.state) }, 1);
    }
}

#[test]
fn init_checks_the_memory() {
    for loaded in Loaded::by_every_backend(&scale()) {
        let Model {
            init, state_bytes, ..
        } = *loaded.model;
        let bytes = state_bytes as usize;
        let mut memory = vec![Line::default(); bytes / 64 + 1];
        let start: *mut c_void = memory.as_mut_ptr().cast();
        let mut state = std::ptr::null_mut();
        let null = std::ptr::null_mut();
        let out: *mut *mut c_void = &mut state;
        // SAFETY: `memory` is as large as every call says, or the call must not touch it.
        unsafe {
            assert_eq!(init(null, bytes, out), status(Status::BadPointer));
            assert_eq!(
                init(start, bytes, std::ptr::null_mut()),
                status(Status::BadPointer)
            );
            assert_eq!(init(start, bytes - 1, out), status(Status::BadMemory));
            assert_eq!(init(start, 0, out), status(Status::BadMemory));
            for shift in [1, 4, 8, 32] {
                let shifted = start.byte_add(shift);
                assert_eq!(init(shifted, bytes, out), status(Status::BadMemory));
            }
            assert!(state.is_null(), "no state without success");
            assert_eq!(init(start, bytes, out), status(Status::Ok));
        }
        assert_eq!(state, start);
        let words = [0, 1].map(|i| unsafe { state.cast::<u32>().add(i).read() });
        assert_eq!(words, [N_LEVELS as u32 - 1, STATE_MAGIC]);
    }
}

#[test]
fn calls_check_their_pointers() {
    for loaded in Loaded::by_every_backend(&scale()) {
        let Model {
            init: _,
            set_level,
            level,
            run,
            ..
        } = *loaded.model;
        let state = loaded.state;
        let mut raw = vec![Line::default(); 64];
        let raw: *mut c_void = raw.as_mut_ptr().cast();
        let null = std::ptr::null_mut();
        let mut y = [0f32; 8];
        let inputs: [*const c_void; 1] = [X.as_ptr().cast()];
        let outputs: [*mut c_void; 1] = [y.as_mut_ptr().cast()];
        let no_inputs = [std::ptr::null()];
        let no_outputs = [std::ptr::null_mut()];
        let (i, o) = (inputs.as_ptr(), outputs.as_ptr());
        // SAFETY: every pointer is null, or leads to enough memory.
        unsafe {
            assert_eq!(set_level(null, 0), status(Status::BadPointer));
            assert_eq!(set_level(raw, 0), status(Status::BadMemory), "no magic");
            assert_eq!(
                set_level(state.byte_add(4), 0),
                status(Status::BadMemory),
                "misaligned"
            );
            assert_eq!(level(null), u32::MAX);
            assert_eq!(level(raw), u32::MAX);
            assert_eq!(level(state.byte_add(4)), u32::MAX);
            assert_eq!(run(null, i, o), status(Status::BadPointer));
            assert_eq!(run(state, std::ptr::null(), o), status(Status::BadPointer));
            assert_eq!(run(state, i, std::ptr::null()), status(Status::BadPointer));
            assert_eq!(
                run(state, no_inputs.as_ptr(), o),
                status(Status::BadPointer)
            );
            assert_eq!(
                run(state, i, no_outputs.as_ptr()),
                status(Status::BadPointer)
            );
            assert_eq!(run(raw, i, o), status(Status::BadMemory));
            assert_eq!(run(state.byte_add(8), i, o), status(Status::BadMemory));
            assert_eq!(y, [0.0; 8], "nothing ran");
            assert_eq!(run(state, i, o), status(Status::Ok));
        }
        assert_eq!(y.to_vec(), times(5.0));
    }
}

#[test]
fn a_model_without_inputs_takes_null() {
    let mut program = empty("constant", 1);
    program.outputs.push(port("y", &[1]));
    let function = kernel("one", |f, [bases, ..]| {
        let y = f.load(MemoryType::Ptr, bases, 8);
        let one = f.f32(1.0);
        f.store(MemoryType::F32, one, y, 0);
    });
    add_step(&mut program, function, &[]);
    for loaded in Loaded::by_every_backend(&program) {
        let mut y = 0f32;
        let outputs: [*mut c_void; 1] = [(&raw mut y).cast()];
        // SAFETY: the model has no inputs and one output of one element.
        let result =
            unsafe { (loaded.model.run)(loaded.state, std::ptr::null(), outputs.as_ptr()) };
        assert_eq!((result, y), (0, 1.0));
    }
}

#[test]
fn instances_are_independent() {
    for loaded in Loaded::by_every_backend(&scale()) {
        let mut memory = vec![Line::default(); loaded.model.state_bytes as usize / 64];
        let mut other = std::ptr::null_mut();
        // SAFETY: the memory is as large as the model asks for.
        let result = unsafe {
            let bytes = memory.len() * 64;
            (loaded.model.init)(memory.as_mut_ptr().cast(), bytes, &mut other)
        };
        assert_eq!(result, 0);
        assert_eq!(loaded.set_level(0), 0);
        assert_eq!(unsafe { (loaded.model.level)(other) }, 2);
    }
}

#[test]
fn another_thread_switches_between_whole_runs() {
    for loaded in Loaded::by_every_backend(&scale()) {
        let (state, set_level) = (loaded.state as usize, loaded.model.set_level);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut level = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // SAFETY: the state outlives the scope; any thread may set its level.
                    assert_eq!(unsafe { set_level(state as *mut c_void, level) }, 0);
                    level = (level + 1) % N_LEVELS as u32;
                }
            });
            let expected = [times(2.0), times(3.0), times(5.0)];
            let mut seen = [0; N_LEVELS];
            for _ in 0..20_000 {
                let y = &loaded.run(&[&X])[0];
                let level = expected.iter().position(|e| e == y);
                seen[level.expect("a run uses one level throughout")] += 1;
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}

#[test]
fn the_descriptor_describes() {
    let program = scale();
    for loaded in Loaded::by_every_backend(&program) {
        let model = loaded.model;
        let text = |p| unsafe { CStr::from_ptr(p) }.to_str().unwrap();
        assert_eq!(model.abi_version, ABI_VERSION);
        assert_eq!(model.struct_bytes as usize, size_of::<Model>());
        assert_eq!(text(model.name), "scale");
        assert_eq!(text(model.backend), loaded.backend);
        assert_eq!(text(model.cpu), "native");
        assert_eq!(
            [
                model.n_levels,
                model.n_inputs,
                model.n_outputs,
                model.n_steps
            ],
            [3, 1, 1, 2]
        );
        assert_eq!(model.state_bytes % STATE_ALIGN as u64, 0);
        assert_eq!(model.arena_offset % STATE_ALIGN as u64, 0);
        assert!(model.state_bytes >= model.arena_offset + program.arena_bytes);
        assert_eq!(model.weight_bytes, 12);
        assert_eq!(model.index_bytes, 0);
        assert_eq!(model.table_bytes, loaded.library.sizes.tables);
        assert_eq!(model.code_bytes, loaded.library.sizes.code);
        assert_eq!(model.weights, loaded.symbol("scale_weights"));
        // SAFETY: the tables have the lengths that the descriptor says.
        let (levels, inputs) = unsafe {
            (
                std::slice::from_raw_parts(model.levels, 3),
                std::slice::from_raw_parts(model.inputs, 1),
            )
        };
        assert_eq!(
            levels.iter().map(|l| text(l.name)).collect::<Vec<_>>(),
            ["L0", "L1", "L2"]
        );
        assert_eq!(levels[1].macs, 200);
        assert_eq!(text(inputs[0].name), "x");
        assert_eq!(inputs[0].bytes, 32);
        assert_eq!(
            unsafe { std::slice::from_raw_parts(inputs[0].shape, inputs[0].rank as usize) },
            [2, 4]
        );
        for level in levels {
            let steps = unsafe { std::slice::from_raw_parts(level.steps, 2) };
            assert_eq!(
                steps.iter().map(|s| text(s.node)).collect::<Vec<_>>(),
                ["copy", "mul"]
            );
            assert!(steps.iter().all(|s| s.n_tasks == 8));
        }
        // A driver of its own: the steps of a level, tasks one by one and backwards.
        let steps = unsafe { std::slice::from_raw_parts(levels[1].steps, 2) };
        let mut arena = [0f32; 8];
        let mut y = [0f32; 8];
        let bases: [*mut c_void; 3] = [
            arena.as_mut_ptr().cast(),
            X.as_ptr() as *mut c_void,
            y.as_mut_ptr().cast(),
        ];
        for step in steps {
            for task in (0..step.n_tasks).rev() {
                // SAFETY: the bases are arena, inputs and outputs of this model.
                unsafe { (step.kernel)(bases.as_ptr(), step.arguments, task, task + 1) };
            }
        }
        assert_eq!(y.to_vec(), times(3.0));
    }
}
