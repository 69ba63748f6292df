//! Text form of kernel IR functions, for `--emit kernel-ir` and for people.

use super::function::{Block, Callee, Expr, Function, Statement, Value};
use super::symbol::Symbol;
use std::fmt::Write;

/// Prints `function`: one statement per line, blocks indented.
pub fn print_function(function: &Function) -> String {
    let mut out = String::new();
    let parameters: Vec<String> = function
        .parameters
        .iter()
        .map(|&p| format!("{p}: {}", function.type_of(p)))
        .collect();
    let result = function
        .result
        .map_or(String::new(), |r| format!(" -> {}", function.type_of(r)));
    let export = if function.is_exported { "export " } else { "" };
    let _ = writeln!(
        out,
        "{export}func @{}({}){result} {{",
        function.name,
        parameters.join(", ")
    );
    print_block(&mut out, function, &function.body, 1);
    if let Some(result) = function.result {
        let _ = writeln!(out, "  return {result}");
    }
    out.push_str("}\n");
    out
}

fn list(values: impl IntoIterator<Item = Value>) -> String {
    values
        .into_iter()
        .map(|v| v.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn print_block(out: &mut String, function: &Function, block: &Block, depth: usize) {
    let pad = "  ".repeat(depth);
    for statement in block {
        let _ = write!(out, "{pad}");
        let _ = match statement {
            Statement::Let { result, expr } => {
                writeln!(
                    out,
                    "{result}: {} = {}",
                    function.type_of(*result),
                    print_expr(*expr)
                )
            }
            Statement::Store {
                memory,
                value,
                base,
                offset,
            } => {
                writeln!(out, "store {memory} {value}, {base} + {offset}")
            }
            Statement::AtomicStore {
                value,
                base,
                offset,
            } => {
                writeln!(out, "atomic_store i32 {value}, {base} + {offset}")
            }
            Statement::Prefetch { address } => writeln!(out, "prefetch {address}"),
            Statement::For {
                induction,
                low,
                high,
                step,
                carried,
                body,
            } => {
                let inits: Vec<String> = carried
                    .iter()
                    .map(|c| format!("{} = {}", c.argument, c.initial))
                    .collect();
                if !carried.is_empty() {
                    let _ = write!(out, "{} = ", list(carried.iter().map(|c| c.result)));
                }
                let _ = write!(out, "for {induction} in {low}..{high} step {step}");
                if !carried.is_empty() {
                    let _ = write!(out, " carry ({})", inits.join(", "));
                }
                out.push_str(" {\n");
                print_block(out, function, body, depth + 1);
                if !carried.is_empty() {
                    let _ = writeln!(out, "{pad}  next {}", list(carried.iter().map(|c| c.next)));
                }
                writeln!(out, "{pad}}}")
            }
            Statement::If {
                condition,
                then,
                then_values,
                otherwise,
                otherwise_values,
                results,
            } => {
                if !results.is_empty() {
                    let _ = write!(out, "{} = ", list(results.iter().copied()));
                }
                let _ = writeln!(out, "if {condition} {{");
                print_arm(out, function, then, then_values, depth);
                if !otherwise.is_empty() || !otherwise_values.is_empty() {
                    let _ = writeln!(out, "{pad}}} else {{");
                    print_arm(out, function, otherwise, otherwise_values, depth);
                }
                writeln!(out, "{pad}}}")
            }
            Statement::Call {
                callee,
                arguments,
                result,
            } => {
                if let Some(result) = result {
                    let _ = write!(out, "{result}: {} = ", function.type_of(*result));
                }
                let callee = match callee {
                    Callee::Libm(name) => format!("@{name}"),
                    Callee::Indirect(target) => target.to_string(),
                };
                writeln!(out, "call {callee}({})", list(arguments.iter().copied()))
            }
        };
    }
}

fn print_arm(out: &mut String, function: &Function, block: &Block, values: &[Value], depth: usize) {
    print_block(out, function, block, depth + 1);
    if !values.is_empty() {
        let _ = writeln!(
            out,
            "{}yield {}",
            "  ".repeat(depth + 1),
            list(values.iter().copied())
        );
    }
}

fn word(name: impl std::fmt::Debug) -> String {
    format!("{name:?}").to_lowercase()
}

fn print_expr(expr: Expr) -> String {
    match expr {
        Expr::ConstIndex(v) => format!("{v}"),
        Expr::ConstI32(v) => format!("{v}"),
        Expr::ConstF32(v) => format!("{v:?}"),
        Expr::IntBinary(op, a, b) => format!("{} {a}, {b}", word(op)),
        Expr::FloatBinary(op, a, b) => format!("f{} {a}, {b}", word(op)),
        Expr::FloatUnary(op, a) => format!("f{} {a}", word(op)),
        Expr::MulAdd(a, b, c) => format!("mul_add {a}, {b}, {c}"),
        Expr::Compare(op, a, b) => format!("compare_{} {a}, {b}", word(op)),
        Expr::Select { condition, a, b } => format!("select {condition}, {a}, {b}"),
        Expr::Splat(v, _) => format!("splat {v}"),
        Expr::Extract(v, lane) => format!("extract {v}[{lane}]"),
        Expr::Deinterleave { a, b, parity } => format!("{}_lanes {a}, {b}", word(parity)),
        Expr::Interleave { a, b, half } => format!("interleave_{} {a}, {b}", word(half)),
        Expr::PtrAdd(base, bytes) => format!("ptr_add {base}, {bytes}"),
        Expr::PtrToIndex(v) => format!("ptr_to_index {v}"),
        Expr::IndexToI32(v) => format!("truncate {v}"),
        Expr::I32ToIndex(v) => format!("extend {v}"),
        Expr::FloatToInt(v) => format!("float_to_int {v}"),
        Expr::IntToFloat(v) => format!("int_to_float {v}"),
        Expr::Bitcast(v) => format!("bitcast {v}"),
        Expr::Load {
            memory,
            base,
            offset,
        } => format!("load {memory} {base} + {offset}"),
        Expr::AtomicLoad { base, offset } => format!("atomic_load i32 {base} + {offset}"),
        Expr::Address(Symbol::Function(id)) => format!("address function {}", id.0),
        Expr::Address(Symbol::Data(id, offset)) => format!("address data {} + {offset}", id.0),
    }
}
