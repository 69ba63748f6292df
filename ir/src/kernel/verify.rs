//! Checks a function of the kernel IR.
//!
//! Invariants:
//! - every value is defined once, before its use, in the block that uses it or one around it;
//! - operand types are those that the expression asks for (one float or integer type per
//!   arithmetic op, `index` for addresses, bounds and shift amounts on `index`);
//! - vector lanes are 2, 4, 8 or 16;
//! - the carried values of a loop agree in type before, inside and after it; so do the two arms of
//!   a conditional with its results;
//! - a loop step is at least 1, and so is a constant divisor.
//!
//! Bounds of loads and stores are not visible here; [`super::Machine`] checks them when it runs.

use super::function::{Callee, Expr, Function, Statement, Value};
use super::types::{IntBinaryOp, MemoryType, Type};

struct Verifier<'a> {
    function: &'a Function,
    is_visible: Vec<bool>,
    is_defined: Vec<bool>,
}

/// Checks `function` against the invariants of this module.
///
/// # Errors
/// One sentence that names the function and the offending value. Always a bug of whoever built it.
pub fn verify_function(function: &Function) -> Result<(), String> {
    let n = function.types.len();
    let mut verifier = Verifier {
        function,
        is_visible: vec![false; n],
        is_defined: vec![false; n],
    };
    let run = |v: &mut Verifier<'_>| {
        for &parameter in &function.parameters {
            v.define(parameter)?;
        }
        v.block(&function.body)?;
        function.result.map_or(Ok(()), |result| v.used(result))
    };
    run(&mut verifier).map_err(|message| format!("kernel {}: {message}", function.name))
}

