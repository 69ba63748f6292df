//! A target as data: what its file in this folder says of it.

use super::Target;
use condensec_ir::target_info::{Throughput, Tiles};

/// How far a target can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Every test runs on real hardware, speed is measured.
    One = 1,
    /// Every test runs in an emulator, speed is modelled.
    Two = 2,
    /// Compiles and links.
    Three = 3,
}

/// A CPU feature and what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Name as in LLVM.
    pub name: &'static str,
    /// Features that it implies, directly.
    pub needs: &'static [&'static str],
}

/// A named CPU, or CPU level, of a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpu {
    /// Name for `--cpu`.
    pub name: &'static str,
    /// LLVM's name (`-mcpu`), which decides the model of its pipeline.
    pub llvm: &'static str,
    /// Features that it has; what they need is added.
    pub features: &'static [&'static str],
    /// L1 data cache of a typical core, in bytes. Without a cache: as much fast memory as one kernel
    /// may count on.
    pub l1_bytes: usize,
    /// Last cache that the core has to itself, or its share of the one behind that.
    pub l2_bytes: usize,
    /// What a core does per cycle.
    pub throughput: Throughput,
}

/// The arithmetic that decides the shape of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vectors {
    /// f32 lanes of the widest vectors that the features guarantee; 1 for scalar code.
    pub lanes: usize,
    /// Vectors of that width that the registers hold beside what instructions need for themselves.
    pub registers: usize,
    /// Registers of the machine that one of them takes: more than one where instructions work on groups.
    pub group: usize,
    /// Whether a multiply-add of kernels is fused.
    pub has_fma: bool,
    /// Numbers of neighbouring weights that one load should fetch, the most first: where a multiply-add
    /// takes its factor from a lane of a vector.
    pub packed_weights: &'static [usize],
    /// Register tiles of the list kernels.
    pub tiles: Tiles,
}

/// A target as data; one constant per file of this folder.
#[derive(Debug)]
pub struct TargetSpec {
    /// Name for `--target`.
    pub name: &'static str,
    /// The machine, for people.
    pub what: &'static str,
    /// Other spellings that users try.
    pub aliases: &'static [&'static str],
    /// LLVM triple. It decides the object format, the pointer width and the calling convention.
    pub triple: &'static str,
    /// CPUs; the first is the default.
    pub cpus: &'static [Cpu],
    /// LLVM's name of the least CPU of the target, for `native` where none of `cpus` fits.
    pub least_cpu: &'static str,
    /// Features that `--features` may switch.
    pub features: &'static [Feature],
    /// Features that the triple takes for granted and LLVM does not, in LLVM's spelling.
    pub base_features: &'static [&'static str],
    /// How far it can be relied on.
    pub tier: Tier,
    /// How it is tested.
    pub tested: &'static str,
    /// Command line of an emulator that runs the program whose path follows; none if there is none.
    pub emulator: fn(&Target) -> Option<Vec<String>>,
    /// The usual cross compiler, for linking tests and `--emit shared`.
    pub c_compiler: &'static str,
    /// Where to get it.
    pub c_compiler_from: &'static str,
    /// Options that make that compiler's code fit the CPU and the calling convention.
    pub c_options: fn(&Target) -> Vec<String>,
    /// Vectors, multiply-add and tiles, from its features and the most lanes that are wanted.
    pub vectors: fn(&Target, usize) -> Vectors,
    /// Features of LLVM, with their signs, that change how it orders instructions and not which ones
    /// there are.
    pub llvm_tuning: fn(&Target) -> &'static [&'static str],
    /// Features of the machine that this process runs on, if it is such a target.
    pub native_features: fn() -> Option<Vec<&'static str>>,
}

/// A feature that needs no other one.
pub(super) const fn feature(name: &'static str) -> Feature {
    Feature { name, needs: &[] }
}

/// For targets that LLVM orders well as it is.
pub(super) fn no_tuning(_: &Target) -> &'static [&'static str] {
    &[]
}

/// For targets that this process can never run on.
pub(super) fn never_native() -> Option<Vec<&'static str>> {
    None
}

/// The command line in `words`.
pub(super) fn command(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(ToString::to_string).collect())
}
