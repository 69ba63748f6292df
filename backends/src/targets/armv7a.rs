//! 32-bit Arm with NEON on Linux, AAPCS with floats in registers
//! (<https://github.com/ARM-software/abi-aa>). Only 16 vector registers. NEON flushes denormals to
//! zero, also in multiply-add, so results may differ from other targets' where they are that small.
//! Multiply-add is fused with VFPv4 (Cortex-A7, A15 and later), which the Cortex-A9 lacks.

use super::spec::{command, feature, never_native};
use super::{Cpu, Feature, Target, TargetSpec, Tier, Vectors};

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
        },
        Cpu {
            name: "cortex-a7",
            llvm: "cortex-a7",
            features: &["neon", "vfp4"],
            l1_bytes: 32 << 10,
            l2_bytes: 256 << 10,
        },
        Cpu {
            name: "cortex-a9",
            llvm: "cortex-a9",
            features: &["neon"],
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
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
    vectors: |target| {
        let (lanes, registers) = if target.has("neon") { (4, 16) } else { (1, 32) };
        Vectors {
            lanes,
            registers,
            has_fma: target.has("vfp4"),
        }
    },
    native_features: never_native,
};

/// The oldest CPU that has the features.
fn emulator(target: &Target) -> Option<Vec<String>> {
    let cpu = if target.has("vfp4") {
        "cortex-a7"
    } else {
        "cortex-a9"
    };
    command(&["qemu-arm", "-cpu", cpu])
}
