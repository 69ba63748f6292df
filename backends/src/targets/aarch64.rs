//! 64-bit Arm on Linux, AAPCS64 (<https://github.com/ARM-software/abi-aa>). NEON and fused
//! multiply-add are part of the base architecture, so there is one CPU, and multiply-add by a
//! lane saves the broadcasts that x86 needs.

use super::{Cpu, TargetSpec, Tier};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "aarch64",
    aliases: &["arm64", "armv8a"],
    triple: "aarch64-unknown-linux-gnu",
    cpus: &[Cpu {
        name: "generic",
        features: &[],
    }],
    features: &[],
    tier: Tier::Two,
    tested: "qemu-aarch64",
    qemu: Some(&["qemu-aarch64"]),
    c_compiler: "aarch64-linux-gnu-gcc",
    lanes: |_| 4,
    has_fma: |_| true,
    vector_registers: 32,
    cache_bytes: (32 << 10, 512 << 10),
    native_features: || cfg!(target_arch = "aarch64").then(Vec::new),
};
