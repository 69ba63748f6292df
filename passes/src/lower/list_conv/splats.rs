//! Scalars spread over vectors.

use condensec_ir::kernel::{FunctionBuilder, Value};
use std::cell::RefCell;

/// A scalar in all lanes of vectors of several lengths, each made once.
pub(super) struct Splats {
    scalar: Value,
    made: RefCell<Vec<(usize, Value)>>,
}

impl Splats {
    pub fn new(scalar: Value) -> Self {
        Self {
            scalar,
            made: RefCell::default(),
        }
    }

    pub fn of(&self, f: &mut FunctionBuilder, lanes: usize) -> Value {
        let mut made = self.made.borrow_mut();
        if let Some(&(_, splat)) = made.iter().find(|(l, _)| *l == lanes) {
            return splat;
        }
        let splat = f.splat(self.scalar, lanes);
        made.push((lanes, splat));
        splat
    }
}
