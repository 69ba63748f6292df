//! 64-bit RISC-V on Linux, ABI lp64d (<https://github.com/riscv-non-isa/riscv-elf-psabi-doc>). The ABI
//! passes floats in registers, so F and D are not optional. 32-bit arguments and results are
//! sign-extended in their registers, even unsigned ones.
//!
//! V has registers of a length that the machine decides. A target guarantees a minimum, `zvl128b` and
//! up, and kernels use that much: code for a longer minimum needs a machine that has it, code for
//! 128 bits runs on every application core with V and leaves the rest of longer registers empty.
//! Instructions work on groups of up to 8 registers (LMUL); 4 make the shortest code for lists of 4 rows.

use super::spec::{command, feature};
use super::{Cpu, Feature, Target, TargetSpec, Tier, Vectors};
use condensec_ir::target_info::{Throughput, tiles};

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
            throughput: CORE,
        },
        Cpu {
            name: "rv64gcv",
            llvm: "generic-rv64",
            features: &["c", "v"],
            l1_bytes: 32 << 10,
            l2_bytes: 256 << 10,
            throughput: CORE,
        },
        Cpu {
            name: "sifive-x280",
            llvm: "sifive-x280",
            features: &["c", "v", "zba", "zbb", "zvl512b"],
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
            throughput: HALF,
        },
        // Four cores share 512 kB. `--features +zicond` takes what else it has; qemu has it from 8.0 on.
        // LLVM's model of it moves so many loads ahead that sums are spilled.
        Cpu {
            name: "spacemit-x60",
            llvm: "generic-rv64",
            features: &["c", "v", "zba", "zbb", "zbs", "zvl256b"],
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
            throughput: HALF,
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
    vectors,
    llvm_tuning,
    native_features,
};

/// Two instructions, one of them on a vector register.
const CORE: Throughput = Throughput {
    multiply_adds: 1.0,
    loads: 1.0,
    instructions: 2.0,
    is_in_order: true,
};
/// Registers twice as long as what works on them.
const HALF: Throughput = Throughput {
    multiply_adds: 0.5,
    loads: 0.5,
    ..CORE
};

/// Lanes of the longest group of registers that is of use: with LMUL 4 a tile of 4 rows has 14
/// instructions per entry, four of them `vfmacc.vf`, and takes 20 registers. Groups also save addresses,
/// which loads of V cannot compute.
const GROUP_LANES: usize = 16;
/// The same in registers.
const LONGEST_GROUP: usize = 4;

fn vectors(target: &Target, most_lanes: usize) -> Vectors {
    let per_register = min_vector_bits(target).map_or(1, |bits| bits / 32);
    let lanes = match per_register {
        1 => 1,
        _ => (per_register * LONGEST_GROUP)
            .min(GROUP_LANES)
            .min(most_lanes),
    };
    let group = lanes.div_ceil(per_register);
    Vectors {
        lanes,
        registers: 32 / group,
        group,
        has_fma: true,
        packed_weights: &[],
        // Weights are scalars, in registers of their own.
        tiles: tiles(match (lanes, group) {
            (1, _) => [6, 12, 24],
            (_, 4) => [1, 2, 4],
            (_, 2) => [3, 6, 6],
            _ => [6, 6, 6],
        }),
    }
}

/// Kernels load what they need next; loading more earlier, as LLVM's heuristics for V do, fills the
/// registers.
fn llvm_tuning(target: &Target) -> &'static [&'static str] {
    match target.has("v") {
        true => &[
            "+disable-latency-sched-heuristic",
            "+disable-misched-load-clustering",
        ],
        false => &[],
    }
}

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
