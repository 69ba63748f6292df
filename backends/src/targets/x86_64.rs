//! 64-bit x86 on Linux, System V ABI (<https://gitlab.com/x86-psABIs/x86-64-ABI>), whose
//! micro-architecture levels name the CPUs here. Peculiar: only 16 vector registers before AVX-512,
//! and level 2 has neither AVX nor fused multiply-add.

use super::spec::{command, feature, no_tuning};
use super::{Cpu, Feature, Target, TargetSpec, Tier, Vectors};
use condensec_ir::target_info::{Throughput, tiles};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "x86_64",
    what: "64-bit x86, Linux",
    aliases: &["amd64", "x64", "x86-64"],
    triple: "x86_64-unknown-linux-gnu",
    cpus: CPUS,
    least_cpu: "x86-64",
    features: FEATURES,
    base_features: &[],
    tier: Tier::One,
    tested: "natively",
    emulator,
    c_compiler: "x86_64-linux-gnu-gcc",
    c_compiler_from: "the Debian package gcc-x86-64-linux-gnu",
    c_options: |_| Vec::new(),
    vectors,
    llvm_tuning: no_tuning,
    native_features,
};

/// Two units for arithmetic and two for loads, as everybody builds them since Haswell.
const CORE: Throughput = Throughput {
    multiply_adds: 2.0,
    loads: 2.0,
    instructions: 6.0,
    is_in_order: false,
};

/// CPUs of all 64-bit x86 targets.
pub(super) const CPUS: &[Cpu] = &[
    Cpu {
        name: "x86-64-v3",
        llvm: "x86-64-v3",
        features: &["avx2", "bmi", "bmi2", "fma", "lzcnt", "popcnt"],
        l1_bytes: 32 << 10,
        l2_bytes: 512 << 10,
        throughput: CORE,
    },
    Cpu {
        name: "x86-64-v2",
        llvm: "x86-64-v2",
        features: &["popcnt", "sse4.2"],
        l1_bytes: 32 << 10,
        l2_bytes: 256 << 10,
        // Products and sums share the two units.
        throughput: Throughput {
            multiply_adds: 1.0,
            ..CORE
        },
    },
    Cpu {
        name: "x86-64-v4",
        llvm: "x86-64-v4",
        features: &[
            "avx512bw", "avx512cd", "avx512dq", "avx512vl", "bmi", "bmi2", "lzcnt", "popcnt",
        ],
        l1_bytes: 32 << 10,
        l2_bytes: 1 << 20,
        throughput: CORE,
    },
];

/// Features of all 64-bit x86 targets.
pub(super) const FEATURES: &[Feature] = &[
    Feature {
        name: "avx",
        needs: &["sse4.2"],
    },
    Feature {
        name: "avx2",
        needs: &["avx"],
    },
    Feature {
        name: "avx512bw",
        needs: &["avx512f"],
    },
    Feature {
        name: "avx512cd",
        needs: &["avx512f"],
    },
    Feature {
        name: "avx512dq",
        needs: &["avx512f"],
    },
    Feature {
        name: "avx512f",
        needs: &["avx2", "fma"],
    },
    Feature {
        name: "avx512vl",
        needs: &["avx512f"],
    },
    feature("bmi"),
    feature("bmi2"),
    Feature {
        name: "fma",
        needs: &["avx"],
    },
    feature("lzcnt"),
    feature("popcnt"),
    feature("sse3"),
    Feature {
        name: "sse4.1",
        needs: &["ssse3"],
    },
    Feature {
        name: "sse4.2",
        needs: &["sse4.1"],
    },
    Feature {
        name: "ssse3",
        needs: &["sse3"],
    },
];

/// Vectors of all 64-bit x86 targets. Integer vectors, which bit tricks on floats need, come with
/// AVX2; the upper 16 registers with AVX-512, in lengths below 512 bits with VL. A product without a
/// fused sum needs a register of its own, and the weight of the next row one.
///
/// | | tile | instructions | multiply-adds |
/// |---|---|---|---|
/// | v4 | 4x4 | 28 | 16: 99 % of two per cycle in LLVM's model of Skylake |
/// | v3 | 4x3 | 24 | 12: 98 %; 85 to 92 % measured on Zen 3 |
/// | v2 | 4x2 | 34 | 8 products, 8 sums |
///
/// Larger tiles spill on v3 and v2. On v4 there is room for 4x6, which is no faster in the model; on Zen 4
/// ResNet-50 takes up to 3 % longer with it, MobileNetV2 as long, and single rows are slower with 1x8.
/// Elsewhere tiles of fewer rows are longer: each vector of pixels is loaded for fewer sums, so that what
/// else an entry costs must be spread wider.
pub(super) fn vectors(target: &Target, most_lanes: usize) -> Vectors {
    let lanes = match () {
        () if target.has("avx512f") => 16,
        () if target.has("avx2") => 8,
        () => 4,
    };
    let has_fma = target.has("fma");
    let (registers, vectors) = match () {
        () if target.has("avx512vl") => (32, [4, 4, 4]),
        () if has_fma => (16, [3, 6, 12]),
        () => (14, [2, 4, 12]),
    };
    Vectors {
        lanes: lanes.min(most_lanes),
        registers,
        group: 1,
        has_fma,
        packed_weights: &[],
        tiles: tiles(vectors),
    }
}

/// qemu has no AVX-512.
fn emulator(target: &Target) -> Option<Vec<String>> {
    match target.has("avx512f") {
        true => None,
        false => command(&["qemu-x86_64", "-cpu", "max"]),
    }
}

fn native_features() -> Option<Vec<&'static str>> {
    let is_system_v = cfg!(all(
        target_arch = "x86_64",
        unix,
        not(target_vendor = "apple")
    ));
    is_system_v.then(detected_features)
}

/// Features of this machine.
#[cfg(target_arch = "x86_64")]
pub(super) fn detected_features() -> Vec<&'static str> {
    use std::is_x86_feature_detected as detected;
    let features = [
        ("avx", detected!("avx")),
        ("avx2", detected!("avx2")),
        ("avx512bw", detected!("avx512bw")),
        ("avx512cd", detected!("avx512cd")),
        ("avx512dq", detected!("avx512dq")),
        ("avx512f", detected!("avx512f")),
        ("avx512vl", detected!("avx512vl")),
        ("bmi", detected!("bmi1")),
        ("bmi2", detected!("bmi2")),
        ("fma", detected!("fma")),
        ("lzcnt", detected!("lzcnt")),
        ("popcnt", detected!("popcnt")),
        ("sse3", detected!("sse3")),
        ("sse4.1", detected!("sse4.1")),
        ("sse4.2", detected!("sse4.2")),
        ("ssse3", detected!("ssse3")),
    ];
    let on = features.into_iter().filter(|(_, is_on)| *is_on);
    on.map(|(name, _)| name).collect()
}

/// This machine is of another kind.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn detected_features() -> Vec<&'static str> {
    Vec::new()
}
