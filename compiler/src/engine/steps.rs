//! Runs step by step: with a look at the clock between two steps, or with a choice of level before each.

use std::ffi::c_void;
use std::ptr;
use std::time::Instant;

use condensec_runtime::abi::Step;
use condensec_runtime::deadline::Deadline;

use super::{Engine, check_lengths, check_status, text};
use crate::report::Failure;

/// What a run with a deadline keeps free of the time that is left: how far run times may be off.
const RESERVE: f32 = 0.02;

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTime {
    /// Graph node that it computes, or a part of it.
    pub node: String,
    /// How long it took.
    pub seconds: f64,
}

/// Steps, in their order, that run at another level than in the run that a branch leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The steps.
    pub steps: Vec<usize>,
    /// Their level.
    pub level: usize,
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

    /// One inference on this thread; `choose(step, level)` gets the level of the step before, at first the present one,
    /// and returns that of the step. What is no level means the highest.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    pub fn run_adaptive(
        &mut self,
        choose: &mut dyn FnMut(usize, usize) -> usize,
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), Failure> {
        let bases = self.bases(inputs, outputs)?;
        let (inputs, outputs) = bases[1..].split_at(self.inputs.len());
        let mut choose = choose;
        // SAFETY: the state is initialised, both arrays have an entry for every port, of the sizes that were checked,
        // and `choose` outlives the call that gets it.
        let status = unsafe {
            (self.model.run_adaptive)(
                self.state,
                inputs.as_ptr().cast(),
                outputs.as_ptr(),
                Some(call),
                (&raw mut choose).cast(),
            )
        };
        check_status(status, "run_adaptive")
    }

    /// One inference on this thread that is to take no more than `deadline_ns`, started at the present level; returns the
    /// level of every step. A predicted cycle is expected to take `ns_per_cycle`; `clock` tells nanoseconds.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    pub fn run_by_deadline(
        &mut self,
        deadline_ns: f32,
        ns_per_cycle: f32,
        clock: &mut dyn FnMut() -> u64,
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
    ) -> Result<Vec<usize>, Failure> {
        let mut levels = vec![0; self.model.n_steps as usize];
        let mut clock = clock;
        let mut deadline = Deadline {
            model: self.model,
            ns_per_unit: ns_per_cycle,
            deadline_ns,
            reserve: RESERVE,
            clock: tell_time,
            clock_context: (&raw mut clock).cast(),
            levels: levels.as_mut_ptr(),
            ..Deadline::default()
        };
        // SAFETY: the clock gets what it takes for its context.
        unsafe { deadline.start() };
        let mut choose = |step, level| {
            let level = u32::try_from(level).unwrap_or(u32::MAX);
            // SAFETY: the fields are of this model, `levels` has a byte for every step, and steps are those of the run.
            unsafe { deadline.choose(step, level) as usize }
        };
        self.run_adaptive(&mut choose, inputs, outputs)?;
        Ok(levels.into_iter().map(usize::from).collect())
    }

    /// One inference on this thread with step `i` at `levels[i]`, whose result is in `outputs` in the end, and on the way
    /// one for every branch, whose result goes to `visit` with the number of the branch. What a branch has in common with
    /// the run it leaves is done once.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    ///
    /// # Panics
    /// If there are not as many levels as steps, or one does not exist.
    pub fn run_branches(
        &mut self,
        levels: &[usize],
        branches: &[Branch],
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
        visit: &mut dyn FnMut(usize, &[Vec<f32>]),
    ) -> Result<(), Failure> {
        let n_steps = self.model.n_steps as usize;
        assert_eq!(levels.len(), n_steps, "a level for every step");
        let bases = self.bases(inputs, outputs)?;
        let arena_bytes = (self.model.state_bytes - self.model.arena_offset) as usize;
        let arena = bases[0].cast::<u8>();
        let mut saved: Vec<u8> = vec![0; arena_bytes];
        let steps = |level: usize| &self.steps(level)[..n_steps];
        for at in 0..n_steps {
            let here = |branch: &Branch| branch.steps.first() == Some(&at);
            let mut has_saved = false;
            for (number, branch) in branches.iter().enumerate().filter(|(_, b)| here(b)) {
                if !has_saved {
                    // SAFETY: the arena is as long as that, and nothing else refers to it.
                    unsafe { ptr::copy_nonoverlapping(arena, saved.as_mut_ptr(), arena_bytes) };
                    has_saved = true;
                }
                for then in at..n_steps {
                    let level = match branch.steps.contains(&then) {
                        true => branch.level,
                        false => levels[then],
                    };
                    // SAFETY: `bases` are those of this model, and all steps before have run.
                    unsafe { run_step(&steps(level)[then], &bases) };
                }
                visit(number, outputs);
                // SAFETY: as above.
                unsafe { ptr::copy_nonoverlapping(saved.as_ptr(), arena, arena_bytes) };
            }
            // SAFETY: as above.
            unsafe { run_step(&steps(levels[at])[at], &bases) };
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

/// The `choose` of [`Engine::run_adaptive`].
///
/// # Safety
/// `context` is what that gives to the run, and `level` a word of the state.
unsafe extern "C" fn call(context: *mut c_void, step: usize, level: *mut u32) {
    // SAFETY: the caller's.
    let (choose, level) = unsafe {
        let choose = &mut *context.cast::<&mut dyn FnMut(usize, usize) -> usize>();
        (choose, &mut *level)
    };
    *level = u32::try_from(choose(step, *level as usize)).unwrap_or(u32::MAX);
}

/// The clock of [`Engine::run_by_deadline`].
///
/// # Safety
/// `context` is what that gives to the deadline.
unsafe extern "C" fn tell_time(context: *mut c_void) -> u64 {
    // SAFETY: the caller's.
    unsafe { (*context.cast::<&mut dyn FnMut() -> u64>())() }
}
