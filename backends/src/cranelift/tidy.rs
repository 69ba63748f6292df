//! Common subexpressions and loop-invariant code, on kernel IR.
//!
//! Cranelift's own mid-end does both, but it also places every computation as late as it can and
//! keeps loads where they are: a micro-kernel then loads everything before it multiplies anything,
//! and spills (measured on x86-64-v3: a 1x8 tile at half the speed, a 2x5 tile at 0.6). The order in
//! which a kernel streams its operands is its builder's decision, so Cranelift runs without its
//! mid-end and this pass takes out what builders leave in.
//!
//! Before and after, for a constant and an address that do not change in the loop:
//!
//! ```text
//! for %i in %0..%n {              %5: f32 = 0.5
//!   %5: f32 = 0.5                 %6: f32x4 = splat %5
//!   %6: f32x4 = splat %5          for %i in %0..%n {
//!   %7: f32 = 0.5           ->      %9: f32x4 = fmul %8, %6
//!   %8: f32x4 = splat %7            ..
//!   ..                            }
//! ```
//! Only expressions move that neither read memory nor can fail.

use crate::operands::{operands, replace_operands};
use condensec_ir::kernel::{Block, Carried, Expr, Function, IntBinaryOp, Statement, Value};
use std::collections::HashMap;

/// Returns `function` with each expression computed once per scope and outside of loops that do not
/// change it.
pub(super) fn tidy(function: &Function) -> Function {
    let mut function = function.clone();
    let mut body = std::mem::take(&mut function.body);
    hoist(&mut body, &mut vec![None; function.types.len()], 0);
    let mut numbering = Numbering {
        same_as: (0..function.types.len() as u32).map(Value).collect(),
        scopes: vec![],
    };
    function.body = numbering.block(body);
    function.result = function.result.map(|r| numbering.get(r));
    function
}

/// Whether computing `expr` at another place, or without need, changes nothing.
fn is_pure(expr: Expr) -> bool {
    match expr {
        Expr::Load { .. } | Expr::AtomicLoad { .. } => false,
        // A divisor may be zero where the program never divides.
        Expr::IntBinary(IntBinaryOp::DivU | IntBinaryOp::RemU, ..) => false,
        _ => true,
    }
}

/// Moves pure expressions of `block`, which lies `depth` loops deep, out of its loops.
///
/// `depths`: the number of loops around the definition of each value seen so far.
fn hoist(block: &mut Block, depths: &mut Vec<Option<u32>>, depth: u32) {
    let mut result = Block::with_capacity(block.len());
    for mut statement in std::mem::take(block) {
        let mut invariant = Block::new();
        match &mut statement {
            Statement::Let { result, .. } => depths[result.0 as usize] = Some(depth),
            Statement::For {
                induction,
                carried,
                body,
                ..
            } => {
                depths[induction.0 as usize] = Some(depth + 1);
                for c in carried.iter() {
                    depths[c.argument.0 as usize] = Some(depth + 1);
                    depths[c.result.0 as usize] = Some(depth);
                }
                hoist(body, depths, depth + 1);
                take_invariant(body, depths, depth, &mut invariant);
            }
            Statement::If {
                then,
                otherwise,
                results,
                ..
            } => {
                hoist(then, depths, depth);
                hoist(otherwise, depths, depth);
                for value in results.iter() {
                    depths[value.0 as usize] = Some(depth);
                }
            }
            Statement::Call { result, .. } => {
                for value in result.iter() {
                    depths[value.0 as usize] = Some(depth);
                }
            }
            Statement::Store { .. }
            | Statement::AtomicStore { .. }
            | Statement::Prefetch { .. } => {}
        }
        result.append(&mut invariant);
        result.push(statement);
    }
    *block = result;
}

