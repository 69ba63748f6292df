//! LLVM IR to an object file and to assembly, by LLVM's target machine.

use super::error;
use crate::{BackendError, Target};
use inkwell::OptimizationLevel;
use inkwell::llvm_sys::support::LLVMParseCommandLineOptions;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, FileType, InitializationConfig, RelocMode, Target as LlvmTarget, TargetMachine,
    TargetMachineOptions, TargetTriple,
};
use std::sync::Once;

/// The code generator for `target`; `optimization` is from 0 to 3.
pub(super) fn target_machine(
    target: &Target,
    optimization: u8,
) -> Result<TargetMachine, BackendError> {
    keep_scalars();
    let config = InitializationConfig::default();
    LlvmTarget::initialize_aarch64(&config);
    LlvmTarget::initialize_arm(&config);
    LlvmTarget::initialize_riscv(&config);
    LlvmTarget::initialize_x86(&config);
    // LLVM looks for the environment, and with it for where floats are passed, in the fourth place.
    let triple = TargetMachine::normalize_triple(&TargetTriple::create(target.triple()));
    let llvm = LlvmTarget::from_triple(&triple).map_err(|e| error(e.to_string()))?;
    // Firmware is linked where it runs; everything else may be loaded anywhere.
    let reloc_mode = match target.is_bare_metal() {
        true => RelocMode::Static,
        false => RelocMode::PIC,
    };
    let mut options = TargetMachineOptions::new()
        .set_cpu(target.llvm_cpu())
        .set_features(&target.llvm_features())
        .set_level(match optimization {
            0 => OptimizationLevel::None,
            1 => OptimizationLevel::Less,
            2 => OptimizationLevel::Default,
            _ => OptimizationLevel::Aggressive,
        })
        .set_reloc_mode(reloc_mode)
        .set_code_model(CodeModel::Small);
    if target.triple().starts_with("riscv64") {
        options = options.set_abi("lp64d");
    }
    llvm.create_target_machine_from_options(&triple, options)
        .ok_or_else(|| error(format!("no machine for {}", target.triple())))
}

/// Keeps LLVM from making vectors of neighbouring scalars. It would load the places of four weights as one vector and
/// take them apart again by instructions that compete with multiply-adds: 1.4 times the time of such a layer on Zen 3. The
/// pass's own switch is the one that counts: the option of [`PassBuilderOptions`] is without effect (LLVM 22).
fn keep_scalars() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let arguments = [c"condensec".as_ptr(), c"-vectorize-slp=false".as_ptr()];
        // SAFETY: two strings that end with a zero and live forever.
        unsafe {
            LLVMParseCommandLineOptions(2, arguments.as_ptr(), std::ptr::null());
        }
    });
}

/// Makes `module` one for `machine` and runs LLVM's passes. Kernels are vectorised and unrolled already:
/// what LLVM would add is code for loops over a remainder.
pub(super) fn optimize(
    module: &Module<'_>,
    machine: &TargetMachine,
    optimization: u8,
) -> Result<(), BackendError> {
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    let options = PassBuilderOptions::create();
    options.set_loop_vectorization(false);
    options.set_loop_unrolling(false);
    module
        .run_passes(&format!("default<O{optimization}>"), machine, options)
        .map_err(|e| error(e.to_string()))
}

/// The object file.
pub(super) fn object(
    module: &Module<'_>,
    machine: &TargetMachine,
) -> Result<Vec<u8>, BackendError> {
    emit(module, machine, FileType::Object)
}

/// Assembly of the whole module.
pub(super) fn assembly(
    module: &Module<'_>,
    machine: &TargetMachine,
) -> Result<String, BackendError> {
    machine.set_asm_verbosity(false);
    let bytes = emit(module, machine, FileType::Assembly)?;
    String::from_utf8(bytes).map_err(|e| error(e.to_string()))
}

fn emit(
    module: &Module<'_>,
    machine: &TargetMachine,
    kind: FileType,
) -> Result<Vec<u8>, BackendError> {
    let buffer = machine
        .write_to_memory_buffer(module, kind)
        .map_err(|e| error(e.to_string()))?;
    Ok(buffer.as_slice().to_vec())
}
