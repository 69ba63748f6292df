//! The Cranelift back end: pure Rust, fast to compile, 128-bit vectors.
//!
//! Kernel IR is structured SSA, so it maps onto Cranelift's blocks and block parameters directly: no
//! variables, no phi construction. Cranelift selects instructions and allocates registers; its
//! mid-end stays off, because a kernel's order of operations is its builder's decision
//! (`tidy.rs` says what that costs and what replaces it). It does not unroll or vectorise; kernels have done
//! that already.
//!
//! Registers of an inner loop over a list of entries, `R` rows times `V` vectors; with `R < V` weights
//! and activations change places. There is no stack access while `R * V + min(R, V) + 1` is at most
//! the given number, which is what the target information says; `tests/inner_loops.rs` reads it from
//! the assembly:
//!
//! | target | accumulators | activations | weights | temporary | up to | example |
//! |---|---|---|---|---|---|---|
//! | x86-64-v3 | R V | V | 1 vector | 1 splat, 1 copy | 14 of 16 | 4x2 |
//! | x86-64-v2 | R V | V | 1 vector | 1 splat, 1 product | 14 of 16 | 4x2 |
//! | aarch64 | R V | V | 1 vector | none: `fmla` by lane | 32 | 4x5, 4x6 |
//! | riscv64 with V | R V | V | float register | none: `vfmacc.vf` | 32 | 4x3 |
//!
//! On x86 a tile reaches two thirds of the 128-bit FMA peak; what is missing goes to the form of the
//! multiply-add that Cranelift has there, see `target_info` below.

mod expr;
mod function;
mod isa;
mod saved_float;
mod signature;
mod tidy;

use crate::image::named_data;
use crate::libm_calls::libm_calls;
use crate::{Backend, BackendError, CodeUnit, CompiledCode, LibraryOptions, Target, Texts};
use condensec_ir::target_info::{TargetInfo, tiles};
use cranelift_codegen::Context;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{DataId, FuncId, Linkage, Module, ModuleError, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use std::collections::BTreeMap;
use target_lexicon::Architecture;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Cranelift;

const NAME: &str = "cranelift";

impl Backend for Cranelift {
    fn name(&self) -> &'static str {
        NAME
    }

    fn supports(&self, target: &Target) -> bool {
        matches!(
            target.lexicon().architecture,
            Architecture::Aarch64(_) | Architecture::Riscv64(_) | Architecture::X86_64
        )
    }

    /// On x86, Cranelift has the form of multiply-add that overwrites a factor (`vfmadd213ps`), not
    /// the one that overwrites the sum. So a tile needs room for a copy of the factor, the sums move
    /// from register to register, and a tile that fills all 16 spills. Measured on one core of an AMD
    /// EPYC with a 128-bit FMA peak of 59 GFLOP/s, lists of 256 entries through `run`: 4x2 38.8,
    /// 5x2 40.7, 2x5 38.1, 3x3 36.7, 1x8 36.4, 1x12 37.1; 4x3 and 2x6, which spill, 26.
    fn target_info(&self, target: &Target) -> TargetInfo {
        let info = target.info();
        match target.lexicon().architecture {
            Architecture::X86_64 => TargetInfo {
                vector_registers: 14,
                tiles: tiles([2, 4, 12]),
                ..info
            },
            _ => info,
        }
    }

    fn compile(
        &self,
        unit: &CodeUnit<'_>,
        target: &Target,
        options: &LibraryOptions,
    ) -> Result<CompiledCode, BackendError> {
        let mut module = new_module(unit.name, isa::build(target)?)?;
        let symbols = Symbols::declare(unit, &mut module)?;
        let mut context = Context::new();
        let mut builder_context = FunctionBuilderContext::new();
        let mut function_bytes = Vec::new();
        let mut assembly = Vec::new();
        for (function, &id) in unit.functions.iter().zip(&symbols.functions) {
            let kernel_error = |message: String| BackendError::Kernel {
                backend: NAME,
                kernel: function.name.clone(),
                message,
            };
            module.clear_context(&mut context);
            context.set_disasm(options.texts == Texts::Keep);
            function::translate(
                function,
                target,
                &symbols,
                &mut module,
                &mut context.func,
                &mut builder_context,
            )
            .map_err(kernel_error)?;
            let (id, front_bytes) = if saved_float::is_needed(function, &module) {
                let signature = &context.func.signature;
                let body = saved_float::define(id, &function.name, signature, &mut module);
                (body.map_err(kernel_error)?, saved_float::CODE_BYTES)
            } else {
                (id, 0)
            };
            module
                .define_function(id, &mut context)
                .map_err(|error| kernel_error(error_text(error)))?;
            let compiled = context.compiled_code().expect("define_function compiles");
            function_bytes.push(front_bytes + compiled.buffer.data().len() as u64);
            assembly.extend(compiled.vcode.clone());
        }
        let object = module
            .finish()
            .emit()
            .map_err(|e| code_generator_error(e.to_string()))?;
        Ok(CompiledCode {
            object,
            code_bytes: function_bytes.iter().sum(),
            function_bytes,
            assembly,
            mlir: String::new(),
            llvm_ir: String::new(),
            libm_calls: symbols.libm.keys().map(ToString::to_string).collect(),
        })
    }
}

fn new_module(name: &str, isa: OwnedTargetIsa) -> Result<ObjectModule, BackendError> {
    let file = format!("{name}_code");
    let builder = ObjectBuilder::new(isa, file, default_libcall_names())
        .map_err(|e| code_generator_error(error_text(e)))?;
    Ok(ObjectModule::new(builder))
}

/// Cranelift's ids for everything that has a symbol.
struct Symbols {
    functions: Vec<FuncId>,
    /// By kernel IR's ids; only what the code names, since a declaration is a symbol left open.
    data: BTreeMap<u32, DataId>,
    libm: BTreeMap<&'static str, FuncId>,
}

impl Symbols {
    fn declare(unit: &CodeUnit<'_>, module: &mut ObjectModule) -> Result<Self, BackendError> {
        let error = |e: ModuleError| code_generator_error(error_text(e));
        let mut functions = Vec::new();
        for function in unit.functions {
            let linkage = if function.is_exported {
                Linkage::Export
            } else {
                Linkage::Hidden
            };
            let signature = signature::of_function(function, module);
            functions.push(
                module
                    .declare_function(&function.name, linkage, &signature)
                    .map_err(error)?,
            );
        }
        let mut data = BTreeMap::new();
        for id in named_data(unit.functions) {
            let name = &unit.data_symbols[id as usize];
            let declared = module.declare_data(name, Linkage::Import, false, false);
            data.insert(id, declared.map_err(error)?);
        }
        let mut libm = BTreeMap::new();
        for (name, n_arguments) in libm_calls(unit.functions) {
            let signature = signature::of_libm(n_arguments, module);
            let id = module.declare_function(name, Linkage::Import, &signature);
            libm.insert(name, id.map_err(error)?);
        }
        Ok(Self {
            functions,
            data,
            libm,
        })
    }
}

fn code_generator_error(message: String) -> BackendError {
    BackendError::CodeGenerator {
        backend: NAME,
        message,
    }
}

/// The whole chain: Cranelift's outer message alone is often "Compilation error".
fn error_text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
