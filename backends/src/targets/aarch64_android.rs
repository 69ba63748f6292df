//! 64-bit Arm on Android: ELF objects and the calling convention of [`super::aarch64`], but for
//! register x18, which the system keeps. A library calls nothing of the system's but libm, so what
//! differs is the triple. The C compiler is the one of the NDK, for API level 21, the first with
//! 64-bit processes.

use super::aarch64::{self, CPUS, FEATURES};
use super::spec::no_tuning;
use super::{TargetSpec, Tier};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "aarch64-android",
    what: "64-bit Arm, Android",
    aliases: &["android", "arm64-v8a"],
    triple: "aarch64-linux-android",
    cpus: CPUS,
    least_cpu: "generic",
    features: FEATURES,
    base_features: &[],
    tier: Tier::Three,
    tested: "qemu-aarch64, linked with glibc",
    emulator: aarch64::emulator,
    c_compiler: "aarch64-linux-android21-clang",
    c_compiler_from: "the Android NDK",
    c_options: |_| Vec::new(),
    vectors: aarch64::vectors,
    llvm_tuning: no_tuning,
    native_features: || {
        cfg!(all(target_arch = "aarch64", target_os = "android")).then(aarch64::detected_features)
    },
};