impl Verifier<'_> {
    fn ty(&self, value: Value) -> Type {
        self.function.type_of(value)
    }

    fn define(&mut self, value: Value) -> Result<(), String> {
        let at = value.0 as usize;
        if at >= self.function.types.len() {
            return Err(format!("{value} has no type"));
        }
        if self.is_defined[at] {
            return Err(format!("{value} is defined twice"));
        }
        if let Type::Vector(lanes) | Type::IntVector(lanes) = self.ty(value)
            && !matches!(lanes, 2 | 4 | 8 | 16)
        {
            return Err(format!("{value} has {lanes} lanes"));
        }
        self.is_defined[at] = true;
        self.is_visible[at] = true;
        Ok(())
    }

    fn used(&self, value: Value) -> Result<(), String> {
        match self.is_visible.get(value.0 as usize) {
            Some(true) => Ok(()),
            _ => Err(format!("{value} is used where it is not defined")),
        }
    }

    fn expect(&self, value: Value, ty: Type) -> Result<(), String> {
        self.used(value)?;
        if self.ty(value) == ty {
            return Ok(());
        }
        Err(format!("{value} is {}, expected {ty}", self.ty(value)))
    }

    fn block(&mut self, block: &[Statement]) -> Result<(), String> {
        for statement in block {
            self.statement(statement)?;
        }
        Ok(())
    }

    /// Runs `inner` and hides what it defined.
    fn scope(&mut self, inner: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let before = self.is_visible.clone();
        inner(self)?;
        self.is_visible = before;
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Let { result, expr } => {
                let ty = self.expr(*expr)?;
                self.define(*result)?;
                self.expect(*result, ty)
            }
            Statement::Store {
                memory,
                value,
                base,
                ..
            } => {
                self.expect(*base, Type::Ptr)?;
                self.expect(*value, memory.value_type())
            }
            Statement::AtomicStore { value, base, .. } => {
                self.expect(*base, Type::Ptr)?;
                self.expect(*value, Type::I32)
            }
            Statement::Prefetch { address } => self.expect(*address, Type::Ptr),
            Statement::For {
                induction,
                low,
                high,
                step,
                carried,
                body,
            } => {
                self.expect(*low, Type::Index)?;
                self.expect(*high, Type::Index)?;
                if *step == 0 {
                    return Err("loop step 0".into());
                }
                for c in carried {
                    self.used(c.initial)?;
                }
                self.scope(|v| {
                    v.define(*induction)?;
                    v.expect(*induction, Type::Index)?;
                    for c in carried {
                        v.define(c.argument)?;
                        v.expect(c.argument, v.ty(c.initial))?;
                    }
                    v.block(body)?;
                    carried
                        .iter()
                        .try_for_each(|c| v.expect(c.next, v.ty(c.initial)))
                })?;
                for c in carried {
                    self.define(c.result)?;
                    self.expect(c.result, self.ty(c.initial))?;
                }
                Ok(())
            }
            Statement::If {
                condition,
                then,
                then_values,
                otherwise,
                otherwise_values,
                results,
            } => {
                self.expect(*condition, Type::Bool)?;
                for (block, values) in [(then, then_values), (otherwise, otherwise_values)] {
                    if values.len() != results.len() {
                        return Err("arms of a conditional differ in their number of values".into());
                    }
                    self.scope(|v| {
                        v.block(block)?;
                        let pairs = values.iter().zip(results);
                        pairs
                            .into_iter()
                            .try_for_each(|(&value, &r)| v.expect(value, v.ty(r)))
                    })?;
                }
                results.iter().try_for_each(|&result| self.define(result))
            }
            Statement::Call {
                callee,
                arguments,
                result,
            } => {
                if let Callee::Indirect(target) = callee {
                    self.expect(*target, Type::Ptr)?;
                }
                for &argument in arguments {
                    self.used(argument)?;
                    let fits = match callee {
                        Callee::Libm(_) => self.ty(argument) == Type::F32,
                        Callee::Indirect(_) => {
                            matches!(self.ty(argument), Type::Ptr | Type::Index)
                        }
                    };
                    if !fits {
                        return Err(format!("{argument} is no argument for a call"));
                    }
                }
                if matches!(callee, Callee::Libm(_)) != result.is_some() {
                    return Err("a libm call has a result, an indirect call has none".into());
                }
                result.map_or(Ok(()), |r| {
                    self.define(r)?;
                    self.expect(r, Type::F32)
                })
            }
        }
    }

    fn float(&self, value: Value) -> Result<Type, String> {
        self.used(value)?;
        match self.ty(value) {
            ty @ (Type::F32 | Type::Vector(_)) => Ok(ty),
            other => Err(format!("{value} is {other}, expected a float")),
        }
    }

    fn same(&self, a: Value, b: Value) -> Result<Type, String> {
        self.used(a)?;
        self.expect(b, self.ty(a))?;
        Ok(self.ty(a))
    }

    fn address(&self, base: Value, ty: Type) -> Result<Type, String> {
        self.expect(base, Type::Ptr)?;
        Ok(ty)
    }

    fn expr(&self, expr: Expr) -> Result<Type, String> {
        let mismatch =
            |value: Value| Err(format!("{value} has the wrong type, {}", self.ty(value)));
        match expr {
            Expr::ConstIndex(_) => Ok(Type::Index),
            Expr::ConstI32(_) => Ok(Type::I32),
            Expr::ConstF32(_) => Ok(Type::F32),
            Expr::IntBinary(op, a, b) => match (self.same(a, b)?, op) {
                (ty @ (Type::Index | Type::I32), _) => Ok(ty),
                (
                    ty @ Type::IntVector(_),
                    IntBinaryOp::Add
                    | IntBinaryOp::Sub
                    | IntBinaryOp::And
                    | IntBinaryOp::Or
                    | IntBinaryOp::Xor
                    | IntBinaryOp::Shl
                    | IntBinaryOp::ShrU,
                ) => Ok(ty),
                _ => mismatch(a),
            },
            Expr::FloatBinary(_, a, b) => {
                self.float(a)?;
                self.same(a, b)
            }
            Expr::FloatUnary(_, a) => self.float(a),
            Expr::MulAdd(a, b, c) => {
                self.float(c)?;
                self.same(a, b)?;
                self.same(b, c)
            }
            Expr::Compare(_, a, b) => match self.same(a, b)? {
                Type::Index | Type::I32 | Type::F32 | Type::Ptr => Ok(Type::Bool),
                _ => mismatch(a),
            },
            Expr::Select { condition, a, b } => {
                self.expect(condition, Type::Bool)?;
                match self.same(a, b)? {
                    Type::Vector(_) | Type::IntVector(_) => mismatch(a),
                    ty => Ok(ty),
                }
            }
            Expr::Splat(scalar, lanes) => {
                self.used(scalar)?;
                match self.ty(scalar) {
                    Type::F32 => Ok(Type::Vector(lanes)),
                    Type::I32 => Ok(Type::IntVector(lanes)),
                    _ => mismatch(scalar),
                }
            }
            Expr::Extract(vector, lane) => {
                self.used(vector)?;
                match self.ty(vector) {
                    Type::Vector(lanes) if lane < lanes => Ok(Type::F32),
                    Type::IntVector(lanes) if lane < lanes => Ok(Type::I32),
                    _ => mismatch(vector),
                }
            }
            Expr::Deinterleave { a, b, .. } | Expr::Interleave { a, b, .. } => {
                match self.same(a, b)? {
                    ty @ Type::Vector(_) => Ok(ty),
                    _ => mismatch(a),
                }
            }
            Expr::PtrAdd(base, bytes) => {
                self.expect(bytes, Type::Index)?;
                self.address(base, Type::Ptr)
            }
            Expr::PtrToIndex(ptr) => self.address(ptr, Type::Index),
            Expr::IndexToI32(value) => self.expect(value, Type::Index).map(|()| Type::I32),
            Expr::I32ToIndex(value) => self.expect(value, Type::I32).map(|()| Type::Index),
            Expr::FloatToInt(value) => match self.float(value)? {
                Type::Vector(lanes) => Ok(Type::IntVector(lanes)),
                _ => Ok(Type::I32),
            },
            Expr::IntToFloat(value) => {
                self.used(value)?;
                match self.ty(value) {
                    Type::I32 => Ok(Type::F32),
                    Type::IntVector(lanes) => Ok(Type::Vector(lanes)),
                    _ => mismatch(value),
                }
            }
            Expr::Bitcast(value) => {
                self.used(value)?;
                match self.ty(value) {
                    Type::I32 => Ok(Type::F32),
                    Type::F32 => Ok(Type::I32),
                    Type::IntVector(lanes) => Ok(Type::Vector(lanes)),
                    Type::Vector(lanes) => Ok(Type::IntVector(lanes)),
                    _ => mismatch(value),
                }
            }
            Expr::Load { memory, base, .. } => {
                if memory == MemoryType::Vector(1) {
                    return Err("a vector load of one lane".into());
                }
                self.address(base, memory.value_type())
            }
            Expr::AtomicLoad { base, .. } => self.address(base, Type::I32),
            Expr::Address(_) => Ok(Type::Ptr),
        }
    }
}
