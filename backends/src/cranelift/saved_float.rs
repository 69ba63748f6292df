//! A repair of the calling convention on RISC-V, where Cranelift 0.135 takes the float register fs1
//! (f9) for caller-saved, so that a kernel would spoil what its caller keeps there.
//!
//! A function without calls can have Cranelift's convention that saves every register it uses
//! (`signature`). With a call that would be all registers of the machine, vectors included, also on
//! machines that have none. Such a function gets another in front, which saves the one register:
//!
//! ```text
//! kernel:  sp -= 16; store ra, fs1; call kernel.body; load ra, fs1; sp += 16; return
//! ```
//! Functions with a result use no floats and need neither.

use super::error_text;
use condensec_ir::kernel::{Function, Statement};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::Signature;
use cranelift_module::{FuncId, Linkage, Module, ModuleReloc, ModuleRelocTarget};
use target_lexicon::Architecture;

/// The instructions, and where the call is among them.
const CODE: [u32; 9] = [
    0xff01_0113, // addi  sp, sp, -16
    0x0011_3423, // sd    ra, 8(sp)
    0x0091_3027, // fsd   fs1, 0(sp)
    0x0000_0097, // auipc ra, 0          the linker fills in the distance
    0x0000_80e7, // jalr  ra
    0x0001_3487, // fld   fs1, 0(sp)
    0x0081_3083, // ld    ra, 8(sp)
    0x0101_0113, // addi  sp, sp, 16
    0x0000_8067, // ret
];
const CALL_AT: u32 = 3 * 4;

/// Bytes that it adds.
pub(super) const CODE_BYTES: u64 = 4 * CODE.len() as u64;

/// Whether `function` needs one in front.
pub(super) fn is_needed(function: &Function, module: &dyn Module) -> bool {
    let is_riscv64 = matches!(module.isa().triple().architecture, Architecture::Riscv64(_));
    is_riscv64 && function.result.is_none() && makes_calls(&function.body)
}

/// Defines `outer` as the code in front, and declares the body that it calls.
pub(super) fn define(
    outer: FuncId,
    name: &str,
    signature: &Signature,
    module: &mut dyn Module,
) -> Result<FuncId, String> {
    let name = format!("{name}.body");
    let body = module
        .declare_function(&name, Linkage::Local, signature)
        .map_err(error_text)?;
    let code: Vec<u8> = CODE.iter().flat_map(|word| word.to_le_bytes()).collect();
    let call = ModuleReloc {
        offset: CALL_AT,
        kind: Reloc::RiscvCallPlt,
        name: ModuleRelocTarget::user(0, body.as_u32()),
        addend: 0,
    };
    module
        .define_function_bytes(outer, 4, &code, &[call])
        .map_err(error_text)?;
    Ok(body)
}

fn makes_calls(block: &[Statement]) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Call { .. } => true,
        Statement::For { body, .. } => makes_calls(body),
        Statement::If {
            then, otherwise, ..
        } => makes_calls(then) || makes_calls(otherwise),
        Statement::Let { .. }
        | Statement::Store { .. }
        | Statement::AtomicStore { .. }
        | Statement::Prefetch { .. } => false,
    })
}
