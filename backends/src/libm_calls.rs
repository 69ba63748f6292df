//! The libm functions that kernels call, which every code generator has to declare.

use condensec_ir::kernel::{Callee, Function, Statement};
use std::collections::BTreeMap;

/// libm functions that `functions` call, with their number of arguments.
pub(crate) fn libm_calls(functions: &[Function]) -> BTreeMap<&'static str, usize> {
    fn visit(block: &[Statement], found: &mut BTreeMap<&'static str, usize>) {
        for statement in block {
            match statement {
                Statement::Call {
                    callee: Callee::Libm(name),
                    arguments,
                    ..
                } => {
                    found.insert(name, arguments.len());
                }
                Statement::For { body, .. } => visit(body, found),
                Statement::If {
                    then, otherwise, ..
                } => {
                    visit(then, found);
                    visit(otherwise, found);
                }
                Statement::Let { .. }
                | Statement::Store { .. }
                | Statement::AtomicStore { .. }
                | Statement::Prefetch { .. }
                | Statement::Call { .. } => {}
            }
        }
    }
    let mut found = BTreeMap::new();
    functions.iter().for_each(|f| visit(&f.body, &mut found));
    found
}
