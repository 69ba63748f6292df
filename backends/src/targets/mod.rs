//! The machines that condensec compiles for.
//!
//! One file per target describes it as data ([`TargetSpec`]); [`resolve`] turns the user's
//! `--target`, `--cpu` and `--features` into a [`Target`] with the final set of CPU features.
//! A `Target` is immutable and handed to everything that needs it; nothing else in this crate
//! knows a triple. Feature names are those of LLVM (`-mattr`), so that all back ends agree. Every
//! build knows every target; whether one of its code generators serves it, [`crate::find_backend`]
//! tells.

mod aarch64;
mod aarch64_android;
mod aarch64_macos;
mod armv7a;
mod riscv64;
mod spec;
mod target;
mod thumbv7em;
mod x86_64;
mod x86_64_windows;

pub use spec::{Cpu, Feature, TargetSpec, Tier, Vectors};
pub use target::Target;

use target::NATIVE;
use thiserror::Error;

/// All targets, sorted by name.
pub const TARGETS: &[&TargetSpec] = &[
    &aarch64::SPEC,
    &aarch64_android::SPEC,
    &aarch64_macos::SPEC,
    &armv7a::SPEC,
    &riscv64::SPEC,
    &thumbv7em::SPEC,
    &x86_64::SPEC,
    &x86_64_windows::SPEC,
];

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
        name: &'static str,
        /// What that machine is.
        what: &'static str,
        /// What this build serves.
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
    /// `native` for a target that this machine is not.
    #[error("--cpu native means this machine, which is no {target}; there are {known}")]
    NotNative {
        /// The target.
        target: &'static str,
        /// What exists.
        known: String,
    },
    /// `host` on a machine that is none of our targets.
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
    let is_host = matches!(name, "host" | "native");
    let spec = if is_host {
        host_spec()
    } else {
        find_spec(name)
    }?;
    let cpu = cpu.or(is_host.then_some(NATIVE));
    let mut target = match cpu {
        Some(NATIVE) => {
            let native = (spec.native_features)();
            let native = native.ok_or_else(|| TargetError::NotNative {
                target: spec.name,
                known: cpu_names(spec).join(", "),
            })?;
            Target::new(spec, None, &native)
        }
        named => {
            let cpu = find_cpu(spec, named)?;
            Target::new(spec, Some(cpu), cpu.features)
        }
    };
    for feature in features {
        target.switch(feature.as_ref())?;
    }
    Ok(target)
}

fn find_spec(name: &str) -> Result<&'static TargetSpec, TargetError> {
    let is_named =
        |s: &&&TargetSpec| s.name == name || s.triple == name || s.aliases.contains(&name);
    let found = TARGETS.iter().find(is_named).copied();
    found.ok_or_else(|| TargetError::UnknownTarget {
        name: name.into(),
        known: names(TARGETS),
    })
}

fn host_spec() -> Result<&'static TargetSpec, TargetError> {
    let mut targets = TARGETS.iter().copied();
    let found = targets.find(|s| (s.native_features)().is_some());
    found.ok_or_else(|| TargetError::UnknownHost {
        known: names(TARGETS),
    })
}

fn find_cpu(spec: &'static TargetSpec, name: Option<&str>) -> Result<&'static Cpu, TargetError> {
    let Some(name) = name else {
        return Ok(&spec.cpus[0]);
    };
    let found = spec.cpus.iter().find(|cpu| cpu.name == name);
    found.ok_or_else(|| {
        let mut known = cpu_names(spec);
        known.push(NATIVE);
        TargetError::UnknownCpu {
            target: spec.name,
            cpu: name.into(),
            known: known.join(", "),
        }
    })
}

fn cpu_names(spec: &TargetSpec) -> Vec<&'static str> {
    spec.cpus.iter().map(|cpu| cpu.name).collect()
}

