//! The machines that condensec compiles for.
//!
//! One file per target describes it as data ([`TargetSpec`]); [`resolve`] turns the user's
//! `--target`, `--cpu` and `--features` into a [`Target`] with the final set of CPU features.
//! A `Target` is immutable and handed to everything that needs it; nothing else in this crate
//! knows a triple. Feature names are those of LLVM (`-mattr`), so that all back ends agree.

mod aarch64;
mod riscv64;
mod x86_64;

use condensec_ir::target_info::TargetInfo;
use std::collections::BTreeSet;
use target_lexicon::{PointerWidth, Triple};
use thiserror::Error;

/// All targets that some back end of this build can compile for, sorted by name.
pub const TARGETS: &[&TargetSpec] = &[&aarch64::SPEC, &riscv64::SPEC, &x86_64::SPEC];

/// Names that a user may well ask for and that only the LLVM back end can serve.
const NEEDS_LLVM: &[(&str, &str)] = &[
    ("armv7a", "32-bit Arm with NEON"),
    ("riscv32", "32-bit RISC-V"),
    ("thumbv6m", "Cortex-M0, M0+"),
    ("thumbv7em", "Cortex-M4, M7"),
    ("thumbv7m", "Cortex-M3"),
    ("thumbv8m", "Cortex-M33, M55, M85"),
];

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Name as in LLVM.
    pub name: &'static str,
    /// Features that it has; what they need is added.
    pub features: &'static [&'static str],
}

/// A target as data; one constant per file of this folder.
#[derive(Debug)]
pub struct TargetSpec {
    /// Name for `--target`.
    pub name: &'static str,
    /// Other spellings that users try.
    pub aliases: &'static [&'static str],
    /// LLVM triple.
    pub triple: &'static str,
    /// CPUs; the first is the default.
    pub cpus: &'static [Cpu],
    /// Features that `--features` may switch.
    pub features: &'static [Feature],
    /// How far it can be relied on.
    pub tier: Tier,
    /// How it is tested.
    pub tested: &'static str,
    /// Command line of the user-mode emulator, for machines of another kind.
    pub qemu: Option<&'static [&'static str]>,
    /// Debian's cross compiler, for linking tests and `--emit shared`.
    pub c_compiler: &'static str,
    /// f32 lanes of its widest vectors of at most 128 bits, from its features.
    lanes: fn(&Target) -> usize,
    /// Whether a multiply-add is fused.
    has_fma: fn(&Target) -> bool,
    /// Vector registers.
    vector_registers: usize,
    /// L1 data cache and last private cache of a typical core, in bytes.
    cache_bytes: (usize, usize),
    /// Features of the machine that this process runs on, if it is such a target.
    native_features: fn() -> Option<Vec<&'static str>>,
}

/// A target with its CPU and features decided.
#[derive(Debug, Clone)]
pub struct Target {
    spec: &'static TargetSpec,
    cpu: String,
    features: BTreeSet<&'static str>,
}

/// Why a target cannot be had. Always the user's choice of options.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum TargetError {
    /// The name is none of ours.
    #[error("there is no target \"{name}\"; there are {known}")]
    UnknownTarget {
        /// What the user asked for.
        name: String,
        /// What exists.
        known: String,
    },
    /// The target exists but not in a build without LLVM.
    #[error("target \"{name}\" ({what}) needs the LLVM build of condensec; this build has {known}")]
    NeedsLlvm {
        /// What the user asked for.
        name: String,
        /// What that machine is.
        what: &'static str,
        /// What exists.
        known: String,
    },
    /// The CPU is none of that target.
    #[error("target {target} has no cpu \"{cpu}\"; it has {known}")]
    UnknownCpu {
        /// The target.
        target: &'static str,
        /// What the user asked for.
        cpu: String,
        /// What exists.
        known: String,
    },
    /// The feature is none of that target, or lacks its sign.
    #[error(
        "target {target} has no feature \"{feature}\"; write +name or -name with one of {known}"
    )]
    UnknownFeature {
        /// The target.
        target: &'static str,
        /// What the user asked for.
        feature: String,
        /// What exists.
        known: String,
    },
    /// `host` or `native` on a machine that is none of our targets.
    #[error("this machine is none of the targets {known}; name one with --target and --cpu")]
    UnknownHost {
        /// What exists.
        known: String,
    },
}

