//! Statements: blocks, loops, conditionals, stores, calls.
//!
//! A loop is tested once before it starts and then at its bottom, so an iteration has one branch:
//!
//! ```text
//!     brif low < high, body(low, initial..), after(initial..)
//! body(i, carried..):
//!     ...
//!     brif i + step < high, body(i + step, next..), after(next..)
//! after(results..):
//! ```
//! On x86 an operand of an arithmetic instruction may be in memory, but Cranelift folds a load only
//! into a value with one use, and the values that this form carries have two. A loop that uses each
//! vector once, as kernels for single weights do, is tested at its head instead: a jump more per
//! iteration, a load less per multiply-add (measured: 12 % faster at 1x8).

use super::signature::{self, clif_type};
use super::tidy::tidy;
use super::{Symbols, expr};
use crate::Target;
use crate::operands::operands;
use crate::packed_loads::{PackedLoads, packed_loads};
use condensec_ir::kernel::{
    Callee, Carried, Expr, Function, MemoryType, Statement, Symbol, Type, Value,
};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, MemFlagsData, UserFuncName, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::Module;
use cranelift_object::ObjectModule;
use std::collections::HashMap;
use target_lexicon::Architecture;

/// Translates `function` into `out`.
///
/// # Errors
/// What Cranelift has no counterpart for, in words.
pub(super) fn translate(
    function: &Function,
    target: &Target,
    symbols: &Symbols,
    module: &mut ObjectModule,
    out: &mut ir::Function,
    context: &mut FunctionBuilderContext,
) -> Result<(), String> {
    if let Some(odd) = function.types.iter().find(|ty| clif_type(**ty).is_none()) {
        return Err(format!("no {odd}: vectors have {} lanes", signature::LANES));
    }
    let function = &tidy(function);
    out.signature = signature::of_function(function, module);
    out.name = UserFuncName::default();
    let frontend_config = module.isa().frontend_config();
    let architecture = module.isa().triple().architecture;
    let is_x86 = matches!(architecture, Architecture::X86_64);
    // RISC-V multiplies a vector by a scalar register, so it wants the scalars.
    let splats_lanes = !matches!(architecture, Architecture::Riscv64(_));
    let packed = if splats_lanes {
        packed_loads(function, &[usize::from(signature::LANES)])
    } else {
        PackedLoads::default()
    };
    let mut translator = Translator {
        packed,
        lanes: vec![None; function.types.len()],
        function,
        symbols,
        module,
        builder: FunctionBuilder::new(out, context),
        values: vec![None; function.types.len()],
        definitions: vec![None; function.types.len()],
        splats_lanes,
        has_fma: target.info().has_fma,
        is_x86,
    };
    translator.function_body();
    translator.builder.finalize(frontend_config);
    Ok(())
}

pub(super) struct Translator<'a> {
    pub(super) function: &'a Function,
    symbols: &'a Symbols,
    module: &'a mut ObjectModule,
    pub(super) builder: FunctionBuilder<'a>,
    /// Cranelift's value of each of ours.
    values: Vec<Option<ir::Value>>,
    /// Expression that defines each value, where it is one.
    definitions: Vec<Option<Expr>>,
    pub(super) packed: PackedLoads,
    /// Vector and lane that hold a scalar which has no register of its own.
    pub(super) lanes: Vec<Option<(ir::Value, u8)>>,
    /// Whether a splat of a lane is better than a splat of a scalar.
    pub(super) splats_lanes: bool,
    pub(super) has_fma: bool,
    pub(super) is_x86: bool,
}

