//! Kernel IR to an MLIR module, and that through MLIR's passes to LLVM IR.

use super::builder::Builder;
use super::function::{self, HIDDEN, Setting};
use super::{NAME, error};
use crate::libm_calls::libm_calls;
use crate::{BackendError, CodeUnit, Target};
use condensec_ir::kernel::Type;
use inkwell::context::AsContextRef;
use inkwell::llvm_sys::prelude::LLVMContextRef;
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::operation::OperationLike;
use melior::ir::{Location, Module, Region};
use melior::pass::PassManager;
use melior::utility::{
    parse_pass_pipeline, register_all_dialects, register_all_llvm_translations, register_all_passes,
};
use std::cell::RefCell;
use std::rc::Rc;

/// `canonicalize` and `cse` clean up what the builders of kernels leave to others; loop-invariant
/// code moves out before structured loops are gone.
const PIPELINE: &str = "builtin.module(canonicalize,cse,loop-invariant-code-motion,\
    convert-scf-to-cf,convert-to-llvm{dynamic=1},reconcile-unrealized-casts)";

/// Keeps MLIR objects and what MLIR says about them.
pub(super) struct Session {
    context: Context,
    messages: Rc<RefCell<Vec<String>>>,
}

impl Session {
    pub fn new() -> Self {
        register_all_passes();
        let registry = DialectRegistry::new();
        register_all_dialects(&registry);
        // One thread: a module has a few dozen functions, and messages keep their order.
        let context = Context::new_with_registry(&registry, false);
        for dialect in ["arith", "cf", "llvm", "scf", "vector"] {
            context.get_or_load_dialect(dialect);
        }
        register_all_llvm_translations(&context);
        let messages = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&messages);
        context.attach_diagnostic_handler(move |diagnostic| {
            sink.borrow_mut().push(diagnostic.to_string());
            true
        });
        Self { context, messages }
    }

    /// The functions of `unit` in the dialects `llvm`, `scf`, `arith` and `vector`.
    pub fn build(&self, unit: CodeUnit<'_>, target: &Target) -> Module<'_> {
        let context = &self.context;
        let module = Module::new(Location::unknown(context));
        let pointer_bytes = target.pointer_bytes();
        let mut builder = Builder::new(context, pointer_bytes);
        builder.enter(&module);
        let is_riscv64 = target.triple().starts_with("riscv64");
        let setting = Setting {
            context,
            unit,
            pointer_bytes,
            has_fma: target.wide_vectors().has_fma,
            packed_lengths: target.wide_vectors().packed_weights,
            // RISC-V calling convention, "Integer Calling Convention".
            extends_i32: is_riscv64,
            rounds_when_converting: is_riscv64,
            passthrough: builder.attribute(&passthrough(target)),
        };
        for name in unit.data_symbols {
            declare_data(&mut builder, name);
        }
        for (name, n_arguments) in libm_calls(unit.functions) {
            let parameters = vec![Type::F32; n_arguments];
            let attributes =
                function::signature(setting, &builder, name, &parameters, Some(Type::F32));
            builder.operation("llvm.func", &[], &[], &attributes, vec![Region::new()]);
        }
        for kernel in unit.functions {
            function::translate(setting, &mut builder, kernel);
        }
        module
    }

    /// Lowers `module` to the `llvm` dialect alone.
    pub fn lower(&self, module: &mut Module<'_>) -> Result<(), BackendError> {
        if !module.as_operation().verify() {
            return Err(self.failed("the module is invalid"));
        }
        let passes = PassManager::new(&self.context);
        parse_pass_pipeline(passes.as_operation_pass_manager(), PIPELINE)
            .map_err(|e| error(e.to_string()))?;
        passes
            .run(module)
            .map_err(|_| self.failed("MLIR's passes failed"))
    }

    /// Translates a lowered module.
    pub fn to_llvm<'l>(
        &self,
        module: &Module<'_>,
        context: &'l inkwell::context::Context,
    ) -> Result<inkwell::module::Module<'l>, BackendError> {
        let raw: LLVMContextRef = context.as_ctx_ref();
        // SAFETY: both objects are alive, and mlir-sys and llvm-sys name the same C type.
        let translated = unsafe {
            mlir_sys::mlirTranslateModuleToLLVMIR(module.as_operation().to_raw(), raw.cast())
        };
        if translated.is_null() {
            return Err(self.failed("the module has no translation to LLVM IR"));
        }
        // SAFETY: the module was just made in `context`, and nobody else owns it.
        Ok(unsafe { inkwell::module::Module::new(translated.cast()) })
    }

    fn failed(&self, what: &str) -> BackendError {
        let messages = self.messages.borrow();
        error(format!("{NAME}: {what}: {}", messages.join("; ")))
    }
}

/// Function attributes: nothing throws; loops do not become calls of `memset` and `memcpy`; vectors
/// are as wide as the kernels make them.
fn passthrough(target: &Target) -> String {
    let mut attributes = vec!["\"nounwind\"".to_string(), "\"no-builtins\"".to_string()];
    if target.has("avx512f") {
        attributes.push("[\"prefer-vector-width\", \"512\"]".into());
        attributes.push("[\"min-legal-vector-width\", \"512\"]".into());
    }
    format!("[{}]", attributes.join(", "))
}

fn declare_data(builder: &mut Builder<'_>, name: &str) {
    let attributes = [
        ("sym_name", builder.string(name)),
        ("global_type", builder.attribute("i8")),
        ("linkage", builder.attribute("#llvm.linkage<external>")),
        ("visibility_", builder.attribute(HIDDEN)),
        ("dso_local", builder.attribute("unit")),
        ("constant", builder.attribute("unit")),
    ];
    builder.operation(
        "llvm.mlir.global",
        &[],
        &[],
        &attributes,
        vec![Region::new()],
    );
}
