//! Random numbers that are the same bits on every machine.
//!
//! Each tensor has its own generator, seeded by its name, so that no tensor depends on what else is drawn.
//! Integer arithmetic only: the logarithm and cosine of the usual Gaussian differ between C libraries.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// A generator for `purpose`, such as a tensor's name.
    pub(super) fn new(seed: u64, purpose: &str) -> Random {
        // FNV-1a, started from the mixed seed: equal purposes of neighbouring seeds share nothing.
        let mut hash = Random { state: seed }.next_u64() ^ 0xcbf2_9ce4_8422_2325;
        for byte in purpose.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Random { state: hash }
    }

    /// 64 random bits.
    pub(super) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number of mean 0 and variance 1: the sum of twelve uniform ones, Gaussian to about three deviations.
    /// Never 0, which as a weight would count as pruned.
    pub(super) fn gaussian(&mut self) -> f64 {
        let mut sum = 0;
        for _ in 0..3 {
            let bits = self.next_u64();
            sum += (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum::<u64>();
        }
        // Twelve numbers of 16 bits, each of mean 32767.5 and, but for 1 in 2^32, variance 2^32 / 12. The half
        // is what keeps a sum of exactly the mean from being 0.
        (sum as f64 - 12.0 * 32767.5 + 0.5) / 65536.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_has_mean_zero_and_variance_one() {
        let mut random = Random::new(1, "w");
        let n = 100_000;
        let values: Vec<f64> = (0..n).map(|_| random.gaussian()).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|value| value * value).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn seeds_and_purposes_give_other_numbers() {
        let first = |seed, purpose| Random::new(seed, purpose).next_u64();
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_eq!(first(1, "a"), first(1, "a"));
    }
}