impl Translator<'_> {
    fn function_body(&mut self) {
        let entry = self.builder.create_block();
        self.builder.append_block_params_for_function_params(entry);
        self.builder.switch_to_block(entry);
        self.builder.seal_block(entry);
        for (i, &parameter) in self.function.parameters.iter().enumerate() {
            let value = self.builder.block_params(entry)[i];
            self.set(parameter, value);
        }
        self.block(&self.function.body);
        let result: Vec<ir::Value> = self.function.result.iter().map(|&r| self.get(r)).collect();
        self.builder.ins().return_(&result);
    }

    pub(super) fn get(&self, value: Value) -> ir::Value {
        self.values[value.0 as usize].expect("verified: values are defined before their use")
    }

    fn set(&mut self, value: Value, clif: ir::Value) {
        self.values[value.0 as usize] = Some(clif);
    }

    /// Expression that defines `value`, unless it is a parameter, loop value or call result.
    pub(super) fn definition(&self, value: Value) -> Option<Expr> {
        self.definitions[value.0 as usize]
    }

    pub(super) fn clif_type_of(&self, value: Value) -> ir::Type {
        to_clif(self.function.type_of(value))
    }

    /// Its value, where it is a constant index.
    pub(super) fn constant(&self, value: Value) -> Option<i64> {
        match self.definition(value) {
            Some(Expr::ConstIndex(constant)) => Some(constant),
            _ => None,
        }
    }

    fn block(&mut self, block: &[Statement]) {
        for statement in block {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Let { result, expr } => {
                if self.packed.is_packed.get(result.0 as usize) == Some(&true) {
                    expr::load_packed(self, *result, *expr);
                    return;
                }
                let value = expr::translate(self, *result, *expr);
                self.definitions[result.0 as usize] = Some(*expr);
                self.set(*result, value);
            }
            Statement::Store {
                memory,
                value,
                base,
                offset,
            } => {
                self.store(*memory, *value, *base, *offset);
            }
            // A plain 32-bit store is one instruction on all targets, which is what relaxed
            // ordering asks for; Cranelift's own atomics are sequentially consistent.
            Statement::AtomicStore {
                value,
                base,
                offset,
            } => {
                self.store(MemoryType::I32, *value, *base, *offset);
            }
            // Cranelift has no instruction for it.
            Statement::Prefetch { .. } => {}
            Statement::For {
                induction,
                low,
                high,
                step,
                carried,
                body,
            } => {
                self.for_loop(*induction, [*low, *high], *step, carried, body);
            }
            Statement::If {
                condition,
                then,
                then_values,
                otherwise,
                otherwise_values,
                results,
            } => {
                let arms = [(then, then_values), (otherwise, otherwise_values)];
                self.conditional(*condition, arms, results);
            }
            Statement::Call {
                callee,
                arguments,
                result,
            } => {
                self.call(callee, arguments, *result);
            }
        }
    }

    fn store(&mut self, memory: MemoryType, value: Value, base: Value, offset: i32) {
        let (value, base) = (self.get(value), self.get(base));
        let flags = memory_flags(memory);
        let ins = self.builder.ins();
        match memory {
            MemoryType::U8 => ins.istore8(flags, value, base, offset),
            MemoryType::U16 => ins.istore16(flags, value, base, offset),
            MemoryType::U32 => ins.istore32(flags, value, base, offset),
            MemoryType::I32
            | MemoryType::Index
            | MemoryType::F32
            | MemoryType::Ptr
            | MemoryType::Vector(_) => ins.store(flags, value, base, offset),
        };
    }

    fn block_arguments(&self, values: impl IntoIterator<Item = Value>) -> Vec<BlockArg> {
        values
            .into_iter()
            .map(|v| BlockArg::Value(self.get(v)))
            .collect()
    }

    fn for_loop(
        &mut self,
        induction: Value,
        [low, high]: [Value; 2],
        step: u32,
        carried: &[Carried],
        body: &[Statement],
    ) {
        let runs_at_least_once = match (self.constant(low), self.constant(high)) {
            (Some(low), Some(high)) => (low as u64) < high as u64,
            _ => false,
        };
        let initial = self.block_arguments(carried.iter().map(|c| c.initial));
        let (low, high) = (self.get(low), self.get(high));
        let first: Vec<BlockArg> = [BlockArg::Value(low)]
            .into_iter()
            .chain(initial.iter().copied())
            .collect();
        let after = self.builder.create_block();
        if self.is_x86 && folds_loads(body) {
            let head = self.builder.create_block();
            let inside = self.builder.create_block();
            self.builder.ins().jump(head, &first);
            let i = self.loop_parameters(head, induction, carried);
            for c in carried {
                self.set(c.result, self.get(c.argument));
            }
            self.builder.switch_to_block(head);
            let enters = self.builder.ins().icmp(IntCC::UnsignedLessThan, i, high);
            self.builder.ins().brif(enters, inside, &[], after, &[]);
            self.builder.switch_to_block(inside);
            self.builder.seal_block(inside);
            self.block(body);
            let (_, repeat, _) = self.next_iteration(i, step, carried);
            self.builder.ins().jump(head, &repeat);
            self.builder.seal_block(head);
        } else {
            let inside = self.builder.create_block();
            if runs_at_least_once {
                self.builder.ins().jump(inside, &first);
            } else {
                let enters = self.builder.ins().icmp(IntCC::UnsignedLessThan, low, high);
                self.builder
                    .ins()
                    .brif(enters, inside, &first, after, &initial);
            }
            let i = self.loop_parameters(inside, induction, carried);
            self.builder.switch_to_block(inside);
            self.block(body);
            let (next_i, repeat, next) = self.next_iteration(i, step, carried);
            let again = self
                .builder
                .ins()
                .icmp(IntCC::UnsignedLessThan, next_i, high);
            self.builder
                .ins()
                .brif(again, inside, &repeat, after, &next);
            self.builder.seal_block(inside);
            for c in carried {
                let ty = self.clif_type_of(c.result);
                let result = self.builder.append_block_param(after, ty);
                self.set(c.result, result);
            }
        }
        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
    }

    /// Gives `block` the induction variable, which is returned, and the carried values as
    /// parameters.
    fn loop_parameters(
        &mut self,
        block: ir::Block,
        induction: Value,
        carried: &[Carried],
    ) -> ir::Value {
        let i = self.builder.append_block_param(block, types::I64);
        self.set(induction, i);
        for c in carried {
            let ty = self.clif_type_of(c.argument);
            let argument = self.builder.append_block_param(block, ty);
            self.set(c.argument, argument);
        }
        i
    }

    /// The next induction variable, the next parameters of the loop, and those without the former.
    fn next_iteration(
        &mut self,
        i: ir::Value,
        step: u32,
        carried: &[Carried],
    ) -> (ir::Value, Vec<BlockArg>, Vec<BlockArg>) {
        let next_i = self.builder.ins().iadd_imm_u(i, i64::from(step));
        let next = self.block_arguments(carried.iter().map(|c| c.next));
        let all = [BlockArg::Value(next_i)]
            .into_iter()
            .chain(next.iter().copied())
            .collect();
        (next_i, all, next)
    }

    fn conditional(
        &mut self,
        condition: Value,
        arms: [(&Vec<Statement>, &Vec<Value>); 2],
        results: &[Value],
    ) {
        let [then, otherwise] = [(); 2].map(|()| self.builder.create_block());
        let after = self.builder.create_block();
        let condition = self.get(condition);
        self.builder
            .ins()
            .brif(condition, then, &[], otherwise, &[]);
        for (arm, (body, values)) in [then, otherwise].into_iter().zip(arms) {
            self.builder.switch_to_block(arm);
            self.builder.seal_block(arm);
            self.block(body);
            let values = self.block_arguments(values.iter().copied());
            self.builder.ins().jump(after, &values);
        }
        for &result in results {
            let ty = self.clif_type_of(result);
            let value = self.builder.append_block_param(after, ty);
            self.set(result, value);
        }
        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
    }

    fn call(&mut self, callee: &Callee, arguments: &[Value], result: Option<Value>) {
        let values: Vec<ir::Value> = arguments.iter().map(|&a| self.get(a)).collect();
        match callee {
            Callee::Libm(name) => {
                let id = self.symbols.libm[name];
                let callee = self.module.declare_func_in_func(id, self.builder.func);
                let call = self.builder.ins().call(callee, &values);
                let value = self.builder.inst_results(call)[0];
                self.set(result.expect("verified: libm calls have a result"), value);
            }
            Callee::Indirect(target) => {
                let signature = signature::of_indirect(values.len(), self.module);
                let signature = self.builder.import_signature(signature);
                let target = self.get(*target);
                self.builder.ins().call_indirect(signature, target, &values);
            }
        }
    }

    /// Address of a symbol, which lies in the same program or shared library.
    pub(super) fn address(&mut self, symbol: Symbol) -> ir::Value {
        match symbol {
            Symbol::Function(id) => {
                let id = self.symbols.functions[id.0 as usize];
                let function = self.module.declare_func_in_func(id, self.builder.func);
                self.builder.ins().func_addr(types::I64, function)
            }
            Symbol::Data(id, offset) => {
                let id = self.symbols.data[&id.0];
                let data = self.module.declare_data_in_func(id, self.builder.func);
                // An import would go through the global offset table; hidden data need not.
                if let ir::GlobalValueData::Symbol { colocated, .. } =
                    &mut self.builder.func.global_values[data]
                {
                    *colocated = true;
                }
                let address = self.builder.ins().symbol_value(types::I64, data);
                match offset {
                    0 => address,
                    _ => self.builder.ins().iadd_imm_u(address, offset as i64),
                }
            }
        }
    }
}