/// Finds a target by name; `host` is this machine with all its features.
///
/// `cpu`: a CPU of the target, `native` for this machine's, none for the default.
/// `features`: `+name` and `-name`, applied in order; a feature brings what it needs along and
/// takes away what needs it.
///
/// # Errors
/// See [`TargetError`]; every message lists what exists.
pub fn resolve(
    name: &str,
    cpu: Option<&str>,
    features: &[impl AsRef<str>],
) -> Result<Target, TargetError> {
    let spec = match name {
        "host" | "native" => host_spec()?,
        _ => find_spec(name)?,
    };
    let is_native =
        matches!(cpu, Some("native")) || (cpu.is_none() && matches!(name, "host" | "native"));
    let mut target = Target {
        spec,
        cpu: String::new(),
        features: BTreeSet::new(),
    };
    if is_native {
        let native = (spec.native_features)().ok_or_else(|| TargetError::UnknownHost {
            known: target_names(),
        })?;
        target.cpu = "native".into();
        for feature in native {
            target.enable(feature);
        }
    } else {
        let cpu = match cpu {
            None => &spec.cpus[0],
            Some(name) => spec.cpus.iter().find(|c| c.name == name).ok_or_else(|| {
                let known = spec.cpus.iter().map(|c| c.name).chain(["native"]);
                TargetError::UnknownCpu {
                    target: spec.name,
                    cpu: name.into(),
                    known: known.collect::<Vec<_>>().join(", "),
                }
            })?,
        };
        target.cpu = cpu.name.into();
        for feature in cpu.features {
            target.enable(feature);
        }
    }
    for feature in features {
        target.switch(feature.as_ref())?;
    }
    Ok(target)
}

fn find_spec(name: &str) -> Result<&'static TargetSpec, TargetError> {
    let is_named =
        |s: &&&TargetSpec| s.name == name || s.triple == name || s.aliases.contains(&name);
    if let Some(spec) = TARGETS.iter().find(is_named) {
        return Ok(spec);
    }
    let known = target_names();
    match NEEDS_LLVM.iter().find(|(llvm, _)| *llvm == name) {
        Some((_, what)) => Err(TargetError::NeedsLlvm {
            name: name.into(),
            what,
            known,
        }),
        None => Err(TargetError::UnknownTarget {
            name: name.into(),
            known,
        }),
    }
}

fn host_spec() -> Result<&'static TargetSpec, TargetError> {
    TARGETS
        .iter()
        .find(|s| (s.native_features)().is_some())
        .copied()
        .ok_or_else(|| TargetError::UnknownHost {
            known: target_names(),
        })
}

fn target_names() -> String {
    let names: Vec<&str> = TARGETS.iter().map(|t| t.name).chain(["host"]).collect();
    names.join(", ")
}

