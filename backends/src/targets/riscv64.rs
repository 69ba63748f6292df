//! 64-bit RISC-V on Linux, ABI lp64d (<https://github.com/riscv-non-isa/riscv-elf-psabi-doc>). The ABI
//! passes floats in registers, so F and D are not optional. 32-bit arguments and results are
//! sign-extended in their registers, even unsigned ones.
//!
//! V has registers of a length that the machine decides. A target guarantees a minimum, `zvl128b` and
//! up, and kernels use that much: code for a longer minimum needs a machine that has it, code for
//! 128 bits runs on every application core with V and leaves the rest of longer registers empty.

use super::spec::{command, feature};
use super::{Cpu, Feature, Target, TargetSpec, Tier, Vectors};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "riscv64",
    what: "64-bit RISC-V, Linux",
    aliases: &["riscv64gc", "riscv64gc-unknown-linux-gnu"],
    triple: "riscv64-unknown-linux-gnu",
    cpus: &[
        Cpu {
            name: "rv64gc",
            llvm: "generic-rv64",
            features: &["c"],
            l1_bytes: 32 << 10,
            l2_bytes: 256 << 10,
        },
        Cpu {
            name: "rv64gcv",
            llvm: "generic-rv64",
            features: &["c", "v"],
            l1_bytes: 32 << 10,
            l2_bytes: 256 << 10,
        },
        Cpu {
            name: "sifive-x280",
            llvm: "sifive-x280",
            features: &["c", "v", "zba", "zbb", "zvl512b"],
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
        },
        // Four cores share 512 kB. `--features +zicond` takes what else it has; qemu has it from 8.0 on.
        Cpu {
            name: "spacemit-x60",
            llvm: "spacemit-x60",
            features: &["c", "v", "zba", "zbb", "zbs", "zvl256b"],
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
        },
    ],
    least_cpu: "generic-rv64",
    features: &[
        feature("c"),
        Feature {
            name: "v",
            needs: &["zvl128b"],
        },
        feature("zba"),
        feature("zbb"),
        feature("zbs"),
        feature("zicond"),
        Feature {
            name: "zvl1024b",
            needs: &["zvl512b"],
        },
        feature("zvl128b"),
        Feature {
            name: "zvl256b",
            needs: &["zvl128b"],
        },
        Feature {
            name: "zvl512b",
            needs: &["zvl256b"],
        },
    ],
    base_features: &["m", "a", "f", "d"],
    tier: Tier::Two,
    tested: "qemu-riscv64",
    emulator,
    c_compiler: "riscv64-linux-gnu-gcc",
    c_compiler_from: "the Debian package gcc-riscv64-linux-gnu",
    c_options: |_| Vec::new(),
    vectors: |target| Vectors {
        lanes: min_vector_bits(target).map_or(1, |bits| bits / 32),
        registers: 32,
        has_fma: true,
    },
    native_features,
};

/// What every vector register has at least, with V.
fn min_vector_bits(target: &Target) -> Option<usize> {
    let lengths = [1024, 512, 256, 128].into_iter();
    let mut guaranteed = lengths.filter(|bits| target.has(&format!("zvl{bits}b")));
    target.has("v").then(|| guaranteed.next().unwrap_or(128))
}

/// A machine with no more than is guaranteed, so that code which counts on more is found.
fn emulator(target: &Target) -> Option<Vec<String>> {
    let cpu = match min_vector_bits(target) {
        None => "rv64".to_string(),
        Some(bits) => format!("rv64,v=true,vlen={bits},vext_spec=v1.0"),
    };
    command(&["qemu-riscv64", "-cpu", &cpu])
}

fn native_features() -> Option<Vec<&'static str>> {
    // Detection of V needs a system call that the standard library does not offer in a stable
    // way; a user with vectors says `--features +v`.
    cfg!(all(target_arch = "riscv64", target_os = "linux")).then(|| vec!["c"])
}
