//! Matrix product of two activations.

use super::binary::{broadcast_index, broadcast_shape};
use super::{AttributeReader, Attributes, Operation, check_arity};
use crate::eval::{Array, EvalContext};
use crate::tensor::Tensor;

/// `y[.., i, j] = sum_k a[.., i, k] * b[.., k, j]`, numpy broadcasting of the outer axes.
///
/// Both operands have at least two axes; the importer reshapes vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatMul;

impl Operation for MatMul {
    const MNEMONIC: &'static str = "matmul";

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn from_attributes(_: &mut AttributeReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer_shape(&self, operands: &[&[usize]], _: &[Tensor]) -> Result<Vec<usize>, String> {
        check_arity(operands, 2)?;
        let (a, b) = (operands[0], operands[1]);
        let ([a_outer @ .., m, a_k], [b_outer @ .., b_k, n]) = (a, b) else {
            return Err(format!("shapes {a:?} and {b:?}, expected two axes or more"));
        };
        if a_k != b_k {
            return Err(format!("shapes {a:?} and {b:?} differ in the inner size"));
        }
        let outer = broadcast_shape(a_outer, b_outer)?;
        Ok([outer.as_slice(), &[*m, *n]].concat())
    }

    fn eval(&self, operands: &[&Array], ctx: &EvalContext<'_>) -> Array {
        let [a, b] = operands else {
            unreachable!("checked by infer_shape")
        };
        let (a_outer, b_outer) = (a.shape.len() - 2, b.shape.len() - 2);
        let n_inner = a.shape[a_outer + 1];
        Array::from_fn(ctx.shape, |index| {
            let (outer, inner) = index.split_at(index.len() - 2);
            let mut a_index = broadcast_index(&a.shape[..a_outer], outer);
            let mut b_index = broadcast_index(&b.shape[..b_outer], outer);
            a_index.extend([inner[0], 0]);
            b_index.extend([0, inner[1]]);
            (0..n_inner)
                .map(|k| {
                    a_index[a_outer + 1] = k;
                    b_index[b_outer] = k;
                    a.at(&a_index) * b.at(&b_index)
                })
                .sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{array, counting, eval, infer};
    use super::*;

    #[test]
    fn one_matrix() {
        let y = eval(MatMul, &[], &[&counting(&[2, 3]), &counting(&[3, 2])]);
        assert_eq!(y, array(&[2, 2], &[10.0, 13.0, 28.0, 40.0]));
    }

    #[test]
    fn outer_axes_broadcast() {
        let a = array(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        let b = array(&[2, 2, 1], &[1.0, 1.0, 1.0, 0.0]);
        let y = eval(MatMul, &[], &[&a, &b]);
        assert_eq!(y, array(&[2, 2, 1, 1], &[3.0, 1.0, 7.0, 3.0]));
    }

    #[test]
    fn rejects() {
        assert!(infer(MatMul, &[], &[&[3], &[3, 2]]).is_err());
        assert!(infer(MatMul, &[], &[&[2, 2, 3], &[3, 3, 2]]).is_err());
        let error = infer(MatMul, &[], &[&[2, 3], &[2, 3]]).unwrap_err();
        assert_eq!(error, "shapes [2, 3] and [2, 3] differ in the inner size");
        assert_eq!(infer(MatMul, &[], &[&[2, 0], &[0, 3]]), Ok(vec![2, 3]));
    }
}
