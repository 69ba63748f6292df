//! A program for tests of the entry points.

use super::programs::{empty, floats, kernel, port};
use condensec_ir::kernel::{Argument, MemoryType, Program, Section, Step, Symbol};

/// Levels of [`scale`].
pub const N_LEVELS: usize = 3;

/// `y[i] = x[i] * factor[level]`, in two steps through the arena; `i` are the tasks.
pub fn scale() -> Program {
    let mut program = empty("scale", N_LEVELS);
    program.inputs.push(port("x", &[2, 4]));
    program.outputs.push(port("y", &[2, 4]));
    program.arena_bytes = 100;
    let factors = program.add_data(floats("factors", Section::Weights, &[2.0, 3.0, 5.0]));
    let copy = program.add_kernel(kernel("copy", |f, [bases, _, begin, end]| {
        let x = f.load(MemoryType::Ptr, bases, 8);
        let arena = f.load(MemoryType::Ptr, bases, 0);
        f.for_each(begin, end, 1, |f, i| {
            let from = f.ptr_offset(x, i, 4);
            let to = f.ptr_offset(arena, i, 4);
            let value = f.load(MemoryType::F32, from, 0);
            f.store(MemoryType::F32, value, to, 0);
        });
    }));
    let multiply = program.add_kernel(kernel("multiply", |f, [bases, arguments, begin, end]| {
        let arena = f.load(MemoryType::Ptr, bases, 0);
        let y = f.load(MemoryType::Ptr, bases, 16);
        let factor = f.load(MemoryType::Ptr, arguments, 0);
        let factor = f.load(MemoryType::F32, factor, 0);
        f.for_each(begin, end, 1, |f, i| {
            let from = f.ptr_offset(arena, i, 4);
            let to = f.ptr_offset(y, i, 4);
            let value = f.load(MemoryType::F32, from, 0);
            let value = f.fmul(value, factor);
            f.store(MemoryType::F32, value, to, 0);
        });
    }));
    for (level, steps) in program.steps.iter_mut().enumerate() {
        let factor = Argument::Address(Symbol::Data(factors, 4 * level as u64));
        for (kernel, arguments, node) in [(copy, vec![], "copy"), (multiply, vec![factor], "mul")] {
            steps.push(Step {
                kernel,
                arguments,
                n_tasks: 8,
                node: node.into(),
                predicted_cycles: 2,
            });
        }
    }
    program
}

/// An input of it.
pub const X: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

/// What it makes of [`X`] with `factor`.
pub fn times(factor: f32) -> Vec<f32> {
    X.iter().map(|x| x * factor).collect()
}
