//! 32-bit Arm with NEON on Linux, AAPCS with floats in registers
//! (<https://github.com/ARM-software/abi-aa>). Only 16 vector registers. NEON flushes denormals to
//! zero, also in multiply-add, so results may differ from other targets' where they are that small.
//! Scalar multiply-add is fused with VFPv4 (Cortex-A7, A15 and later), which the Cortex-A9 lacks.

use super::spec::{command, feature, never_native};
use super::{Cpu, Feature, Target, TargetSpec, Tier, Vectors};
use condensec_ir::target_info::{Throughput, tiles};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "armv7a",
    what: "32-bit Arm with NEON, Linux",
    aliases: &["arm", "armhf", "armv7", "armv7l"],
    triple: "armv7-unknown-linux-gnueabihf",
    cpus: &[
        // What the Cortex-A7 has, scheduled for nobody in particular.
        Cpu {
            name: "generic",
            llvm: "generic",
            features: &["neon", "vfp4"],
            l1_bytes: 32 << 10,
            l2_bytes: 256 << 10,
            throughput: CORE,
        },
        Cpu {
            name: "cortex-a7",
            llvm: "cortex-a7",
            features: &["neon", "vfp4"],
            l1_bytes: 32 << 10,
            l2_bytes: 256 << 10,
            throughput: CORE,
        },
        // LLVM's model of it moves so many loads ahead that sums are copied to and fro.
        Cpu {
            name: "cortex-a9",
            llvm: "generic",
            features: &["neon"],
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
            throughput: Throughput {
                is_in_order: false,
                ..CORE
            },
        },
    ],
    least_cpu: "generic",
    // Floats are passed in registers, so the unit that has them cannot be taken away.
    features: &[
        Feature {
            name: "neon",
            needs: &["vfp3"],
        },
        feature("vfp3"),
        Feature {
            name: "vfp4",
            needs: &["vfp3"],
        },
    ],
    base_features: &["vfp3d16"],
    tier: Tier::Two,
    tested: "qemu-arm",
    emulator,
    c_compiler: "arm-linux-gnueabihf-gcc",
    c_compiler_from: "the Debian package gcc-arm-linux-gnueabihf",
    c_options: |_| Vec::new(),
    vectors,
    llvm_tuning,
    native_features: never_native,
};

/// A vector of four takes two cycles in units of half its width.
const CORE: Throughput = Throughput {
    multiply_adds: 0.5,
    loads: 0.5,
    instructions: 2.0,
    is_in_order: true,
};

/// The fused `vfma` takes no lane of a vector. `vmla`, which rounds twice, does: it needs no broadcasts,
/// and the tile 4x3 fills the registers, 12 sums, 3 vectors of pixels and the weights.
fn vectors(target: &Target, most_lanes: usize) -> Vectors {
    match target.has("neon") && most_lanes > 1 {
        true => Vectors {
            lanes: 4,
            registers: 16,
            group: 1,
            has_fma: false,
            packed_weights: &[4, 2],
            tiles: tiles([3, 6, 12]),
        },
        false => Vectors {
            lanes: 1,
            registers: 32,
            group: 1,
            has_fma: target.has("vfp4"),
            packed_weights: &[],
            tiles: tiles([6, 12, 24]),
        },
    }
}

/// LLVM avoids `vmla` on some CPUs because it delays whatever needs its result. A tile has other sums to go
/// on with.
fn llvm_tuning(target: &Target) -> &'static [&'static str] {
    match target.has("neon") {
        true => &["-slowfpvmlx"],
        false => &[],
    }
}

/// The oldest CPU that has the features.
fn emulator(target: &Target) -> Option<Vec<String>> {
    let cpu = if target.has("vfp4") {
        "cortex-a7"
    } else {
        "cortex-a9"
    };
    command(&["qemu-arm", "-cpu", cpu])
}
