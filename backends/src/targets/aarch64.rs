//! 64-bit Arm on Linux, AAPCS64 (<https://github.com/ARM-software/abi-aa>). NEON and fused
//! multiply-add are part of the base architecture, and multiply-add by a lane saves the broadcasts
//! that x86 needs. No feature beyond the base changes a kernel of f32; the ones here tell which
//! machines the instructions of a CPU run on.

use super::spec::{command, feature, no_tuning};
use super::{Cpu, Feature, Target, TargetSpec, Tier, Vectors};
use condensec_ir::target_info::{Throughput, tiles};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "aarch64",
    what: "64-bit Arm, Linux",
    aliases: &["arm64", "armv8a"],
    triple: "aarch64-unknown-linux-gnu",
    cpus: CPUS,
    least_cpu: "generic",
    features: FEATURES,
    base_features: &[],
    tier: Tier::Two,
    tested: "qemu-aarch64",
    emulator,
    c_compiler: "aarch64-linux-gnu-gcc",
    c_compiler_from: "the Debian package gcc-aarch64-linux-gnu",
    c_options: |_| Vec::new(),
    vectors,
    llvm_tuning: no_tuning,
    native_features,
};

/// Three instructions, one of them on vectors.
const NARROW: Throughput = Throughput {
    multiply_adds: 1.0,
    loads: 1.0,
    instructions: 3.0,
    is_in_order: false,
};
/// From the Cortex-A76 on: four instructions, two of them on vectors.
pub(super) const WIDE: Throughput = Throughput {
    multiply_adds: 2.0,
    loads: 2.0,
    instructions: 4.0,
    is_in_order: false,
};

/// CPUs of all 64-bit Arm targets.
pub(super) const CPUS: &[Cpu] = &[
    Cpu {
        name: "generic",
        llvm: "generic",
        features: &[],
        l1_bytes: 32 << 10,
        l2_bytes: 512 << 10,
        throughput: NARROW,
    },
    // In order. Four cores share 512 kB on most boards.
    Cpu {
        name: "cortex-a53",
        llvm: "cortex-a53",
        features: &[],
        l1_bytes: 32 << 10,
        l2_bytes: 512 << 10,
        // A load fetches half a vector.
        throughput: Throughput {
            multiply_adds: 1.0,
            loads: 0.5,
            instructions: 2.0,
            is_in_order: true,
        },
    },
    Cpu {
        name: "cortex-a72",
        llvm: "cortex-a72",
        features: &[],
        l1_bytes: 32 << 10,
        l2_bytes: 1 << 20,
        throughput: NARROW,
    },
    Cpu {
        name: "cortex-a76",
        llvm: "cortex-a76",
        features: &["dotprod", "fullfp16", "lse", "rcpc", "rdm"],
        l1_bytes: 64 << 10,
        l2_bytes: 512 << 10,
        throughput: WIDE,
    },
];

/// Features of all 64-bit Arm targets.
pub(super) const FEATURES: &[Feature] = &[
    feature("dotprod"),
    feature("fullfp16"),
    feature("lse"),
    feature("rcpc"),
    feature("rdm"),
];

/// Vectors of all 64-bit Arm targets. An entry of the tile 4x6 takes 32 instructions, of which 24
/// multiply by a lane and 3 load two vectors each; it leaves one register.
pub(super) fn vectors(_: &Target, _: usize) -> Vectors {
    Vectors {
        lanes: 4,
        registers: 32,
        group: 1,
        has_fma: true,
        packed_weights: &[4],
        tiles: tiles([6, 12, 12]),
    }
}

/// The very CPU where the emulator knows it, so that an instruction that it lacks is found.
pub(super) fn emulator(target: &Target) -> Option<Vec<String>> {
    let cpu = match target.cpu() {
        named @ ("cortex-a72" | "cortex-a76") => named,
        _ => "cortex-a53",
    };
    match SPEC.cpus.iter().find(|c| c.name == cpu) {
        // With features added by hand, the one that has all.
        Some(cpu) if target.features().all(|f| cpu.features.contains(&f)) => {
            command(&["qemu-aarch64", "-cpu", cpu.name])
        }
        _ => command(&["qemu-aarch64", "-cpu", "max"]),
    }
}

fn native_features() -> Option<Vec<&'static str>> {
    cfg!(all(target_arch = "aarch64", target_os = "linux")).then(detected_features)
}

/// Features of this machine.
#[cfg(target_arch = "aarch64")]
pub(super) fn detected_features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as detected;
    let features = [
        ("dotprod", detected!("dotprod")),
        ("fullfp16", detected!("fp16")),
        ("lse", detected!("lse")),
        ("rcpc", detected!("rcpc")),
        ("rdm", detected!("rdm")),
    ];
    let on = features.into_iter().filter(|(_, is_on)| *is_on);
    on.map(|(name, _)| name).collect()
}

/// This machine is of another kind.
#[cfg(not(target_arch = "aarch64"))]
pub(super) fn detected_features() -> Vec<&'static str> {
    Vec::new()
}