/// Whether `body` multiplies a vector that it loads and uses for nothing else.
fn folds_loads(body: &[Statement]) -> bool {
    let mut uses: HashMap<Value, u32> = HashMap::new();
    let mut factors = Vec::new();
    for statement in body {
        let Statement::Let { expr, .. } = statement else {
            continue;
        };
        for value in operands(*expr) {
            *uses.entry(value).or_default() += 1;
        }
        if let Expr::MulAdd(a, b, _) = *expr {
            factors.extend([a, b]);
        }
    }
    body.iter().any(|statement| match statement {
        Statement::Let {
            result,
            expr:
                Expr::Load {
                    memory: MemoryType::Vector(_),
                    ..
                },
        } => factors.contains(result) && uses[result] == 1,
        _ => false,
    })
}

/// Flags of an access: it never traps, and vectors are aligned to their elements only. `readonly`
/// and `can_move` are never set: a kernel may not say which of its pointers lead to constants.
pub(super) fn memory_flags(memory: MemoryType) -> MemFlagsData {
    let flags = MemFlagsData::new().with_notrap();
    match memory {
        MemoryType::Vector(_) => flags,
        _ => flags.with_aligned(),
    }
}

pub(super) fn to_clif(ty: Type) -> ir::Type {
    clif_type(ty).expect("translate checks all types")
}
