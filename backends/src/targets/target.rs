//! A target whose CPU and features are decided.

use super::{Cpu, TargetError, TargetSpec, Vectors};
use condensec_ir::target_info::TargetInfo;
use std::collections::BTreeSet;
use target_lexicon::{BinaryFormat, OperatingSystem, PointerWidth, Triple};

/// A target with its CPU and features decided. Immutable once [`resolve`](super::resolve) made it.
#[derive(Debug, Clone)]
pub struct Target {
    spec: &'static TargetSpec,
    /// None for `native`.
    cpu: Option<&'static Cpu>,
    features: BTreeSet<&'static str>,
}

/// Lanes of vectors that every back end has, where the machine has vectors.
const COMMON_LANES: usize = 4;
/// Lanes of the longest vectors that kernels are written with.
const MOST_LANES: usize = 16;

/// Name of the CPU that stands for this machine's.
pub(super) const NATIVE: &str = "native";

impl Target {
    /// `spec` with `cpu` (none for `native`) and nothing but `features`, and what they need.
    pub(super) fn new(
        spec: &'static TargetSpec,
        cpu: Option<&'static Cpu>,
        features: &[&'static str],
    ) -> Self {
        let mut target = Self {
            spec,
            cpu,
            features: BTreeSet::new(),
        };
        for feature in features {
            target.enable(feature);
        }
        target
    }

    /// Name for `--target`.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// LLVM triple.
    pub fn triple(&self) -> &'static str {
        self.spec.triple
    }

    /// CPU that code is generated for.
    pub fn cpu(&self) -> &'static str {
        self.cpu.map_or(NATIVE, |cpu| cpu.name)
    }

    /// Features that are on, sorted.
    pub fn features(&self) -> impl Iterator<Item = &'static str> {
        self.features.iter().copied()
    }

    /// Whether `feature` is on.
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }

    /// The entry of [`TARGETS`](super::TARGETS).
    pub fn spec(&self) -> &'static TargetSpec {
        self.spec
    }

    /// LLVM's name of the CPU (`-mcpu`), which brings its model of the pipeline along. For `native` that is
    /// the CPU with most of this machine's features: by a model of an older one LLVM orders the inner
    /// loops so that they take more registers than there are.
    pub fn llvm_cpu(&self) -> &'static str {
        let cpu = self.cpu.or_else(|| self.nearest_cpu());
        cpu.map_or(self.spec.least_cpu, |cpu| cpu.llvm)
    }

    /// The CPU that has most features, all of which are on; the first of several.
    fn nearest_cpu(&self) -> Option<&'static Cpu> {
        let cpus = self.spec.cpus.iter().rev();
        cpus.filter(|cpu| cpu.features.iter().all(|feature| self.has(feature)))
            .max_by_key(|cpu| cpu.features.len())
    }

    /// LLVM's list of features (`-mattr`), everything that can be off spelled out: a CPU's name brings
    /// features along that the user may have taken away.
    pub fn llvm_features(&self) -> String {
        let base = self
            .spec
            .base_features
            .iter()
            .map(|name| format!("+{name}"));
        let switched = self.spec.features.iter().map(|feature| {
            let sign = if self.has(feature.name) { '+' } else { '-' };
            format!("{sign}{}", feature.name)
        });
        let tuning = (self.spec.llvm_tuning)(self).iter().map(|f| f.to_string());
        base.chain(switched)
            .chain(tuning)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Whether its code runs on the machine of this process.
    pub fn is_host(&self) -> bool {
        (self.spec.native_features)().is_some_and(|native| {
            let host = Self::new(self.spec, None, &native);
            self.features.is_subset(&host.features)
        })
    }

    /// Command line of an emulator, to be followed by the path of a program.
    pub fn emulator(&self) -> Option<Vec<String>> {
        (self.spec.emulator)(self)
    }

    /// Options for [`TargetSpec::c_compiler`].
    pub fn c_options(&self) -> Vec<String> {
        (self.spec.c_options)(self)
    }

    /// The triple, parsed.
    pub fn lexicon(&self) -> Triple {
        self.spec
            .triple
            .parse()
            .expect("the triples of TARGETS parse; a test checks it")
    }

    /// Format of its object files.
    pub fn binary_format(&self) -> BinaryFormat {
        self.lexicon().binary_format
    }

    /// Whether programs run without an operating system, so that nothing relocates them at start.
    pub fn is_bare_metal(&self) -> bool {
        self.lexicon().operating_system == OperatingSystem::None_
    }

    /// Size of a pointer in bytes.
    pub fn pointer_bytes(&self) -> usize {
        match self.lexicon().pointer_width() {
            Ok(PointerWidth::U16) => 2,
            Ok(PointerWidth::U32) => 4,
            Ok(PointerWidth::U64) | Err(()) => 8,
        }
    }

    /// Its vectors of at most 128 bits, which every back end has.
    pub fn vectors(&self) -> Vectors {
        (self.spec.vectors)(self, COMMON_LANES)
    }

    /// The widest vectors that its features guarantee, or that kernels are written with.
    pub fn wide_vectors(&self) -> Vectors {
        (self.spec.vectors)(self, MOST_LANES)
    }

    /// What passes may know of it, with [`Target::vectors`]. A back end with wider ones takes
    /// [`Target::wide_info`] for its [`crate::Backend::target_info`].
    pub fn info(&self) -> TargetInfo {
        self.info_with(self.vectors())
    }

    /// What passes may know of it, with [`Target::wide_vectors`].
    pub fn wide_info(&self) -> TargetInfo {
        self.info_with(self.wide_vectors())
    }

    fn info_with(&self, vectors: Vectors) -> TargetInfo {
        let cpu = self.cpu.unwrap_or(&self.spec.cpus[0]);
        TargetInfo {
            lanes: vectors.lanes,
            vector_registers: vectors.registers,
            registers_per_vector: vectors.group,
            has_fma: vectors.has_fma,
            tiles: vectors.tiles,
            throughput: cpu.throughput,
            pointer_bytes: self.pointer_bytes(),
            l1_bytes: cpu.l1_bytes,
            l2_bytes: cpu.l2_bytes,
        }
    }

    /// Applies `+name` or `-name`.
    pub(super) fn switch(&mut self, signed: &str) -> Result<(), TargetError> {
        let (sign, name) = signed.split_at_checked(1).unwrap_or(("", signed));
        let known = self.spec.features.iter().find(|f| f.name == name);
        match (sign, known) {
            ("+", Some(feature)) => self.enable(feature.name),
            ("-", Some(feature)) => self.disable(feature.name),
            _ => {
                let known: Vec<&str> = self.spec.features.iter().map(|f| f.name).collect();
                return Err(TargetError::UnknownFeature {
                    target: self.spec.name,
                    feature: signed.into(),
                    known: known.join(", "),
                });
            }
        }
        Ok(())
    }

    fn enable(&mut self, name: &'static str) {
        if !self.features.insert(name) {
            return;
        }
        let spec = self.spec;
        for feature in spec.features.iter().filter(|f| f.name == name) {
            feature.needs.iter().for_each(|need| self.enable(need));
        }
    }

    fn disable(&mut self, name: &str) {
        if !self.features.remove(name) {
            return;
        }
        let spec = self.spec;
        for feature in spec.features.iter().filter(|f| f.needs.contains(&name)) {
            self.disable(feature.name);
        }
    }
}
