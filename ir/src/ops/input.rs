//! A graph input.

use super::{AttributeReader, Attributes, Operation};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// A value that the caller gives. [`crate::Graph::add_input`] makes it and knows its shape; in the
/// text form it is declared in the graph's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input;

impl Operation for Input {
    const MNEMONIC: &'static str = "input";

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn from_attributes(_: &mut AttributeReader) -> Result<Self, String> {
        Err("an input is declared in the graph's header".into())
    }

    fn infer_shape(&self, _: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        Err("the shape of an input is declared, not inferred".into())
    }

    fn eval(&self, _: &[&Array], _: &EvalContext<'_>) -> Array {
        unreachable!("the interpreter is given the inputs")
    }
}