/// Moves what the loop around `body` does not change to `invariant`, which stands before the loop,
/// `depth` loops deep. Arms of conditionals count: what is computed there cannot fail either.
fn take_invariant(body: &mut Block, depths: &mut [Option<u32>], depth: u32, invariant: &mut Block) {
    let mut rest = Block::with_capacity(body.len());
    for mut statement in std::mem::take(body) {
        match &mut statement {
            Statement::Let { result, expr } => {
                let is_outside = |v: &Value| depths[v.0 as usize].is_none_or(|d| d <= depth);
                if is_pure(*expr) && operands(*expr).iter().all(is_outside) {
                    depths[result.0 as usize] = Some(depth);
                    invariant.push(statement);
                    continue;
                }
            }
            Statement::If {
                then, otherwise, ..
            } => {
                take_invariant(then, depths, depth, invariant);
                take_invariant(otherwise, depths, depth, invariant);
            }
            _ => {}
        }
        rest.push(statement);
    }
    *body = rest;
}

/// Value numbering: a computation that an enclosing scope has done already is not done again.
struct Numbering {
    /// The value to use instead of each.
    same_as: Vec<Value>,
    /// Computations done so far, by scope, outermost first.
    scopes: Vec<HashMap<Key, Value>>,
}

/// An expression as something that can be hashed: floats by their bits.
type Key = (std::mem::Discriminant<Expr>, Vec<u64>);

impl Numbering {
    fn get(&self, value: Value) -> Value {
        self.same_as[value.0 as usize]
    }

    fn block(&mut self, block: Block) -> Block {
        self.scopes.push(HashMap::new());
        let block = block
            .into_iter()
            .filter_map(|s| self.statement(s))
            .collect();
        self.scopes.pop();
        block
    }

    fn statement(&mut self, statement: Statement) -> Option<Statement> {
        Some(match statement {
            Statement::Let { result, expr } => {
                let expr = replace_operands(expr, |v| self.get(v));
                if is_pure(expr) {
                    let key = key(expr);
                    if let Some(&known) = self.scopes.iter().find_map(|s| s.get(&key)) {
                        self.same_as[result.0 as usize] = known;
                        return None;
                    }
                    let scope = self.scopes.last_mut().expect("a block is open");
                    scope.insert(key, result);
                }
                Statement::Let { result, expr }
            }
            Statement::Store {
                memory,
                value,
                base,
                offset,
            } => Statement::Store {
                memory,
                value: self.get(value),
                base: self.get(base),
                offset,
            },
            Statement::AtomicStore {
                value,
                base,
                offset,
            } => Statement::AtomicStore {
                value: self.get(value),
                base: self.get(base),
                offset,
            },
            Statement::Prefetch { address } => Statement::Prefetch {
                address: self.get(address),
            },
            Statement::For {
                induction,
                low,
                high,
                step,
                carried,
                body,
            } => {
                let (low, high) = (self.get(low), self.get(high));
                let body = self.block(body);
                let carried = carried.into_iter().map(|c| Carried {
                    argument: c.argument,
                    initial: self.get(c.initial),
                    next: self.get(c.next),
                    result: c.result,
                });
                let carried = carried.collect();
                Statement::For {
                    induction,
                    low,
                    high,
                    step,
                    carried,
                    body,
                }
            }
            Statement::If {
                condition,
                then,
                then_values,
                otherwise,
                otherwise_values,
                results,
            } => {
                let condition = self.get(condition);
                let then = self.block(then);
                let otherwise = self.block(otherwise);
                let all = |values: Vec<Value>| values.into_iter().map(|v| self.get(v)).collect();
                let (then_values, otherwise_values) = (all(then_values), all(otherwise_values));
                Statement::If {
                    condition,
                    then,
                    then_values,
                    otherwise,
                    otherwise_values,
                    results,
                }
            }
            Statement::Call {
                callee,
                arguments,
                result,
            } => {
                let callee = match callee {
                    condensec_ir::kernel::Callee::Indirect(target) => {
                        condensec_ir::kernel::Callee::Indirect(self.get(target))
                    }
                    libm => libm,
                };
                let arguments = arguments.into_iter().map(|v| self.get(v)).collect();
                Statement::Call {
                    callee,
                    arguments,
                    result,
                }
            }
        })
    }
}

