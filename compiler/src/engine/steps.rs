//! Runs step by step, as the step tables say: with a look at the clock between two steps, or with a level of its
//! own for every step.

use std::ffi::c_void;
use std::time::Instant;

use condensec_runtime::abi::Step;

use super::{Engine, check_lengths, text};
use crate::report::Failure;

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTime {
    /// Graph node that it computes, or a part of it.
    pub node: String,
    /// How long it took.
    pub seconds: f64,
}

impl Engine {
    /// Graph nodes that the steps of a run compute, the same at all levels.
    pub fn step_nodes(&self) -> Vec<String> {
        // SAFETY: names in a descriptor are strings.
        let name = |step: &Step| unsafe { text(step.node) };
        self.steps(0).iter().map(name).collect()
    }

    /// One inference at the present level on this thread, step by step.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    pub fn run_steps(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
    ) -> Result<Vec<StepTime>, Failure> {
        let bases = self.bases(inputs, outputs)?;
        let steps = self.steps(self.level());
        let mut times = Vec::with_capacity(steps.len());
        for step in steps {
            let start = Instant::now();
            // SAFETY: `bases` are those of this model, and steps come in their order.
            unsafe { run_step(step, &bases) };
            times.push(StepTime {
                seconds: start.elapsed().as_secs_f64(),
                // SAFETY: names in a descriptor are strings.
                node: unsafe { text(step.node) },
            });
        }
        Ok(times)
    }

    /// One inference on this thread with step `i` at level `levels[i]`: steps compute the same values in the same
    /// layouts at all levels.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    ///
    /// # Panics
    /// If there are not as many levels as steps, or one does not exist.
    pub fn run_mixed(
        &mut self,
        levels: &[usize],
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), Failure> {
        assert_eq!(
            levels.len(),
            self.model.n_steps as usize,
            "levels of all steps"
        );
        let bases = self.bases(inputs, outputs)?;
        for (at, &level) in levels.iter().enumerate() {
            // SAFETY: as in `run_steps`.
            unsafe { run_step(&self.steps(level)[at], &bases) };
        }
        Ok(())
    }

    fn steps(&self, level: usize) -> &[Step] {
        assert!(level < self.levels.len(), "level {level} exists");
        // SAFETY: the descriptor has as many levels as it says, each with `n_steps` steps.
        unsafe {
            let level = &*self.model.levels.add(level);
            std::slice::from_raw_parts(level.steps, self.model.n_steps as usize)
        }
    }

    /// What kernels are given: the arena, then inputs, then outputs.
    fn bases(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
    ) -> Result<Vec<*mut c_void>, Failure> {
        check_lengths(
            "input",
            &self.inputs,
            inputs.iter().map(|input| input.len()),
        )?;
        check_lengths("output", &self.outputs, outputs.iter().map(Vec::len))?;
        let arena_offset = usize::try_from(self.model.arena_offset).expect("inside the state");
        // SAFETY: the arena lies in the state, at the offset that the descriptor gives.
        let arena = unsafe { self.state.byte_add(arena_offset) };
        let mut bases: Vec<*mut c_void> = vec![arena];
        bases.extend(
            inputs
                .iter()
                .map(|input| input.as_ptr().cast_mut().cast::<c_void>()),
        );
        bases.extend(
            outputs
                .iter_mut()
                .map(|output| output.as_mut_ptr().cast::<c_void>()),
        );
        Ok(bases)
    }
}

/// # Safety
/// `bases` are what the ABI asks for: arena, inputs, outputs, of the model's sizes (kernels only read the inputs), and
/// the steps before this one have run.
unsafe fn run_step(step: &Step, bases: &[*mut c_void]) {
    // SAFETY: the caller's.
    unsafe { (step.kernel)(bases.as_ptr(), step.arguments, 0, step.n_tasks) };
}
