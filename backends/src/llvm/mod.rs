//! The LLVM back end: kernel IR through MLIR to LLVM, for every target and with full-width vectors.
//!
//! ```text
//! kernel IR ──function.rs, expr.rs──> MLIR: llvm.func, scf, arith, vector, llvm for memory
//!           ──mlir.rs───────────────> llvm dialect ──> LLVM IR
//!           ──machine.rs────────────> optimised, object file, assembly
//!           ──code.rs───────────────> sizes and open symbols, read back
//! ```
//! What differs between machines is data of the target.
//!
//! A kernel's order of operations is its builder's contract (which operands are held in registers
//! and which stream), and LLVM keeps it: with the smaller of rows and vectors held, a tile of
//! `R * V + min(R, V) + 1` registers has no stack access in its inner loop on any target;
//! `tests/inner_loops.rs` reads that from the assembly.

mod builder;
mod code;
mod expr;
mod function;
mod machine;
mod mlir;

use crate::{Backend, BackendError, CodeUnit, CompiledCode, LibraryOptions, Target, Texts};
use condensec_ir::target_info::TargetInfo;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Llvm;

const NAME: &str = "llvm";

impl Backend for Llvm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn supports(&self, _: &Target) -> bool {
        true
    }

    fn target_info(&self, target: &Target) -> TargetInfo {
        target.wide_info()
    }

    fn compile(
        &self,
        unit: &CodeUnit<'_>,
        target: &Target,
        options: &LibraryOptions,
    ) -> Result<CompiledCode, BackendError> {
        let session = mlir::Session::new();
        let mut module = session.build(*unit, target);
        let mlir = match options.texts {
            Texts::Keep => module.as_operation().to_string(),
            Texts::Skip => String::new(),
        };
        session.lower(&mut module)?;
        let context = inkwell::context::Context::create();
        let llvm = session.to_llvm(&module, &context)?;
        let machine = machine::target_machine(target, options.optimization)?;
        machine::optimize(&llvm, &machine, options.optimization)?;
        let object = machine::object(&llvm, &machine)?;
        let facts = code::read(&object, *unit)?;
        let (assembly, llvm_ir) = match options.texts {
            Texts::Keep => {
                let assembly = machine::assembly(&llvm, &machine)?;
                (
                    code::split_assembly(&assembly, *unit),
                    llvm.print_to_string().to_string(),
                )
            }
            Texts::Skip => (Vec::new(), String::new()),
        };
        Ok(CompiledCode {
            object,
            code_bytes: facts.code_bytes,
            function_bytes: facts.function_bytes,
            assembly,
            mlir,
            llvm_ir,
            libm_calls: facts.libm_calls,
        })
    }
}

fn error(message: String) -> BackendError {
    BackendError::CodeGenerator {
        backend: NAME,
        message,
    }
}
