//! 64-bit x86 on Windows: COFF objects and the Win64 convention
//! (<https://learn.microsoft.com/cpp/build/x64-calling-convention>), in which four arguments go in
//! registers and the callee keeps xmm6 to xmm15. Both follow from the triple. Objects link with
//! Microsoft's tools and with MinGW's; kernels throw nothing, so there are no unwind tables.

use super::spec::{command, no_tuning};
use super::x86_64::{self, CPUS, FEATURES};
use super::{Target, TargetSpec, Tier};

/// See the module.
pub const SPEC: TargetSpec = TargetSpec {
    name: "x86_64-windows",
    what: "64-bit x86, Windows",
    aliases: &["windows", "x86_64-pc-windows-gnu"],
    triple: "x86_64-pc-windows-msvc",
    cpus: CPUS,
    least_cpu: "x86-64",
    features: FEATURES,
    base_features: &[],
    tier: Tier::Two,
    tested: "Wine, linked by MinGW",
    emulator,
    c_compiler: "x86_64-w64-mingw32-gcc",
    c_compiler_from: "the Debian package gcc-mingw-w64-x86-64",
    c_options: |_| Vec::new(),
    vectors: x86_64::vectors,
    llvm_tuning: no_tuning,
    native_features: || cfg!(all(target_arch = "x86_64", windows)).then(x86_64::detected_features),
};

/// Wine runs the code itself, so this machine must have the features.
fn emulator(target: &Target) -> Option<Vec<String>> {
    let host = x86_64::detected_features();
    match target.features().all(|f| host.contains(&f)) {
        true => command(&["wine"]),
        false => None,
    }
}