impl Target {
    /// Name for `--target`.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// LLVM triple.
    pub fn triple(&self) -> &'static str {
        self.spec.triple
    }

    /// CPU that code is generated for.
    pub fn cpu(&self) -> &str {
        &self.cpu
    }

    /// Features that are on, sorted.
    pub fn features(&self) -> impl Iterator<Item = &'static str> {
        self.features.iter().copied()
    }

    /// Whether `feature` is on.
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }

    /// The entry of [`TARGETS`].
    pub fn spec(&self) -> &'static TargetSpec {
        self.spec
    }

    /// Whether its code runs on the machine of this process.
    pub fn is_host(&self) -> bool {
        (self.spec.native_features)().is_some_and(|native| {
            let mut host = Self {
                spec: self.spec,
                cpu: String::new(),
                features: BTreeSet::new(),
            };
            for feature in native {
                host.enable(feature);
            }
            self.features.is_subset(&host.features)
        })
    }

    /// The triple, parsed.
    pub fn lexicon(&self) -> Triple {
        self.spec
            .triple
            .parse()
            .expect("the triples of TARGETS parse; a test checks it")
    }

    /// Size of a pointer in bytes.
    pub fn pointer_bytes(&self) -> usize {
        match self.lexicon().pointer_width() {
            Ok(PointerWidth::U16) => 2,
            Ok(PointerWidth::U32) => 4,
            Ok(PointerWidth::U64) | Err(()) => 8,
        }
    }

    /// What passes may know of it, with vectors of at most 128 bits. A back end that has wider
    /// ones says so in [`crate::Backend::target_info`].
    pub fn info(&self) -> TargetInfo {
        let (l1_bytes, l2_bytes) = self.spec.cache_bytes;
        TargetInfo {
            lanes: (self.spec.lanes)(self),
            vector_registers: self.spec.vector_registers,
            has_fma: (self.spec.has_fma)(self),
            pointer_bytes: self.pointer_bytes(),
            l1_bytes,
            l2_bytes,
        }
    }

    fn switch(&mut self, signed: &str) -> Result<(), TargetError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[&str] = &[];

    #[test]
    fn every_target_is_consistent() {
        assert!(TARGETS.is_sorted_by_key(|t| t.name));
        for spec in TARGETS {
            let known = |name: &&str| spec.features.iter().any(|f| f.name == *name);
            assert!(spec.features.is_sorted_by_key(|f| f.name), "{}", spec.name);
            assert!(
                spec.features.iter().flat_map(|f| f.needs).all(known),
                "{}",
                spec.name
            );
            assert!(
                spec.cpus.iter().flat_map(|c| c.features).all(known),
                "{}",
                spec.name
            );
            for cpu in spec.cpus {
                let target = resolve(spec.name, Some(cpu.name), NONE).unwrap();
                assert_eq!(target.pointer_bytes(), 8);
                assert!(
                    matches!(target.info().lanes, 1 | 4),
                    "{} {}",
                    spec.name,
                    cpu.name
                );
            }
        }
    }

    #[test]
    fn features_bring_what_they_need_and_take_what_needs_them() {
        let v3 = resolve("x86_64", None, NONE).unwrap();
        assert_eq!(v3.cpu(), "x86-64-v3");
        assert!(v3.has("fma") && v3.has("avx2") && v3.has("sse4.1"));
        assert!(v3.info().has_fma);
        let no_avx = resolve("x86_64", None, &["-avx"]).unwrap();
        assert!(!no_avx.has("fma") && !no_avx.has("avx2") && no_avx.has("sse4.2"));
        let v2 = resolve("x86_64", Some("x86-64-v2"), NONE).unwrap();
        assert!(!v2.has("avx") && v2.has("sse4.1") && !v2.info().has_fma);
        let back = resolve("x86_64", Some("x86-64-v2"), &["+fma"]).unwrap();
        assert!(back.has("avx") && back.info().has_fma);
    }

    #[test]
    fn riscv_has_vectors_with_v_only() {
        assert_eq!(resolve("riscv64", None, NONE).unwrap().info().lanes, 1);
        assert_eq!(resolve("riscv64", None, &["+v"]).unwrap().info().lanes, 4);
        assert_eq!(
            resolve("riscv64", Some("rv64gcv"), NONE)
                .unwrap()
                .info()
                .lanes,
            4
        );
    }

    #[test]
    fn errors_say_what_exists() {
        let message =
            |name, cpu, features: &[&str]| resolve(name, cpu, features).unwrap_err().to_string();
        assert_eq!(
            message("sparc", None, NONE),
            "there is no target \"sparc\"; there are aarch64, riscv64, x86_64, host"
        );
        assert_eq!(
            message("thumbv7em", None, NONE),
            "target \"thumbv7em\" (Cortex-M4, M7) needs the LLVM build of condensec; \
             this build has aarch64, riscv64, x86_64, host"
        );
        assert_eq!(
            message("aarch64", Some("i486"), NONE),
            "target aarch64 has no cpu \"i486\"; it has generic, native"
        );
        assert_eq!(
            message("riscv64", None, &["v"]),
            "target riscv64 has no feature \"v\"; write +name or -name with one of \
             c, v, zba, zbb, zbs, zvl128b"
        );
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn the_host_is_a_target() {
        let host = resolve("host", None, NONE).unwrap();
        assert_eq!(host.cpu(), "native");
        assert!(host.is_host());
    }
}
