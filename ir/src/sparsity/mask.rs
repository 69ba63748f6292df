//! The level of every weight.
//!
//! A nested mask is stored as one byte per element: the first level that keeps it. Nesting
//! therefore holds by construction; there is no way to write a mask that is not nested.

use std::sync::Arc;
use thiserror::Error;

/// Why a level array does not fit its weight. Always the input's fault.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MaskError {
    /// Neither the weight's shape nor its block grid.
    #[error(
        "mask has shape {found:?}, expected the weight's {weight:?} or its block grid {grid:?}"
    )]
    Shape {
        /// Shape of the mask given.
        found: Vec<usize>,
        /// Shape of the weight.
        weight: Vec<usize>,
        /// Shape of the block grid, `ceil(dim / block)`.
        grid: Vec<usize>,
    },
}

/// First level that keeps each element of a weight; values from the number of levels up mean
/// "never kept".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelMask {
    values: Arc<[u8]>,
    block: Vec<usize>,
}

impl LevelMask {
    /// A mask with one value per element of the weight. `block` is the shape of the blocks that
    /// share a value, all ones if nothing is known.
    pub fn new(values: impl Into<Arc<[u8]>>, block: &[usize]) -> Self {
        Self {
            values: values.into(),
            block: block.to_vec(),
        }
    }

    /// A mask from values on the weight itself or on its block grid `ceil(dim / block)`.
    ///
    /// # Errors
    /// [`MaskError::Shape`] if `values_shape` is neither.
    pub fn from_grid(
        weight_shape: &[usize],
        block: &[usize],
        values_shape: &[usize],
        values: &[u8],
    ) -> Result<Self, MaskError> {
        let grid: Vec<usize> = weight_shape
            .iter()
            .zip(block)
            .map(|(d, b)| d.div_ceil((*b).max(1)))
            .collect();
        let rank_fits = block.len() == weight_shape.len() && !block.contains(&0);
        let n_values: usize = values_shape.iter().product();
        if values_shape == weight_shape && n_values == values.len() {
            return Ok(Self::new(values, block));
        }
        if !rank_fits || values_shape != grid || n_values != values.len() {
            return Err(MaskError::Shape {
                found: values_shape.to_vec(),
                weight: weight_shape.to_vec(),
                grid,
            });
        }
        let n: usize = weight_shape.iter().product();
        let mut index = vec![0usize; weight_shape.len()];
        let mut full = Vec::with_capacity(n);
        for _ in 0..n {
            let at = index
                .iter()
                .zip(block)
                .zip(&grid)
                .fold(0, |at, ((i, b), g)| at * g + i / b);
            full.push(values[at]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < weight_shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(Self::new(full, block))
    }

    /// One value per element of the weight, row-major.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// Shape of the blocks that share a value.
    pub fn block(&self) -> &[usize] {
        &self.block
    }
}
