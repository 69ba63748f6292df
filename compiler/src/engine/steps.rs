//! Times of single steps: a run as its step table says, with a look at the clock between two steps.

use std::ffi::c_void;
use std::time::Instant;

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
    /// One inference at the present level on this thread, step by step.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    pub fn run_steps(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
    ) -> Result<Vec<StepTime>, Failure> {
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
        let level = self.level();
        // SAFETY: the descriptor has as many levels as it says, each with `n_steps` steps.
        let steps = unsafe {
            let level = &*self.model.levels.add(level);
            std::slice::from_raw_parts(level.steps, self.model.n_steps as usize)
        };
        let mut times = Vec::with_capacity(steps.len());
        for step in steps {
            let start = Instant::now();
            // SAFETY: `bases` is what the ABI asks for: arena, inputs, outputs, of the sizes checked above; kernels
            // only read the inputs. All tasks of all steps in order are a run.
            unsafe { (step.kernel)(bases.as_ptr(), step.arguments, 0, step.n_tasks) };
            times.push(StepTime {
                seconds: start.elapsed().as_secs_f64(),
                // SAFETY: names in a descriptor are strings.
                node: unsafe { text(step.node) },
            });
        }
        Ok(times)
    }
}