fn key(expr: Expr) -> Key {
    use condensec_ir::kernel::Symbol;
    let value = |v: Value| u64::from(v.0);
    let parts = match expr {
        Expr::ConstIndex(c) => vec![c as u64],
        Expr::ConstI32(c) => vec![u64::from(c as u32)],
        Expr::ConstF32(c) => vec![u64::from(c.to_bits())],
        Expr::Address(Symbol::Function(id)) => vec![0, u64::from(id.0), 0],
        Expr::Address(Symbol::Data(id, offset)) => vec![1, u64::from(id.0), offset],
        Expr::IntBinary(op, a, b) => vec![op as u64, value(a), value(b)],
        Expr::FloatBinary(op, a, b) => vec![op as u64, value(a), value(b)],
        Expr::FloatUnary(op, a) => vec![op as u64, value(a)],
        Expr::Compare(op, a, b) => vec![op as u64, value(a), value(b)],
        Expr::Splat(a, n) | Expr::Extract(a, n) => vec![value(a), u64::from(n)],
        Expr::Deinterleave { a, b, parity } => vec![value(a), value(b), parity as u64],
        Expr::Interleave { a, b, half } => vec![value(a), value(b), half as u64],
        other => operands(other).into_iter().map(value).collect(),
    };
    (std::mem::discriminant(&expr), parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec_ir::kernel::{
        FunctionBuilder, MemoryType, Type, print_function, verify_function,
    };

    #[test]
    fn invariant_code_leaves_the_loop_once() {
        let mut f = FunctionBuilder::new("f", &[Type::Ptr, Type::Index, Type::Index]);
        let [x, low, high] = f.parameters();
        f.for_each(low, high, 4, |f, i| {
            let at = f.ptr_add(x, i);
            let value = f.load(MemoryType::F32, at, 0);
            let half = f.f32(0.5);
            let value = f.fmul(value, half);
            let again = f.f32(0.5);
            let value = f.fmul(value, again);
            let at = f.ptr_add(x, i);
            f.store(MemoryType::F32, value, at, 0);
        });
        let function = tidy(&f.finish());
        verify_function(&function).unwrap();
        let expected = "\
func @f(%0: ptr, %1: index, %2: index) {
  %6: f32 = 0.5
  for %3 in %1..%2 step 4 {
    %4: ptr = ptr_add %0, %3
    %5: f32 = load f32 %4 + 0
    %7: f32 = fmul %5, %6
    %9: f32 = fmul %7, %6
    store f32 %9, %4 + 0
  }
}
";
        assert_eq!(print_function(&function), expected);
    }

    #[test]
    fn loads_and_divisions_stay_where_they_are_guarded() {
        let mut f = FunctionBuilder::new("f", &[Type::Ptr, Type::Index, Type::Index]);
        let [x, a, b] = f.parameters();
        f.for_each(a, b, 1, |f, i| {
            let value = f.load(MemoryType::Index, x, 0);
            let quotient = f.int(IntBinaryOp::DivU, b, a);
            let sum = f.add(value, quotient);
            let sum = f.add(sum, i);
            f.store(MemoryType::Index, sum, x, 0);
        });
        let before = f.finish();
        assert_eq!(tidy(&before), before);
    }

    #[test]
    fn arms_of_a_conditional_do_not_share_their_values() {
        let mut f = FunctionBuilder::new("f", &[Type::Index, Type::Index]);
        let [a, b] = f.parameters();
        let less = f.compare(condensec_ir::kernel::CompareOp::Lt, a, b);
        let value = f.if_else(less, |f| vec![f.add(a, b)], |f| vec![f.add(a, b)])[0];
        let function = tidy(&f.finish_with(Some(value)));
        verify_function(&function).unwrap();
    }
}
