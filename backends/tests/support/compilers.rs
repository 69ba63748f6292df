//! Every back end of this build with every CPU that it compiles for: what a test of machine code
//! runs over, so that a new back end or CPU is tested the moment it is registered.

use super::run_on::every_cpu;
use condensec_backends::{
    BACKENDS, Backend, Library, LibraryOptions, Target, Texts, build_library, targets,
};
use condensec_ir::kernel::Program;
use condensec_ir::target_info::TargetInfo;
use std::collections::BTreeSet;
use std::fmt;

/// A back end set up for a target.
pub struct Compiler {
    pub backend: &'static dyn Backend,
    pub target: Target,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, cpu) = (self.target.name(), self.target.cpu());
        write!(f, "{} for {target} {cpu}", self.backend.name())
    }
}

impl Compiler {
    /// All of them.
    pub fn every() -> Vec<Self> {
        every_cpu().into_iter().flat_map(Self::all_for).collect()
    }

    /// Those of [`Compiler::every`] that differ in the code they make of a kernel, calls aside: one of
    /// several systems that run on a CPU.
    pub fn every_processor() -> Vec<Self> {
        Self::distinct(|target| target.llvm_cpu())
    }

    /// Those of [`Compiler::every`] that differ in what they make of an expression: one of several
    /// CPUs, or systems, that have the same instructions.
    pub fn instruction_sets() -> Vec<Self> {
        Self::distinct(|_| "")
    }

    /// The first for each back end, set of instructions, and `trait_of` the target.
    fn distinct(trait_of: impl Fn(&Target) -> &'static str) -> Vec<Self> {
        let mut seen = BTreeSet::new();
        let is_new = |compiler: &Self| {
            let target = &compiler.target;
            let features: Vec<&str> = target.features().collect();
            let architecture = target.lexicon().architecture.to_string();
            let backend = compiler.backend.name();
            seen.insert((backend, architecture, features, trait_of(target)))
        };
        Self::every().into_iter().filter(is_new).collect()
    }

    /// Those for this machine with all its features, the preferred one first.
    pub fn native() -> Vec<Self> {
        Self::all_for(targets::resolve("host", None, &[] as &[&str]).unwrap())
    }

    /// Those for a CPU of a target, the default one for none.
    pub fn of(target: &str, cpu: Option<&str>) -> Vec<Self> {
        Self::all_for(targets::resolve(target, cpu, &[] as &[&str]).unwrap())
    }

    fn all_for(target: Target) -> Vec<Self> {
        let backends = BACKENDS.iter().filter(|b| b.supports(&target));
        backends
            .map(|&backend| Self {
                backend,
                target: target.clone(),
            })
            .collect()
    }

    /// What passes know of the target.
    pub fn info(&self) -> TargetInfo {
        self.backend.target_info(&self.target)
    }

    /// Whether kernels may have vectors of `lanes`.
    pub fn has_lanes(&self, lanes: u8) -> bool {
        match self.backend.name() {
            // What the machine has, and no more.
            "cranelift" => usize::from(lanes) == self.info().lanes,
            // LLVM cuts long vectors into those of the machine.
            _ => true,
        }
    }

    /// Builds `program`, keeping all texts.
    pub fn build(&self, program: &Program) -> Library {
        let options = LibraryOptions {
            texts: Texts::Keep,
            ..LibraryOptions::default()
        };
        build_library(program, &self.target, self.backend, &options)
            .unwrap_or_else(|error| panic!("{self}: {error}"))
    }
}
