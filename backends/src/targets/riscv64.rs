//! 64-bit RISC-V on Linux, ABI lp64d (<https://github.com/riscv-non-isa/riscv-elf-psabi-doc>).
//! `riscv64gc` has no vectors: kernels are scalar there. With V they use 128 bits, which every
//! application core with V has (`zvl128b`); longer registers are not filled. The ABI passes floats in
//! registers, so F and D are not optional. 32-bit arguments and results are sign-extended in their
//! registers, even unsigned ones.

use super::{Cpu, Feature, TargetSpec, Tier};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "riscv64",
    aliases: &["riscv64gc"],
    triple: "riscv64gc-unknown-linux-gnu",
    cpus: &[
        Cpu {
            name: "rv64gc",
            features: &["c"],
        },
        Cpu {
            name: "rv64gcv",
            features: &["c", "v"],
        },
    ],
    features: &[
        Feature {
            name: "c",
            needs: &[],
        },
        Feature {
            name: "v",
            needs: &["zvl128b"],
        },
        Feature {
            name: "zba",
            needs: &[],
        },
        Feature {
            name: "zbb",
            needs: &[],
        },
        Feature {
            name: "zbs",
            needs: &[],
        },
        Feature {
            name: "zvl128b",
            needs: &[],
        },
    ],
    tier: Tier::Two,
    tested: "qemu-riscv64",
    qemu: Some(&[
        "qemu-riscv64",
        "-cpu",
        "rv64,v=true,vlen=128,vext_spec=v1.0",
    ]),
    c_compiler: "riscv64-linux-gnu-gcc",
    lanes: |target| if target.has("v") { 4 } else { 1 },
    has_fma: |_| true,
    vector_registers: 32,
    cache_bytes: (32 << 10, 256 << 10),
    native_features,
};

#[cfg(target_arch = "riscv64")]
fn native_features() -> Option<Vec<&'static str>> {
    // Detection of V needs a system call that the standard library does not offer in a stable
    // way; a user with vectors says `--features +v`.
    Some(vec!["c"])
}

#[cfg(not(target_arch = "riscv64"))]
fn native_features() -> Option<Vec<&'static str>> {
    None
}
