//! Finds adjacent scalar loads that are only splatted: one vector load does for all.
//!
//! A micro-kernel loads the `R` weights of an entry one by one and splats each. As the code stands that
//! is a load and a broadcast per weight. One vector load and a lane splat each are fewer instructions
//! where a splat of a lane is cheap: `pshufd` on x86, nothing at all on Arm, whose multiply-add
//! takes a lane as operand.

use crate::operands::operands;
use condensec_ir::kernel::{Expr, Function, MemoryType, Statement, Value};
use std::collections::HashMap;

/// Loads that one vector load replaces.
#[derive(Debug, Default)]
pub(crate) struct PackedLoads {
    /// Groups by their first load; the vector load takes its place.
    pub(crate) first: HashMap<Value, Vec<Value>>,
    /// Whether a value is among a group, by value.
    pub(crate) is_packed: Vec<bool>,
}

/// Groups the loads of `function` by `lengths`, the longest first.
pub(crate) fn packed_loads(function: &Function, lengths: &[usize]) -> PackedLoads {
    let mut only_splatted = vec![true; function.types.len()];
    limit_to_splats(&function.body, &mut only_splatted);
    if let Some(result) = function.result {
        only_splatted[result.0 as usize] = false;
    }
    let mut packed = PackedLoads {
        first: HashMap::new(),
        is_packed: vec![false; function.types.len()],
    };
    find(&function.body, &only_splatted, lengths, &mut packed);
    packed
}

/// Clears `only_splatted` for every value that something other than a splat uses.
fn limit_to_splats(block: &[Statement], only_splatted: &mut [bool]) {
    let mut used = |values: &[Value]| {
        for value in values {
            only_splatted[value.0 as usize] = false;
        }
    };
    for statement in block {
        match statement {
            Statement::Let {
                expr: Expr::Splat(..),
                ..
            } => {}
            Statement::Let { expr, .. } => used(&operands(*expr)),
            Statement::Store { value, base, .. } | Statement::AtomicStore { value, base, .. } => {
                used(&[*value, *base]);
            }
            Statement::Prefetch { address } => used(&[*address]),
            Statement::For { carried, .. } => {
                for c in carried {
                    used(&[c.initial, c.next]);
                }
            }
            Statement::If {
                then_values,
                otherwise_values,
                ..
            } => {
                used(then_values);
                used(otherwise_values);
            }
            Statement::Call { arguments, .. } => used(arguments),
        }
    }
    for statement in block {
        match statement {
            Statement::For { body, .. } => limit_to_splats(body, only_splatted),
            Statement::If {
                then, otherwise, ..
            } => {
                limit_to_splats(then, only_splatted);
                limit_to_splats(otherwise, only_splatted);
            }
            _ => {}
        }
    }
}

/// Finds groups of loads with nothing between them that could write.
fn find(block: &[Statement], only_splatted: &[bool], lengths: &[usize], packed: &mut PackedLoads) {
    // Loads since the last write: base, offset, result.
    let mut loads: Vec<(Value, i32, Value)> = Vec::new();
    for statement in block {
        match statement {
            Statement::Let {
                result,
                expr:
                    Expr::Load {
                        memory: MemoryType::F32,
                        base,
                        offset,
                    },
            } if only_splatted[result.0 as usize] => {
                loads.push((*base, *offset, *result));
            }
            Statement::Let { .. } => {}
            Statement::For { body, .. } => {
                group(&mut loads, lengths, packed);
                find(body, only_splatted, lengths, packed);
            }
            Statement::If {
                then, otherwise, ..
            } => {
                group(&mut loads, lengths, packed);
                find(then, only_splatted, lengths, packed);
                find(otherwise, only_splatted, lengths, packed);
            }
            Statement::Prefetch { .. } => {}
            Statement::Store { .. } | Statement::AtomicStore { .. } | Statement::Call { .. } => {
                group(&mut loads, lengths, packed);
            }
        }
    }
    group(&mut loads, lengths, packed);
}

/// Takes groups of adjacent loads, in the order in which the kernel has them.
fn group(loads: &mut Vec<(Value, i32, Value)>, lengths: &[usize], packed: &mut PackedLoads) {
    let mut rest = loads.as_slice();
    while let Some(&(_, _, first)) = rest.first() {
        let Some(&n) = lengths.iter().find(|&&n| is_adjacent(rest, n)) else {
            rest = &rest[1..];
            continue;
        };
        let values: Vec<Value> = rest[..n].iter().map(|&(_, _, value)| value).collect();
        for value in &values {
            packed.is_packed[value.0 as usize] = true;
        }
        packed.first.insert(first, values);
        rest = &rest[n..];
    }
    loads.clear();
}

/// Whether the first `n` of `loads` lie side by side.
fn is_adjacent(loads: &[(Value, i32, Value)], n: usize) -> bool {
    let follows = |(at, load): (usize, &(Value, i32, Value))| {
        load.0 == loads[0].0 && load.1 == loads[0].1 + 4 * at as i32
    };
    loads.len() >= n && loads[..n].iter().enumerate().all(follows)
}
