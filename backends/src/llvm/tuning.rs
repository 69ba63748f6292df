//! What kernels should look like for each machine, so that LLVM makes good loops of them.
//!
//! | machine | vectors | registers | multiply-add | weights |
//! |---|---|---|---|---|
//! | x86 with FMA | up to 512 bits | 16, 32 with AVX-512 | `vfmadd231ps` | broadcast from memory |
//! | x86 without | 128 bits | 14 of 16 | `mulps`, `addps` | broadcast from memory |
//! | AArch64 | 128 bits | 32 | `fmla` by lane | 4 in a vector |
//! | 32-bit Arm with NEON | 128 bits | 16 | `vmla` by lane | 4 or 2 in a vector |
//! | RISC-V with V | groups of up to 4 registers | 32 / group | `vfmacc.vf` | scalars |
//! | scalar | 32 bits | 32 | `vfma`, `fmadd` | scalars |
//!
//! A product without a fused sum needs a register of its own, so x86 without FMA gives up two. NEON has
//! a fused multiply-add, `vfma`, but not by lane: `vmla`, which rounds twice, needs no broadcasts, and a tile
//! of 4x3 vectors then fits. On RISC-V a group of registers is one operand (LMUL): fewer instructions for
//! the same arithmetic, and fewer addresses, which V's loads cannot compute.

use crate::Target;
use condensec_ir::target_info::TargetInfo;
use target_lexicon::Architecture;

/// Lanes of the longest vectors of the kernel IR.
const LONGEST: usize = 16;

/// The most registers to a group: four rows of sums and one vector of activations then take 20 of 32.
const LONGEST_GROUP: usize = 4;

/// What passes may know of `target`.
pub(super) fn target_info(target: &Target) -> TargetInfo {
    let info = target.wide_info();
    match target.lexicon().architecture {
        Architecture::X86_64 if !info.has_fma => TargetInfo {
            vector_registers: info.vector_registers - 2,
            ..info
        },
        Architecture::Arm(_) if info.lanes > 1 => TargetInfo {
            has_fma: false,
            ..info
        },
        Architecture::Riscv64(_) if info.lanes > 1 => {
            let lanes = (LONGEST_GROUP * info.lanes).min(LONGEST);
            let group = (lanes / info.lanes).max(1);
            TargetInfo {
                lanes,
                vector_registers: info.vector_registers / group,
                ..info
            }
        }
        _ => info,
    }
}

/// Numbers of adjacent scalars that one vector load should fetch where they are only splatted: none
/// where the machine does not multiply by a lane.
pub(super) fn packed_lengths(target: &Target) -> &'static [usize] {
    match target.lexicon().architecture {
        Architecture::Aarch64(_) => &[4],
        Architecture::Arm(_) => &[4, 2],
        _ => &[],
    }
}

/// LLVM's CPU for `target`, after which it schedules.
pub(super) fn cpu(target: &Target) -> &'static str {
    match target.llvm_cpu() {
        // LLVM's models of these move so many loads ahead that a tile leaves the registers: copies
        // of sums among its multiply-adds on the one, spills on the other.
        "cortex-a9" => "generic",
        "spacemit-x60" => "generic-rv64",
        cpu => cpu,
    }
}

/// LLVM's features for `target`, some of which are about scheduling.
pub(super) fn features(target: &Target) -> String {
    let features = target.llvm_features();
    let has_vectors = target.vectors().lanes > 1;
    match target.lexicon().architecture {
        // LLVM avoids vmla on some CPUs because it delays whatever needs its result. A tile has other
        // sums to go on with.
        Architecture::Arm(_) if has_vectors => format!("{features},-slowfpvmlx"),
        // Kernels load what they need next; loading more earlier fills the registers.
        Architecture::Riscv64(_) if has_vectors => {
            format!("{features},+disable-latency-sched-heuristic,+disable-misched-load-clustering")
        }
        _ => features,
    }
}
