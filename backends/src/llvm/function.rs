//! Statements: structured control flow becomes `scf.for` and `scf.if`.
//!
//! A loop's carried values are `iter_args`, so accumulators stay in registers; unrolling is switched
//! off per loop, because the kernel's builder has unrolled what should be.

use super::builder::{Builder, Handle, vector};
use crate::CodeUnit;
use crate::packed_loads::{PackedLoads, packed_loads};
use condensec_ir::kernel::{Callee, Carried, Expr, Function, Statement, Type, Value};
use melior::Context;
use melior::ir::{Attribute, Region, Type as MlirType};

/// Keeps LLVM from unrolling a loop.
const KEEP_ROLLED: &str = "#llvm.loop_annotation<unroll = <disable = true>>";
/// Visibility of symbols that other objects of the library use and nobody else.
pub(super) const HIDDEN: &str = "1 : i64";
const YIELD: &str = "scf.yield";

/// What all functions of a module have in common.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a, 'c> {
    pub context: &'c Context,
    pub unit: CodeUnit<'a>,
    pub pointer_bytes: usize,
    /// Whether a multiply-add is one instruction.
    pub has_fma: bool,
    /// Numbers of splatted scalars that a vector load fetches.
    pub packed_lengths: &'static [usize],
    /// Whether 32-bit arguments and results are sign-extended in their registers.
    pub extends_i32: bool,
    /// Whether a float is converted to an integer by an instruction that rounds.
    pub rounds_when_converting: bool,
    /// Attributes of LLVM that every function gets.
    pub passthrough: Attribute<'c>,
}

/// Translates one function.
pub(super) struct Translator<'a, 'c> {
    pub(super) setting: Setting<'a, 'c>,
    pub(super) builder: &'a mut Builder<'c>,
    pub(super) function: &'a Function,
    values: Vec<Option<Handle<'c>>>,
    packed: PackedLoads,
}

/// Appends `function` to the open module.
pub(super) fn translate<'a, 'c>(
    setting: Setting<'a, 'c>,
    builder: &'a mut Builder<'c>,
    function: &'a Function,
) {
    let type_of = |&value: &Value| function.type_of(value);
    let parameters: Vec<Type> = function.parameters.iter().map(type_of).collect();
    let result = function.result.as_ref().map(type_of);
    let mut attributes = signature(setting, builder, &function.name, &parameters, result);
    attributes.push(("passthrough", setting.passthrough));
    attributes.push(("dso_local", builder.attribute("unit")));
    if !function.is_exported {
        attributes.push(("visibility_", builder.attribute(HIDDEN)));
    }
    let mut translator = Translator {
        setting,
        builder,
        function,
        values: vec![None; function.types.len()],
        packed: packed_loads(function, setting.packed_lengths),
    };
    let body = translator.region(
        &function.parameters,
        &function.body,
        ("llvm.return", function.result.as_slice()),
    );
    builder.operation("llvm.func", &[], &[], &attributes, vec![body]);
}

/// Attributes of an `llvm.func` of this signature.
pub(super) fn signature<'c>(
    setting: Setting<'_, 'c>,
    builder: &Builder<'c>,
    name: &str,
    parameters: &[Type],
    result: Option<Type>,
) -> Vec<(&'static str, Attribute<'c>)> {
    let spell = |ty: &Type| match ty {
        Type::Ptr => "ptr".to_string(),
        Type::Index => builder.index.to_string(),
        Type::I32 => "i32".to_string(),
        Type::F32 => "f32".to_string(),
        Type::Bool | Type::Vector(_) | Type::IntVector(_) => {
            unreachable!("verified: {ty} is no parameter")
        }
    };
    let result_text = result.as_ref().map_or("void".to_string(), spell);
    let parameter_texts: Vec<String> = parameters.iter().map(spell).collect();
    let function_type = format!("!llvm.func<{result_text} ({})>", parameter_texts.join(", "));
    let mut attributes = vec![
        ("sym_name", builder.string(name)),
        ("function_type", builder.attribute(&function_type)),
        ("linkage", builder.attribute("#llvm.linkage<external>")),
        ("CConv", builder.attribute("#llvm.cconv<ccc>")),
    ];
    if setting.extends_i32 {
        let extension = |ty: &Type| match ty {
            Type::I32 => "{llvm.signext}",
            _ => "{}",
        };
        let list = |types: &[Type]| {
            let texts: Vec<&str> = types.iter().map(extension).collect();
            builder.attribute(&format!("[{}]", texts.join(", ")))
        };
        attributes.push(("arg_attrs", list(parameters)));
        attributes.extend(result.map(|ty| ("res_attrs", list(&[ty]))));
    }
    attributes
}

fn mlir_type<'c>(builder: &Builder<'c>, ty: Type) -> MlirType<'c> {
    match ty {
        Type::Bool => builder.bool,
        Type::I32 => builder.i32,
        Type::Index => builder.index,
        Type::F32 => builder.f32,
        Type::Ptr => builder.ptr,
        Type::Vector(lanes) => vector(lanes, builder.f32),
        Type::IntVector(lanes) => vector(lanes, builder.i32),
    }
}

