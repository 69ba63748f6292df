//! Apple silicon: Mach-O objects and Apple's variant of AAPCS64
//! (<https://developer.apple.com/documentation/xcode/writing-arm64-code-for-apple-platforms>), which
//! keeps register x18 and packs stack arguments; ours are all in registers. C symbols have an
//! underscore in front.

use super::aarch64::{self, FEATURES, WIDE};
use super::spec::no_tuning;
use super::{Cpu, TargetSpec, Tier};
use condensec_ir::target_info::Throughput;

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "aarch64-macos",
    what: "Apple silicon, macOS 11 on",
    aliases: &["aarch64-apple-darwin", "arm64-apple-darwin", "macos"],
    triple: "arm64-apple-macosx11.0.0",
    cpus: &[Cpu {
        name: "apple-m1",
        llvm: "apple-m1",
        features: &["dotprod", "fullfp16", "lse", "rcpc", "rdm"],
        l1_bytes: 128 << 10,
        // 12 MB for four performance cores.
        l2_bytes: 3 << 20,
        throughput: Throughput {
            multiply_adds: 4.0,
            instructions: 8.0,
            ..WIDE
        },
    }],
    least_cpu: "apple-m1",
    features: FEATURES,
    base_features: &[],
    tier: Tier::Three,
    tested: "linked by ld64.lld",
    emulator: |_| None,
    c_compiler: "oa64-clang",
    c_compiler_from: "osxcross",
    c_options: |_| Vec::new(),
    vectors: aarch64::vectors,
    llvm_tuning: no_tuning,
    native_features: || {
        cfg!(all(target_arch = "aarch64", target_os = "macos")).then(aarch64::detected_features)
    },
};