/// What `--target` takes, of `targets`.
pub(crate) fn names<'a>(targets: impl IntoIterator<Item = &'a &'static TargetSpec>) -> String {
    let names: Vec<&str> = targets
        .into_iter()
        .map(|t| t.name)
        .chain(["host"])
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec_ir::target_info::TargetInfo;

    const NONE: &[&str] = &[];

    fn cpu(target: &str, cpu: &str) -> Target {
        resolve(target, Some(cpu), NONE).unwrap()
    }

    #[test]
    fn every_target_is_consistent() {
        assert!(TARGETS.is_sorted_by_key(|t| t.name));
        for spec in TARGETS {
            let name = spec.name;
            let known = |name: &&str| spec.features.iter().any(|f| f.name == *name);
            assert!(spec.features.is_sorted_by_key(|f| f.name), "{name}");
            assert!(
                spec.features.iter().flat_map(|f| f.needs).all(known),
                "{name}"
            );
            assert!(
                spec.cpus.iter().flat_map(|c| c.features).all(known),
                "{name}"
            );
            assert!(!spec.base_features.iter().any(known), "{name}");
            for cpu in spec.cpus {
                let target = resolve(name, Some(cpu.name), NONE).unwrap();
                let is_32_bit = matches!(name, "armv7a" | "thumbv7em");
                assert_eq!(target.pointer_bytes(), if is_32_bit { 4 } else { 8 });
                let (info, wide) = (target.info(), target.wide_info());
                assert!(matches!(info.lanes, 1 | 4), "{name} {}", cpu.name);
                assert!(wide.lanes.is_power_of_two() && wide.lanes >= info.lanes);
                check_tiles(&info, cpu.name);
                check_tiles(&wide, cpu.name);
            }
            let by_triple = resolve(spec.triple, None, NONE).unwrap();
            assert_eq!(by_triple.name(), name);
        }
    }

    fn check_tiles(info: &TargetInfo, cpu: &str) {
        let rows: Vec<usize> = info.tiles.iter().map(|tile| tile.rows).collect();
        assert_eq!(rows, [4, 2, 1]);
        for tile in info.tiles {
            assert!(
                tile.n_registers() <= info.vector_registers,
                "{cpu} {tile:?}"
            );
        }
        for (a, b) in info
            .tiles
            .iter()
            .flat_map(|a| info.tiles.iter().map(move |b| (a, b)))
        {
            let (wide, narrow) = (a.vectors.max(b.vectors), a.vectors.min(b.vectors));
            assert_eq!(wide % narrow, 0, "{cpu} {a:?} {b:?}");
        }
    }

    #[test]
    fn every_name_leads_to_one_target() {
        let mut seen = std::collections::BTreeSet::new();
        for spec in TARGETS {
            for name in [&spec.name].into_iter().chain(spec.aliases) {
                assert!(seen.insert(name), "{name}");
                assert_eq!(resolve(name, None, NONE).unwrap().name(), spec.name);
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
        let v2 = cpu("x86_64", "x86-64-v2");
        assert!(!v2.has("avx") && v2.has("sse4.1") && !v2.info().has_fma);
        let back = resolve("x86_64", Some("x86-64-v2"), &["+fma"]).unwrap();
        assert!(back.has("avx") && back.info().has_fma);
        let half = resolve("x86_64", Some("x86-64-v4"), &["-avx512vl"]).unwrap();
        assert!(half.has("avx512f") && half.has("avx512dq"));
        let none = resolve("x86_64", Some("x86-64-v4"), &["-fma"]).unwrap();
        assert!(!none.has("avx512f") && !none.has("avx512vl") && none.has("avx2"));
    }

    #[test]
    fn vectors_are_what_the_features_guarantee() {
        let check = |target: Target, lanes, registers, has_fma| {
            let wide = target.wide_info();
            let found = (wide.lanes, wide.vector_registers, wide.has_fma);
            assert_eq!(found, (lanes, registers, has_fma), "{target:?}");
            assert_eq!(target.info().lanes, lanes.min(4), "{target:?}");
        };
        check(cpu("x86_64", "x86-64-v2"), 4, 14, false);
        check(cpu("x86_64", "x86-64-v3"), 8, 16, true);
        check(cpu("x86_64-windows", "x86-64-v4"), 16, 32, true);
        let no_vl = resolve("x86_64", Some("x86-64-v4"), &["-avx512vl"]);
        check(no_vl.unwrap(), 16, 16, true);
        check(cpu("aarch64", "cortex-a53"), 4, 32, true);
        check(cpu("aarch64-macos", "apple-m1"), 4, 32, true);
        check(cpu("armv7a", "cortex-a7"), 4, 16, false);
        check(cpu("armv7a", "cortex-a9"), 4, 16, false);
        check(cpu("riscv64", "rv64gc"), 1, 32, true);
        check(cpu("riscv64", "rv64gcv"), 16, 8, true);
        check(cpu("riscv64", "spacemit-x60"), 16, 16, true);
        let long = resolve("riscv64", Some("rv64gcv"), &["+zvl1024b"]);
        check(long.unwrap(), 16, 32, true);
        let no_v = resolve("riscv64", Some("sifive-x280"), &["-v"]);
        check(no_v.unwrap(), 1, 32, true);
        check(cpu("thumbv7em", "cortex-m4"), 1, 32, true);
    }

    #[test]
    fn llvm_is_told_what_is_off() {
        let m4 = cpu("thumbv7em", "cortex-m4");
        assert_eq!(m4.llvm_cpu(), "cortex-m4");
        assert_eq!(m4.llvm_features(), "-fp-armv8d16,-fp-armv8d16sp,+vfp4d16sp");
        let scalar = cpu("riscv64", "rv64gc");
        assert_eq!(scalar.llvm_cpu(), "generic-rv64");
        assert_eq!(
            scalar.llvm_features(),
            "+m,+a,+f,+d,+c,-v,-zba,-zbb,-zbs,-zicond,-zvl1024b,-zvl128b,-zvl256b,-zvl512b"
        );
    }

    #[test]
    fn llvm_models_this_machine_as_the_nearest_cpu() {
        let machine_with = |features: &[&'static str]| {
            let spec = TARGETS.iter().find(|t| t.name == "x86_64").unwrap();
            Target::new(spec, None, features).llvm_cpu()
        };
        assert_eq!(machine_with(&["sse3"]), "x86-64");
        assert_eq!(machine_with(&["sse4.2", "popcnt", "avx"]), "x86-64-v2");
        let haswell = ["avx2", "bmi", "bmi2", "fma", "lzcnt", "popcnt"];
        assert_eq!(machine_with(&haswell), "x86-64-v3");
    }

    #[test]
    fn emulators_have_no_more_than_the_target() {
        let command = |target: Target| target.emulator().unwrap().join(" ");
        assert_eq!(
            command(cpu("riscv64", "spacemit-x60")),
            "qemu-riscv64 -cpu rv64,v=true,vlen=256,vext_spec=v1.0"
        );
        assert_eq!(command(cpu("riscv64", "rv64gc")), "qemu-riscv64 -cpu rv64");
        assert_eq!(
            command(cpu("aarch64", "generic")),
            "qemu-aarch64 -cpu cortex-a53"
        );
        let more = resolve("aarch64", None, &["+dotprod"]).unwrap();
        assert_eq!(command(more), "qemu-aarch64 -cpu max");
        assert_eq!(cpu("x86_64", "x86-64-v4").emulator(), None);
    }

    #[test]
    fn errors_say_what_exists() {
        let message =
            |name, cpu, features: &[&str]| resolve(name, cpu, features).unwrap_err().to_string();
        for name in ["sparc", "riscv32", "thumbv6m"] {
            assert_eq!(
                message(name, None, NONE),
                format!(
                    "there is no target \"{name}\"; there are aarch64, aarch64-android, \
                     aarch64-macos, armv7a, riscv64, thumbv7em, x86_64, x86_64-windows, host"
                )
            );
        }
        assert_eq!(
            message("aarch64", Some("i486"), NONE),
            "target aarch64 has no cpu \"i486\"; \
             it has generic, cortex-a53, cortex-a72, cortex-a76, native"
        );
        assert_eq!(
            message("riscv64", None, &["v"]),
            "target riscv64 has no feature \"v\"; write +name or -name with one of \
             c, v, zba, zbb, zbs, zicond, zvl1024b, zvl128b, zvl256b, zvl512b"
        );
        assert_eq!(
            message("thumbv7em", Some("native"), NONE),
            "--cpu native means this machine, which is no thumbv7em; \
             there are cortex-m4, cortex-m7"
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
