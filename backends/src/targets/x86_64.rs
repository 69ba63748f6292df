//! 64-bit x86 on Linux, System V ABI (<https://gitlab.com/x86-psABIs/x86-64-ABI>), whose
//! micro-architecture levels name the CPUs here. Peculiar: only 16 vector registers, and level 2
//! has neither AVX nor fused multiply-add.

use super::{Cpu, Feature, TargetSpec, Tier};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "x86_64",
    aliases: &["amd64", "x64", "x86-64"],
    triple: "x86_64-unknown-linux-gnu",
    cpus: &[
        Cpu {
            name: "x86-64-v3",
            features: &["avx2", "bmi", "bmi2", "fma", "lzcnt", "popcnt"],
        },
        Cpu {
            name: "x86-64-v2",
            features: &["popcnt", "sse4.2"],
        },
    ],
    features: &[
        Feature {
            name: "avx",
            needs: &["sse4.2"],
        },
        Feature {
            name: "avx2",
            needs: &["avx"],
        },
        Feature {
            name: "bmi",
            needs: &[],
        },
        Feature {
            name: "bmi2",
            needs: &[],
        },
        Feature {
            name: "fma",
            needs: &["avx"],
        },
        Feature {
            name: "lzcnt",
            needs: &[],
        },
        Feature {
            name: "popcnt",
            needs: &[],
        },
        Feature {
            name: "sse3",
            needs: &[],
        },
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
    ],
    tier: Tier::One,
    tested: "natively",
    qemu: Some(&["qemu-x86_64", "-cpu", "max"]),
    c_compiler: "x86_64-linux-gnu-gcc",
    lanes: |_| 4,
    has_fma: |target| target.has("fma"),
    vector_registers: 16,
    cache_bytes: (32 << 10, 512 << 10),
    native_features,
};

#[cfg(target_arch = "x86_64")]
fn native_features() -> Option<Vec<&'static str>> {
    use std::is_x86_feature_detected as detected;
    let features = [
        ("avx", detected!("avx")),
        ("avx2", detected!("avx2")),
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
    Some(
        features
            .into_iter()
            .filter_map(|(name, has)| has.then_some(name))
            .collect(),
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn native_features() -> Option<Vec<&'static str>> {
    None
}