impl<'c> Translator<'_, 'c> {
    pub(super) fn get(&self, value: Value) -> Handle<'c> {
        self.values[value.0 as usize].expect("verified: values are defined before their use")
    }

    fn get_all(&self, values: &[Value]) -> Vec<Handle<'c>> {
        values.iter().map(|&v| self.get(v)).collect()
    }

    fn set(&mut self, value: Value, handle: Handle<'c>) {
        self.values[value.0 as usize] = Some(handle);
    }

    pub(super) fn type_of(&self, value: Value) -> MlirType<'c> {
        mlir_type(self.builder, self.function.type_of(value))
    }

    /// A region of one block that takes `parameters`, does `block` and ends with an operation on
    /// some values.
    fn region(
        &mut self,
        parameters: &[Value],
        block: &[Statement],
        (end, results): (&str, &[Value]),
    ) -> Region<'c> {
        let types: Vec<_> = parameters.iter().map(|&p| self.type_of(p)).collect();
        let (region, arguments) = self.builder.open(&types);
        for (&parameter, argument) in parameters.iter().zip(arguments) {
            self.set(parameter, argument);
        }
        for statement in block {
            self.statement(statement);
        }
        let results = self.get_all(results);
        self.builder.effect(end, &results, &[]);
        self.builder.close();
        region
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Let { result, expr } if self.packed.is_packed[result.0 as usize] => {
                self.packed_load(*result, *expr);
            }
            Statement::Let { result, expr } => {
                let value = self.expr(*result, *expr);
                self.set(*result, value);
            }
            Statement::Store {
                memory,
                value,
                base,
                offset,
            } => self.store(*memory, *value, *base, *offset),
            Statement::AtomicStore {
                value,
                base,
                offset,
            } => self.atomic_store(*value, *base, *offset),
            Statement::Prefetch { address } => self.prefetch(*address),
            Statement::For {
                induction,
                low,
                high,
                step,
                carried,
                body,
            } => self.for_loop(*induction, [*low, *high], *step, carried, body),
            Statement::If {
                condition,
                then,
                then_values,
                otherwise,
                otherwise_values,
                results,
            } => {
                let condition = self.get(*condition);
                let regions = vec![
                    self.region(&[], then, (YIELD, then_values)),
                    self.region(&[], otherwise, (YIELD, otherwise_values)),
                ];
                let types: Vec<_> = results.iter().map(|&r| self.type_of(r)).collect();
                let values = self
                    .builder
                    .operation("scf.if", &[condition], &types, &[], regions);
                for (&result, value) in results.iter().zip(values) {
                    self.set(result, value);
                }
            }
            Statement::Call {
                callee,
                arguments,
                result,
            } => self.call(callee, arguments, *result),
        }
    }

    /// A load that is one of a group: the first loads all.
    fn packed_load(&mut self, result: Value, expr: Expr) {
        let (Some(group), Expr::Load { base, offset, .. }) =
            (self.packed.first.remove(&result), expr)
        else {
            return;
        };
        for (value, lane) in group.iter().zip(self.load_lanes(group.len(), base, offset)) {
            self.set(*value, lane);
        }
    }

    fn for_loop(
        &mut self,
        induction: Value,
        [low, high]: [Value; 2],
        step: u32,
        carried: &[Carried],
        body: &[Statement],
    ) {
        let step = self.constant_int(self.builder.index, i64::from(step));
        let mut operands = vec![self.get(low), self.get(high), step];
        operands.extend(carried.iter().map(|c| self.get(c.initial)));
        let parameters: Vec<Value> = [induction]
            .into_iter()
            .chain(carried.iter().map(|c| c.argument))
            .collect();
        let next: Vec<Value> = carried.iter().map(|c| c.next).collect();
        let region = self.region(&parameters, body, (YIELD, &next));
        let types: Vec<_> = carried.iter().map(|c| self.type_of(c.result)).collect();
        let attributes = [
            ("unsignedCmp", self.builder.attribute("unit")),
            ("llvm.loop_annotation", self.builder.attribute(KEEP_ROLLED)),
        ];
        let values =
            self.builder
                .operation("scf.for", &operands, &types, &attributes, vec![region]);
        for (c, value) in carried.iter().zip(values) {
            self.set(c.result, value);
        }
    }

    fn call(&mut self, callee: &Callee, arguments: &[Value], result: Option<Value>) {
        let mut operands = self.get_all(arguments);
        let mut attributes = vec![("op_bundle_sizes", self.builder.i32_array(&[]))];
        match callee {
            Callee::Libm(name) => attributes.push(("callee", self.builder.symbol(name))),
            Callee::Indirect(target) => operands.insert(0, self.get(*target)),
        }
        let n_operands = operands.len() as i32;
        attributes.push((
            "operandSegmentSizes",
            self.builder.i32_array(&[n_operands, 0]),
        ));
        let types: Vec<_> = result.iter().map(|&r| self.type_of(r)).collect();
        let values =
            self.builder
                .operation("llvm.call", &operands, &types, &attributes, Vec::new());
        if let (Some(result), Some(&value)) = (result, values.first()) {
            self.set(result, value);
        }
    }
}
