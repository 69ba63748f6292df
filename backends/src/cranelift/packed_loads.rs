//! Finds four adjacent scalar loads that are only splatted: one vector load does for all.
//!
//! A micro-kernel loads the `R` weights of an entry one by one and splats each. Cranelift folds a
//! load into its user only if both have a single use, so that would be a load and a broadcast per
//! weight. One vector load and a lane splat each are fewer instructions: `pshufd` on x86, nothing at
//! all on aarch64, whose multiply-add takes a lane as operand.

use super::operands::operands;
use condensec_ir::kernel::{Expr, Function, MemoryType, Statement, Value};
use std::collections::HashMap;

/// Loads that one vector load replaces.
#[derive(Debug, Default)]
pub(super) struct PackedLoads {
    /// First load of each group; the vector load takes its place.
    pub(super) first: HashMap<Value, [Value; 4]>,
    /// Whether a value is among a group, by value.
    pub(super) is_packed: Vec<bool>,
}

/// Groups the loads of `function`.
pub(super) fn packed_loads(function: &Function) -> PackedLoads {
    let mut only_splatted = vec![true; function.types.len()];
    limit_to_splats(&function.body, &mut only_splatted);
    if let Some(result) = function.result {
        only_splatted[result.0 as usize] = false;
    }
    let mut packed = PackedLoads {
        first: HashMap::new(),
        is_packed: vec![false; function.types.len()],
    };
    find(&function.body, &only_splatted, &mut packed);
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
fn find(block: &[Statement], only_splatted: &[bool], packed: &mut PackedLoads) {
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
                group(&mut loads, packed);
                find(body, only_splatted, packed);
            }
            Statement::If {
                then, otherwise, ..
            } => {
                group(&mut loads, packed);
                find(then, only_splatted, packed);
                find(otherwise, only_splatted, packed);
            }
            Statement::Prefetch { .. } => {}
            Statement::Store { .. } | Statement::AtomicStore { .. } | Statement::Call { .. } => {
                group(&mut loads, packed);
            }
        }
    }
    group(&mut loads, packed);
}

/// Takes groups of four adjacent loads, in the order in which the kernel has them.
fn group(loads: &mut Vec<(Value, i32, Value)>, packed: &mut PackedLoads) {
    for four in adjacent_fours(loads) {
        packed.first.insert(four[0], four);
        for value in four {
            packed.is_packed[value.0 as usize] = true;
        }
    }
    loads.clear();
}

fn adjacent_fours(loads: &[(Value, i32, Value)]) -> Vec<[Value; 4]> {
    let mut found = Vec::new();
    let mut rest = loads;
    while let Some((window, tail)) = rest.split_at_checked(4) {
        let (base, offset, _) = window[0];
        let is_adjacent =
            (0..4).all(|i| window[i].0 == base && window[i].1 == offset + 4 * i as i32);
        if is_adjacent {
            found.push([0, 1, 2, 3].map(|i: usize| window[i].2));
            rest = tail;
        } else {
            rest = &rest[1..];
        }
    }
    found
}
