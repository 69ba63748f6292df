//! Microcontrollers with Cortex-M4F or M7 and no operating system, AAPCS with floats in registers
//! (<https://github.com/ARM-software/abi-aa>). No vectors of floats: kernels are scalar and count on the
//! 32 single registers and the fused multiply-add of VFPv4. Code is Thumb, so addresses of functions
//! are odd; the linker sets that bit. Nothing relocates a program at start, so all data can stay in
//! flash. The M4 has no data cache, the M7 usually one of 16 kB; both stand here with the fast memory
//! that a kernel can count on.

use super::spec::{command, never_native};
use super::{Cpu, Feature, Target, TargetSpec, Tier, Vectors};
use condensec_ir::target_info::{Throughput, tiles};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "thumbv7em",
    what: "Cortex-M4F and M7, bare metal",
    aliases: &["cortex-m", "thumbv7em-none"],
    triple: "thumbv7em-none-eabihf",
    cpus: &[
        Cpu {
            name: "cortex-m4",
            llvm: "cortex-m4",
            features: &["vfp4d16sp"],
            l1_bytes: 16 << 10,
            l2_bytes: 64 << 10,
            // `vfma` takes three cycles (Cortex-M4 Technical Reference Manual, table 7-1).
            throughput: Throughput {
                multiply_adds: 1.0 / 3.0,
                loads: 1.0,
                instructions: 1.0,
                is_in_order: true,
            },
        },
        Cpu {
            name: "cortex-m7",
            llvm: "cortex-m7",
            features: &["fp-armv8d16"],
            l1_bytes: 16 << 10,
            l2_bytes: 64 << 10,
            throughput: Throughput {
                multiply_adds: 1.0,
                loads: 1.0,
                instructions: 2.0,
                is_in_order: true,
            },
        },
    ],
    least_cpu: "cortex-m4",
    features: &[
        Feature {
            name: "fp-armv8d16",
            needs: &["fp-armv8d16sp"],
        },
        Feature {
            name: "fp-armv8d16sp",
            needs: &["vfp4d16sp"],
        },
        Feature {
            name: "vfp4d16sp",
            needs: &[],
        },
    ],
    base_features: &[],
    tier: Tier::Two,
    tested: "qemu-system-arm",
    emulator,
    c_compiler: "arm-none-eabi-gcc",
    c_compiler_from: "the Debian package gcc-arm-none-eabi",
    c_options,
    vectors,
    llvm_tuning,
    native_features: never_native,
};

/// An entry of the tile 4x6 takes 39 instructions, of which 24 multiply. The Cortex-M7 waits for what it
/// loads: 4x5 leaves registers to load ahead to, and its 34 instructions take as many cycles in LLVM's
/// model; 4x6 would take 60.
fn vectors(target: &Target, _: usize) -> Vectors {
    let vectors = match target.cpu() {
        "cortex-m7" => [5, 10, 10],
        _ => [6, 12, 24],
    };
    Vectors {
        lanes: 1,
        registers: 32,
        group: 1,
        has_fma: target.has("vfp4d16sp"),
        packed_weights: &[],
        tiles: tiles(vectors),
    }
}

/// LLVM's machine scheduler puts every load right before its use: 51 cycles for 34 instructions. The order
/// of instruction selection is better.
fn llvm_tuning(target: &Target) -> &'static [&'static str] {
    match target.cpu() {
        "cortex-m7" => &["-use-misched"],
        _ => &[],
    }
}

/// A whole board, whose program talks to this machine by semihosting.
fn emulator(target: &Target) -> Option<Vec<String>> {
    let board = match target.cpu() {
        "cortex-m7" => "mps2-an500",
        _ => "mps2-an386",
    };
    let semihosting = "enable=on,target=native";
    command(&[
        "qemu-system-arm",
        "-M",
        board,
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "none",
        "-semihosting-config",
        semihosting,
        "-kernel",
    ])
}

fn c_options(target: &Target) -> Vec<String> {
    let cpu = format!("-mcpu={}", target.cpu());
    vec![cpu, "-mthumb".into(), "-mfloat-abi=hard".into()]
}
