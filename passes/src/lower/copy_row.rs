//! Copies of one row of elements by whole vectors, with a step of one or two elements.
//!
//! ```text
//! copy            y[i] = x[i]
//! split           even[i] = x[2 i], odd[i] = x[2 i + 1]
//! every_other     y[i] = x[2 i]
//! ```
//! The last vector ends with the row and overlaps the one before it, where the row is no multiple of
//! a vector, so single elements are moved only in rows that are shorter than the shortest vector.
//! Nothing outside of the rows is read or written. Source and target must not overlap.

use super::tiles::SHORTEST_VECTOR;
use condensec_ir::kernel::{FunctionBuilder, Parity, Value};

/// Rows of more vectors become a loop.
const MAX_UNROLLED_VECTORS: usize = 8;

/// Copies `n` elements.
pub(super) fn copy(f: &mut FunctionBuilder, x: Value, y: Value, n: usize, lanes: usize) {
    for_vectors(f, n, lanes, &[(x, 1), (y, 1)], |f, lanes, at, i| {
        let value = f.load_lanes(lanes, at[0], i * 4);
        f.store_lanes(value, at[1], i * 4);
    });
}

/// Copies the even elements of `n` to one row and the odd ones to another.
pub(super) fn split(
    f: &mut FunctionBuilder,
    x: Value,
    [even, odd]: [Value; 2],
    n: usize,
    lanes: usize,
) {
    let rows = [(x, 2), (even, 1), (odd, 1)];
    for_vectors(f, n / 2, lanes, &rows, |f, lanes, at, i| {
        let a = f.load_lanes(lanes, at[0], 2 * i * 4);
        let b = f.load_lanes(lanes, at[0], (2 * i + lanes) * 4);
        for (parity, target) in [(Parity::Even, at[1]), (Parity::Odd, at[2])] {
            let value = f.deinterleave(parity, a, b);
            f.store_lanes(value, target, i * 4);
        }
    });
    if n % 2 == 1 {
        let value = f.load_lanes(1, x, (n - 1) * 4);
        f.store_lanes(value, even, n / 2 * 4);
    }
}

/// Writes `compute(f, lanes, x[2 i])` for `n` elements.
pub(super) fn every_other(
    f: &mut FunctionBuilder,
    x: Value,
    y: Value,
    n: usize,
    lanes: usize,
    compute: impl Fn(&mut FunctionBuilder, usize, Value) -> Value,
) {
    // The even lanes of two vectors end one element before the vectors do, and that one may lie
    // outside of the row. So the last vector takes the odd lanes from one element before.
    let lanes = fitting_lanes(lanes, n.saturating_sub(1));
    let n_even = match lanes {
        1 => n,
        _ => (n - 1) / lanes * lanes,
    };
    let vector = |f: &mut FunctionBuilder, at: &[Value], i: usize, parity: Parity| {
        let first = match parity {
            Parity::Even => 2 * i,
            Parity::Odd => 2 * i - 1,
        };
        let a = f.load_lanes(lanes, at[0], first * 4);
        let value = match lanes {
            1 => a,
            _ => {
                let b = f.load_lanes(lanes, at[0], (first + lanes) * 4);
                f.deinterleave(parity, a, b)
            }
        };
        let value = compute(f, lanes, value);
        f.store_lanes(value, at[1], i * 4);
    };
    let rows = [(x, 2), (y, 1)];
    for_vectors(f, n_even, lanes, &rows, |f, _, at, i| {
        vector(f, at, i, Parity::Even)
    });
    if n_even < n {
        vector(f, &[x, y], n - lanes, Parity::Odd);
    }
}

/// The longest vector of at most `lanes` lanes that fits `n` elements; 1 if none does.
pub(super) fn fitting_lanes(lanes: usize, n: usize) -> usize {
    let mut fitting = lanes;
    while fitting > n && fitting > SHORTEST_VECTOR {
        fitting /= 2;
    }
    if fitting > n { 1 } else { fitting }
}

/// Covers `0..n` with vectors. `body(f, lanes, at, i)` does `lanes` elements from `i` on, where element
/// `i` of row `r` lies `i * step` elements behind `at[r]`; `rows` are the rows' starts and steps.
pub(super) fn for_vectors(
    f: &mut FunctionBuilder,
    n: usize,
    lanes: usize,
    rows: &[(Value, usize)],
    mut body: impl FnMut(&mut FunctionBuilder, usize, &[Value], usize),
) {
    let lanes = fitting_lanes(lanes, n);
    let starts: Vec<Value> = rows.iter().map(|&(start, _)| start).collect();
    let n_vectors = n / lanes;
    if n_vectors > MAX_UNROLLED_VECTORS {
        f.for_range(n_vectors, |f, number| {
            let advance =
                |&(start, step): &(Value, usize)| f.ptr_offset(start, number, step * lanes * 4);
            let at: Vec<Value> = rows.iter().map(advance).collect();
            body(f, lanes, &at, 0);
        });
    } else {
        for number in 0..n_vectors {
            body(f, lanes, &starts, number * lanes);
        }
    }
    if !n.is_multiple_of(lanes) {
        body(f, lanes, &starts, n - lanes);
    }
}
