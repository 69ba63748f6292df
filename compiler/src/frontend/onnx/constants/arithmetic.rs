//! Arithmetic on constants: what exporters compute shapes with, and what is left of it on floats.
//!
//! Errors are plain text; the caller knows the node.

use condensec_ir::ops::BinaryKind;

use super::{Elems, Literal, MAX_COMPUTED_ELEMS, checked_product, for_each_index};
use crate::frontend::onnx::proto::DataType;

/// Comparison of two constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Operation on truth values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logic {
    And,
    Or,
    Xor,
}

/// How the elements of a reduction are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    Max,
    Mean,
    Min,
    Prod,
    Sum,
}

/// Common shape of two operands, numpy style.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis],
        None => 1,
    };
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (da, db) if da == db || db == 1 => Ok(da),
            (1, db) => Ok(db),
            _ => Err(format!("shapes {a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// Refuses results that are larger than both `n_given` elements and any sensible constant.
pub fn check_size(shape: &[usize], n_given: usize) -> Result<usize, String> {
    match checked_product(shape) {
        Some(n_elems) if n_elems <= n_given.max(MAX_COMPUTED_ELEMS) => Ok(n_elems),
        _ => Err(format!("a constant of shape {shape:?} is too large")),
    }
}

/// `f` of each pair of elements, with broadcasting.
fn zip<A: Copy, B: Copy, C>(
    (a_shape, a): (&[usize], &[A]),
    (b_shape, b): (&[usize], &[B]),
    mut f: impl FnMut(A, B) -> Result<C, String>,
) -> Result<(Vec<usize>, Vec<C>), String> {
    if a_shape == b_shape {
        let values = a
            .iter()
            .zip(b)
            .map(|(&a, &b)| f(a, b))
            .collect::<Result<_, _>>()?;
        return Ok((a_shape.to_vec(), values));
    }
    let shape = broadcast_shape(a_shape, b_shape)?;
    check_size(&shape, a.len().max(b.len()))?;
    let position = |operand: &[usize], index: &[usize]| {
        let index = &index[index.len() - operand.len()..];
        let step =
            |at: usize, (&i, &size): (&usize, &usize)| at * size + if size == 1 { 0 } else { i };
        index.iter().zip(operand).fold(0, step)
    };
    let mut values = Vec::with_capacity(shape.iter().product());
    let mut error = None;
    for_each_index(&shape, |index| {
        match f(a[position(a_shape, index)], b[position(b_shape, index)]) {
            Ok(value) => values.push(value),
            Err(found) => error = Some(found),
        }
    });
    match error {
        None => Ok((shape, values)),
        Some(error) => Err(error),
    }
}

fn mixed(a: &Literal, b: &Literal) -> String {
    format!("operands are {} and {}", a.elems, b.elems)
}

/// Arithmetic on two constants of one type.
pub fn binary(kind: BinaryKind, a: &Literal, b: &Literal) -> Result<Literal, String> {
    match (&a.elems, &b.elems) {
        (Elems::F32(x), Elems::F32(y)) => {
            let (shape, values) = zip((&a.shape, x), (&b.shape, y), |x, y| Ok(kind.eval(x, y)))?;
            Ok(Literal::f32(&shape, values))
        }
        (Elems::I64(x), Elems::I64(y)) => {
            let (shape, values) = zip((&a.shape, x), (&b.shape, y), |x, y| integer(kind, x, y))?;
            Ok(Literal::i64(&shape, values))
        }
        // The exponent may have a type of its own.
        (Elems::F32(_), Elems::I64(y)) if kind == BinaryKind::Pow => {
            let exponent =
                Literal::f32(&b.shape, y.iter().map(|&y| y as f32).collect::<Vec<f32>>());
            binary(kind, a, &exponent)
        }
        _ => Err(mixed(a, b)),
    }
}

fn integer(kind: BinaryKind, a: i64, b: i64) -> Result<i64, String> {
    match kind {
        BinaryKind::Add => Ok(a.wrapping_add(b)),
        BinaryKind::Sub => Ok(a.wrapping_sub(b)),
        BinaryKind::Mul => Ok(a.wrapping_mul(b)),
        BinaryKind::Div if b == 0 => Err(format!("{a} is divided by zero")),
        BinaryKind::Div => Ok(a.wrapping_div(b)),
        BinaryKind::Max => Ok(a.max(b)),
        BinaryKind::Min => Ok(a.min(b)),
        BinaryKind::Pow => match u32::try_from(b).ok().and_then(|b| a.checked_pow(b)) {
            Some(power) => Ok(power),
            None => Err(format!(
                "{a} to the power of {b} is not an integer of 64 bits"
            )),
        },
    }
}

/// ONNX `Mod`: the sign of the divisor, or with `fmod` that of the dividend.
pub fn modulo(a: &Literal, b: &Literal, fmod: bool) -> Result<Literal, String> {
    match (&a.elems, &b.elems) {
        (Elems::F32(x), Elems::F32(y)) if fmod => {
            let (shape, values) = zip((&a.shape, x), (&b.shape, y), |x, y| Ok(x % y))?;
            Ok(Literal::f32(&shape, values))
        }
        (Elems::I64(x), Elems::I64(y)) => {
            let (shape, values) = zip((&a.shape, x), (&b.shape, y), |x: i64, y: i64| {
                let rest = x.checked_rem(y).or((y == -1).then_some(0));
                let rest = rest.ok_or_else(|| format!("{x} is divided by zero"))?;
                let differs = rest != 0 && (rest < 0) != (y < 0);
                Ok(if differs && !fmod { rest + y } else { rest })
            })?;
            Ok(Literal::i64(&shape, values))
        }
        (Elems::F32(_), Elems::F32(_)) => Err("Mod of floats needs fmod = 1".into()),
        _ => Err(mixed(a, b)),
    }
}

/// Compares two constants of one type.
pub fn compare(comparison: Comparison, a: &Literal, b: &Literal) -> Result<Literal, String> {
    fn holds<T: PartialOrd>(comparison: Comparison, a: T, b: T) -> bool {
        match comparison {
            Comparison::Equal => a == b,
            Comparison::Greater => a > b,
            Comparison::GreaterOrEqual => a >= b,
            Comparison::Less => a < b,
            Comparison::LessOrEqual => a <= b,
        }
    }
    let (shape, values) = match (&a.elems, &b.elems) {
        (Elems::F32(x), Elems::F32(y)) => zip((&a.shape, x), (&b.shape, y), |x, y| {
            Ok(holds(comparison, x, y))
        })?,
        (Elems::I64(x), Elems::I64(y)) => zip((&a.shape, x), (&b.shape, y), |x, y| {
            Ok(holds(comparison, x, y))
        })?,
        (Elems::Bool(x), Elems::Bool(y)) => zip((&a.shape, x), (&b.shape, y), |x, y| {
            Ok(holds(comparison, x, y))
        })?,
        _ => return Err(mixed(a, b)),
    };
    Ok(Literal::bool(&shape, values))
}

/// Combines truth values.
pub fn logic(logic: Logic, a: &Literal, b: &Literal) -> Result<Literal, String> {
    let (Some(x), Some(y)) = (a.as_bool(), b.as_bool()) else {
        return Err(mixed(a, b));
    };
    let (shape, values) = zip((&a.shape, x), (&b.shape, y), |x, y| {
        Ok(match logic {
            Logic::And => x && y,
            Logic::Or => x || y,
            Logic::Xor => x != y,
        })
    })?;
    Ok(Literal::bool(&shape, values))
}

/// `x` where the condition holds, else `y`, all broadcast.
pub fn select(condition: &Literal, x: &Literal, y: &Literal) -> Result<Literal, String> {
    let Some(holds) = condition.as_bool() else {
        return Err(format!("the condition is {}", condition.elems));
    };
    fn pick<T: Copy>(
        condition: (&[usize], &[bool]),
        x: (&[usize], &[T]),
        y: (&[usize], &[T]),
    ) -> Result<(Vec<usize>, Vec<T>), String> {
        let (shape, pairs) = zip(x, y, |x, y| Ok((x, y)))?;
        zip(condition, (&shape, &pairs), |holds, (x, y)| {
            Ok(if holds { x } else { y })
        })
    }
    let condition = (condition.shape.as_slice(), holds);
    match (&x.elems, &y.elems) {
        (Elems::F32(a), Elems::F32(b)) => {
            let (shape, values) = pick(condition, (&x.shape, a), (&y.shape, b))?;
            Ok(Literal::f32(&shape, values))
        }
        (Elems::I64(a), Elems::I64(b)) => {
            let (shape, values) = pick(condition, (&x.shape, a), (&y.shape, b))?;
            Ok(Literal::i64(&shape, values))
        }
        (Elems::Bool(a), Elems::Bool(b)) => {
            let (shape, values) = pick(condition, (&x.shape, a), (&y.shape, b))?;
            Ok(Literal::bool(&shape, values))
        }
        _ => Err(mixed(x, y)),
    }
}

/// Converts to the type `to`.
pub fn cast(x: &Literal, to: DataType) -> Result<Literal, String> {
    let shape = &x.shape;
    let wrap: fn(i64) -> i64 = match to {
        // Half floats as f32 would keep digits that the model throws away.
        DataType::Float | DataType::Double => {
            let values: Vec<f32> = match &x.elems {
                Elems::F32(_) => return Ok(x.clone()),
                Elems::I64(values) => values.iter().map(|&value| value as f32).collect(),
                Elems::Bool(values) => values.iter().map(|&value| f32::from(value)).collect(),
            };
            return Ok(Literal::f32(shape, values));
        }
        DataType::Bool => {
            let values: Vec<bool> = match &x.elems {
                Elems::F32(values) => values.iter().map(|&value| value != 0.0).collect(),
                Elems::I64(values) => values.iter().map(|&value| value != 0).collect(),
                Elems::Bool(_) => return Ok(x.clone()),
            };
            return Ok(Literal::bool(shape, values));
        }
        DataType::Int64 | DataType::Uint64 => |value| value,
        DataType::Int32 => |value| i64::from(value as i32),
        DataType::Uint32 => |value| i64::from(value as u32),
        DataType::Int16 => |value| i64::from(value as i16),
        DataType::Uint16 => |value| i64::from(value as u16),
        DataType::Int8 => |value| i64::from(value as i8),
        DataType::Uint8 => |value| i64::from(value as u8),
        _ => return Err(format!("a cast to {to} is not supported")),
    };
    let values: Vec<i64> = match &x.elems {
        Elems::F32(values) => values.iter().map(|&value| wrap(value as i64)).collect(),
        Elems::I64(values) => values.iter().map(|&value| wrap(value)).collect(),
        Elems::Bool(values) => values.iter().map(|&value| i64::from(value)).collect(),
    };
    Ok(Literal::i64(shape, values))
}

/// The inputs one after the other along `axis`.
pub fn concat(inputs: &[&Literal], axis: usize) -> Result<Literal, String> {
    let first = inputs.first().ok_or("nothing to concatenate")?;
    let mut shape = first.shape.clone();
    for input in &inputs[1..] {
        let fits = input.shape.len() == shape.len()
            && (0..shape.len()).all(|a| a == axis || input.shape[a] == shape[a]);
        if !fits {
            return Err(format!(
                "shapes {:?} and {:?} differ outside of axis {axis}",
                first.shape, input.shape
            ));
        }
        shape[axis] = shape[axis]
            .checked_add(input.shape[axis])
            .ok_or("sizes overflow")?;
    }
    check_size(
        &shape,
        inputs
            .iter()
            .fold(0, |n, input| n.saturating_add(input.n_elems())),
    )?;

    let n_elems = checked_product(&shape).unwrap_or(0);
    // An outer axis may be long where nothing is in it.
    let n_outer = if n_elems == 0 {
        0
    } else {
        shape[..axis].iter().product()
    };
    fn join<'a, T: Copy + 'a>(
        inputs: &[&'a Literal],
        elems: impl Fn(&'a Literal) -> Option<&'a [T]>,
        n_outer: usize,
    ) -> Result<Vec<T>, String> {
        let parts: Option<Vec<&[T]>> = inputs.iter().map(|input| elems(input)).collect();
        let parts = parts.ok_or("the inputs differ in type")?;
        let mut joined = Vec::new();
        for outer in 0..n_outer {
            for part in &parts {
                let n_inner = part.len() / n_outer;
                joined.extend_from_slice(&part[outer * n_inner..][..n_inner]);
            }
        }
        Ok(joined)
    }
    match &first.elems {
        Elems::F32(_) => {
            let values = join(
                inputs,
                |input| input.as_f32().map(|values| &values[..]),
                n_outer,
            )?;
            Ok(Literal::f32(&shape, values))
        }
        Elems::I64(_) => Ok(Literal::i64(
            &shape,
            join(inputs, Literal::as_i64, n_outer)?,
        )),
        Elems::Bool(_) => Ok(Literal::bool(
            &shape,
            join(inputs, Literal::as_bool, n_outer)?,
        )),
    }
}

/// `start`, `start + delta`, .. below `limit`.
pub fn range(start: &Literal, limit: &Literal, delta: &Literal) -> Result<Literal, String> {
    let scalar = "start, limit and delta must be scalars of one type";
    let length = |n: f64| {
        if n.is_nan() {
            return Err("start, limit and delta must be numbers".to_string());
        }
        check_size(&[n.ceil().clamp(0.0, 1e15) as usize], 0)
    };
    match (&start.elems, &limit.elems, &delta.elems) {
        (Elems::I64(start), Elems::I64(limit), Elems::I64(delta)) => {
            let (&[start], &[limit], &[delta]) = (&start[..], &limit[..], &delta[..]) else {
                return Err(scalar.into());
            };
            if delta == 0 {
                return Err("delta is zero".into());
            }
            let distance = i128::from(limit) - i128::from(start);
            let delta = i128::from(delta);
            let whole = distance / delta
                + i128::from(distance % delta != 0 && (distance < 0) == (delta < 0));
            let n = length(whole.max(0) as f64)?;
            // In range: each value lies between start and limit.
            let values: Vec<i64> = (0..n as i128)
                .map(|i| (i128::from(start) + i * delta) as i64)
                .collect();
            Ok(Literal::i64(&[n], values))
        }
        (Elems::F32(start), Elems::F32(limit), Elems::F32(delta)) => {
            let (&[start], &[limit], &[delta]) = (&start[..], &limit[..], &delta[..]) else {
                return Err(scalar.into());
            };
            if delta == 0.0 {
                return Err("delta is zero".into());
            }
            let n = length((f64::from(limit) - f64::from(start)) / f64::from(delta))?;
            let values: Vec<f32> = (0..n).map(|i| start + i as f32 * delta).collect();
            Ok(Literal::f32(&[n], values))
        }
        _ => Err(scalar.into()),
    }
}

/// Reduces `axes`, each listed once.
pub fn reduce(
    reduction: Reduction,
    x: &Literal,
    axes: &[usize],
    keep_dims: bool,
) -> Result<Literal, String> {
    let rank = x.shape.len();
    let kept: Vec<usize> = (0..rank)
        .map(|a| if axes.contains(&a) { 1 } else { x.shape[a] })
        .collect();
    let n_results = check_size(&kept, x.n_elems())?;
    let n_each: usize = axes.iter().map(|&axis| x.shape[axis]).product();
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); n_results];
    let mut position = 0;
    for_each_index(&x.shape, |index| {
        let step =
            |at: usize, (&i, &size): (&usize, &usize)| at * size + if size == 1 { 0 } else { i };
        groups[index.iter().zip(&kept).fold(0, step)].push(position);
        position += 1;
    });
    let shape: Vec<usize> = match keep_dims {
        true => kept,
        false => (0..rank)
            .filter(|a| !axes.contains(a))
            .map(|a| x.shape[a])
            .collect(),
    };
    let no_elements = "a maximum, minimum or mean of no elements";
    match &x.elems {
        Elems::F32(values) => {
            let reduce_one = |group: &Vec<usize>| {
                let elems = group.iter().map(|&at| values[at]);
                match reduction {
                    Reduction::Sum => Ok(elems.sum()),
                    Reduction::Prod => Ok(elems.product()),
                    Reduction::Mean => Ok(elems.sum::<f32>() / n_each as f32),
                    Reduction::Max => elems.reduce(f32::max).ok_or(no_elements),
                    Reduction::Min => elems.reduce(f32::min).ok_or(no_elements),
                }
            };
            let values: Vec<f32> = groups.iter().map(reduce_one).collect::<Result<_, _>>()?;
            Ok(Literal::f32(&shape, values))
        }
        Elems::I64(values) => {
            let reduce_one = |group: &Vec<usize>| {
                let elems = group.iter().map(|&at| values[at]);
                match reduction {
                    Reduction::Sum => Ok(elems.fold(0, i64::wrapping_add)),
                    Reduction::Prod => Ok(elems.fold(1, i64::wrapping_mul)),
                    Reduction::Mean if n_each == 0 => Err(no_elements),
                    Reduction::Mean => Ok(elems.fold(0, i64::wrapping_add) / n_each as i64),
                    Reduction::Max => elems.max().ok_or(no_elements),
                    Reduction::Min => elems.min().ok_or(no_elements),
                }
            };
            let values: Vec<i64> = groups.iter().map(reduce_one).collect::<Result<_, _>>()?;
            Ok(Literal::i64(&shape, values))
        }
        Elems::Bool(_) => Err("truth values cannot be reduced".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(values: &[i64]) -> Literal {
        Literal::i64(&[values.len()], values)
    }

    fn int(value: i64) -> Literal {
        Literal::i64(&[], [value])
    }

    #[test]
    fn integers_divide_as_in_c_and_take_the_remainder_as_in_python() {
        let a = ints(&[7, -7, 7, -7, i64::MIN]);
        let b = ints(&[2, 2, -2, -2, -1]);
        let divided = binary(BinaryKind::Div, &a, &b).unwrap();
        assert_eq!(divided, ints(&[3, -3, -3, 3, i64::MIN]));
        assert_eq!(modulo(&a, &b, false).unwrap(), ints(&[1, 1, -1, -1, 0]));
        assert_eq!(modulo(&a, &b, true).unwrap(), ints(&[1, -1, 1, -1, 0]));
        assert!(
            binary(BinaryKind::Div, &a, &int(0))
                .unwrap_err()
                .contains("zero")
        );
        assert!(modulo(&a, &int(0), false).unwrap_err().contains("zero"));
    }

    #[test]
    fn operands_broadcast_or_say_why_not() {
        let a = Literal::i64(&[2, 1], [10, 20]);
        let sum = binary(BinaryKind::Add, &a, &ints(&[1, 2, 3])).unwrap();
        assert_eq!(sum, Literal::i64(&[2, 3], [11, 12, 13, 21, 22, 23]));
        let error = binary(BinaryKind::Add, &ints(&[1, 2]), &ints(&[1, 2, 3])).unwrap_err();
        assert_eq!(error, "shapes [2] and [3] do not broadcast");
        let error = binary(BinaryKind::Add, &int(1), &Literal::f32(&[], [1.0])).unwrap_err();
        assert_eq!(error, "operands are INT64 and FLOAT");
    }

    #[test]
    fn ranges_stop_before_their_limit() {
        assert_eq!(
            range(&int(3), &int(-4), &int(-3)).unwrap(),
            ints(&[3, 0, -3])
        );
        assert_eq!(range(&int(3), &int(3), &int(1)).unwrap(), ints(&[]));
        assert_eq!(range(&int(3), &int(1), &int(1)).unwrap(), ints(&[]));
        assert_eq!(range(&int(0), &int(4), &int(2)).unwrap(), ints(&[0, 2]));
        let f = |value| Literal::f32(&[], [value]);
        assert_eq!(
            range(&f(0.0), &f(1.0), &f(0.4)).unwrap(),
            Literal::f32(&[3], [0.0, 0.4, 0.8])
        );
        assert!(
            range(&int(i64::MIN), &int(i64::MAX), &int(1))
                .unwrap_err()
                .contains("too large")
        );
        assert!(range(&f(0.0), &f(f32::NAN), &f(1.0)).is_err());
    }

    #[test]
    fn reductions_keep_the_other_axes() {
        let x = Literal::i64(&[2, 3], [1, 2, 3, 4, 5, 6]);
        assert_eq!(
            reduce(Reduction::Prod, &x, &[1], false).unwrap(),
            ints(&[6, 120])
        );
        let sums = reduce(Reduction::Sum, &x, &[0], true).unwrap();
        assert_eq!(sums, Literal::i64(&[1, 3], [5, 7, 9]));
        assert_eq!(reduce(Reduction::Max, &x, &[0, 1], false).unwrap(), int(6));
        assert!(reduce(Reduction::Max, &ints(&[]), &[0], false).is_err());
    }

    #[test]
    fn casts_truncate_and_wrap() {
        let x = Literal::f32(&[3], [1.9, -1.9, 300.0]);
        assert_eq!(cast(&x, DataType::Int64).unwrap(), ints(&[1, -1, 300]));
        assert_eq!(
            cast(&ints(&[300, -1]), DataType::Uint8).unwrap(),
            ints(&[44, 255])
        );
        assert_eq!(
            cast(&ints(&[0, 7]), DataType::Bool).unwrap(),
            Literal::bool(&[2], [false, true])
        );
        assert!(cast(&x, DataType::String).is_err());
    }

    #[test]
    fn select_broadcasts_all_three() {
        let condition = Literal::bool(&[2, 1], [true, false]);
        let result = select(&condition, &ints(&[1, 2]), &int(9)).unwrap();
        assert_eq!(result, Literal::i64(&[2, 2], [1, 2, 9, 9]));
    }
}
