//! Types and signatures: kernel IR to Cranelift.

use super::saved_float;
use condensec_ir::kernel::{Function, Type};
use cranelift_codegen::ir::{self, AbiParam, Signature, types};
use cranelift_codegen::isa::CallConv;
use cranelift_module::Module;
use target_lexicon::Architecture;

/// Lanes of the one vector size that Cranelift has.
pub(super) const LANES: u8 = 4;

/// Cranelift's type for `ty`; none for vectors of another size than 128 bits.
pub(super) fn clif_type(ty: Type) -> Option<ir::Type> {
    match ty {
        Type::Bool => Some(types::I8),
        Type::I32 => Some(types::I32),
        // All targets of this back end have 64-bit pointers.
        Type::Index | Type::Ptr => Some(types::I64),
        Type::F32 => Some(types::F32),
        Type::Vector(LANES) => Some(types::F32X4),
        Type::IntVector(LANES) => Some(types::I32X4),
        Type::Vector(_) | Type::IntVector(_) => None,
    }
}

/// Signature of one of our functions.
pub(super) fn of_function(function: &Function, module: &dyn Module) -> Signature {
    let mut signature = module.make_signature();
    let is_riscv64 = matches!(module.isa().triple().architecture, Architecture::Riscv64(_));
    // Under this convention it saves all registers that it uses; `saved_float` says why. Only
    // functions without a result can have it.
    if is_riscv64 && function.result.is_none() && !saved_float::is_needed(function, module) {
        signature.call_conv = CallConv::PreserveAll;
    }
    // A type without counterpart is refused when the function's body is translated.
    let ty = |value| clif_type(function.type_of(value)).unwrap_or(types::INVALID);
    signature
        .params
        .extend(function.parameters.iter().map(|&p| AbiParam::new(ty(p))));
    signature.returns.extend(function.result.map(|result| {
        let result = AbiParam::new(ty(result));
        // The RISC-V ABI wants 32-bit results sign-extended, also unsigned ones; the others leave
        // the upper half undefined. Parameters are taken as undefined everywhere.
        match is_riscv64 && result.value_type == types::I32 {
            true => result.sext(),
            false => result,
        }
    }));
    signature
}

/// Signature of a libm function of `n_arguments` floats.
pub(super) fn of_libm(n_arguments: usize, module: &dyn Module) -> Signature {
    let mut signature = module.make_signature();
    signature
        .params
        .extend(vec![AbiParam::new(types::F32); n_arguments]);
    signature.returns.push(AbiParam::new(types::F32));
    signature
}

/// Signature of an indirect call with `n_arguments` pointers or indices.
pub(super) fn of_indirect(n_arguments: usize, module: &dyn Module) -> Signature {
    let mut signature = module.make_signature();
    signature
        .params
        .extend(vec![AbiParam::new(types::I64); n_arguments]);
    signature
}
