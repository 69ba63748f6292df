//! From one set of values per level to shared values with a nested mask.

/// What keeps rows per level from being one set of weights with a nested mask.
#[derive(Debug, Clone, PartialEq)]
pub struct NestingFault {
    /// Position of the first element at fault.
    pub position: usize,
    /// Two levels in a row and the element's values there.
    pub lower: (u32, f32),
    /// The level above.
    pub upper: (u32, f32),
}

impl NestingFault {
    /// Whether the upper level drops what the lower keeps; else their values differ.
    pub fn is_dropped(&self) -> bool {
        self.upper.1 == 0.0
    }

    /// `mask-not-nested` or `shared-value-differs`.
    pub fn code(&self) -> &'static str {
        if self.is_dropped() {
            "mask-not-nested"
        } else {
            "shared-value-differs"
        }
    }

    /// Index of the element in a tensor of `shape`.
    pub fn index(&self, shape: &[usize]) -> Vec<usize> {
        index_of(self.position, shape)
    }
}

/// Index of the element at a row-major position.
pub fn index_of(position: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = position;
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = rest % shape[axis].max(1);
        rest /= shape[axis].max(1);
    }
    index
}

/// Values and mask of rows `[K, *shape]`: each element must be zero up to some level and have one
/// value from there on. Elements that are zero at every level get mask 0: a plain zero.
///
/// # Errors
/// The first element for which this does not hold.
pub fn nested_from_rows(rows: &[f32], n_levels: u32) -> Result<(Vec<f32>, Vec<u8>), NestingFault> {
    let n_elems = rows.len() / (n_levels as usize).max(1);
    let mut values = vec![0.0; n_elems];
    let mut mask = vec![0u8; n_elems];
    for position in 0..n_elems {
        let at = |level: u32| rows[level as usize * n_elems + position];
        let mut previous = 0.0f32;
        for level in 0..n_levels {
            let value = at(level);
            if previous != 0.0 {
                // Bits, so that a NaN equals itself.
                if value.to_bits() != previous.to_bits() {
                    return Err(NestingFault {
                        position,
                        lower: (level - 1, previous),
                        upper: (level, value),
                    });
                }
            } else if value != 0.0 {
                values[position] = value;
                mask[position] = u8::try_from(level).unwrap_or(u8::MAX);
                previous = value;
            }
        }
    }
    Ok((values, mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_only_gain_values_nest() {
        let rows = [
            0.0, 1.0, 0.0, 0.0, /* L1 */ 2.0, 1.0, 0.0, 0.0, /* L2 */ 2.0, 1.0, 3.0, 0.0,
        ];
        let (values, mask) = nested_from_rows(&rows, 3).unwrap();
        assert_eq!(values, [2.0, 1.0, 3.0, 0.0]);
        assert_eq!(mask, [1, 0, 2, 0]);
    }

    #[test]
    fn the_first_fault_is_named_with_both_levels() {
        let fault = nested_from_rows(&[1.0, 5.0, 1.0, 0.0], 2).unwrap_err();
        assert_eq!((fault.lower, fault.upper), ((0, 5.0), (1, 0.0)));
        assert_eq!(
            (fault.code(), fault.index(&[1, 2])),
            ("mask-not-nested", vec![0, 1])
        );
        let fault = nested_from_rows(&[1.0, 1.0, 1.5], 3).unwrap_err();
        assert_eq!((fault.lower, fault.upper), ((1, 1.0), (2, 1.5)));
        assert_eq!(fault.code(), "shared-value-differs");
    }
}
