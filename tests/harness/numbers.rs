//! Numbers that look random and are the same in every run and on every machine.

/// `n` numbers in [-1, 1) that depend on `seed` only.
pub fn seeded(n: usize, seed: u32) -> Vec<f32> {
    // xorshift32 (Marsaglia, Xorshift RNGs, 2003); its state must not be zero.
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    // The first numbers of similar seeds are similar.
    for _ in 0..8 {
        next();
    }
    (0..n).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_over_the_range() {
        let values = seeded(1000, 7);
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
        assert!(values.iter().sum::<f32>().abs() < 60.0);
        assert_ne!(values, seeded(1000, 8));
    }
}
