//! Sums over long slices.

use std::ops::AddAssign;

/// Partial sums that are kept side by side: enough for the vector registers of any machine, and the same order
/// of additions on all of them.
const LANES: usize = 16;

/// Sum of `term` over `values`.
pub(crate) fn sum<A: Copy + Default + AddAssign>(values: &[f32], term: impl Fn(f32) -> A) -> A {
    let mut lanes = [A::default(); LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks.iter().map(<[f32; LANES]>::as_slice).chain([rest]) {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value);
        }
    }
    let mut total = A::default();
    lanes.into_iter().for_each(|lane| total += lane);
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_once() {
        let values: Vec<f32> = (1..=37).map(|i| i as f32).collect();
        assert_eq!(sum(&values, f64::from), 703.0);
        assert_eq!(sum(&values[..3], |value| value * value), 14.0);
        assert_eq!(sum(&[], f64::from), 0.0);
    }
}
