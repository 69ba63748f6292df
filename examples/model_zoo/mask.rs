//! Nested masks of one layer: for each block of a weight, the first level that keeps it.

use super::random::Random;
use super::sparsity::{Block, MaskRule, Sparsity};

/// The level data of a weight `[rows, cols, window..]`.
pub(super) struct NestedMask {
    /// Shape of the grid of blocks: the weight's, with rows and columns divided by the block and rounded up.
    pub(super) grid: Vec<usize>,
    /// First level that keeps each block, row-major; the number of levels where none does.
    pub(super) levels: Vec<u8>,
}

impl NestedMask {
    /// Ranks the blocks of `weight` by the rule and gives each level its share of them.
    pub(super) fn new(
        sparsity: &Sparsity,
        shape: &[usize],
        weight: &[f32],
        mut random: Random,
    ) -> NestedMask {
        let block = sparsity.block;
        let mut grid = shape.to_vec();
        grid[0] = shape[0].div_ceil(block.rows);
        grid[1] = shape[1].div_ceil(block.cols);
        let n_blocks: usize = grid.iter().product();

        let scores: Vec<u64> = match sparsity.rule {
            MaskRule::Random => (0..n_blocks).map(|_| random.next_u64()).collect(),
            MaskRule::Magnitude => {
                let mut sums = vec![0.0f64; n_blocks];
                for (index, value) in weight.iter().enumerate() {
                    sums[block_of(block, shape, index)] += f64::from(*value) * f64::from(*value);
                }
                // The bits of numbers that are not negative are in the order of the numbers.
                sums.into_iter().map(f64::to_bits).collect()
            }
        };
        let mut ranking: Vec<usize> = (0..n_blocks).collect();
        // The index makes the order total, hence the same on every run.
        ranking.sort_unstable_by_key(|&index| (std::cmp::Reverse(scores[index]), index));

        let densities = sparsity.densities.as_slice();
        let mut levels = vec![densities.len() as u8; n_blocks];
        let mut begin = 0;
        for (level, density) in densities.iter().enumerate() {
            let end = (density * n_blocks as f64).round() as usize;
            for &index in &ranking[begin..end] {
                levels[index] = level as u8;
            }
            begin = end;
        }
        NestedMask { grid, levels }
    }

    /// First level that keeps each element of a weight of `shape`, row-major.
    pub(super) fn levels_of_elements<'a>(
        &'a self,
        block: Block,
        shape: &'a [usize],
    ) -> impl Iterator<Item = u8> + 'a {
        let n_elements: usize = shape.iter().product();
        (0..n_elements).map(move |index| self.levels[block_of(block, shape, index)])
    }
}

/// The block that holds the element at flat `index` of a weight.
fn block_of(block: Block, shape: &[usize], index: usize) -> usize {
    let n_window: usize = shape[2..].iter().product();
    let n_cols = shape[1];
    let row = index / (n_cols * n_window);
    let col = index / n_window % n_cols;
    let tap = index % n_window;
    (row / block.rows * n_cols.div_ceil(block.cols) + col / block.cols) * n_window + tap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitude_keeps_the_largest_blocks_first() {
        let sparsity = Sparsity {
            densities: "0.25,0.75".parse().unwrap(),
            block: Block { rows: 2, cols: 1 },
            rule: MaskRule::Magnitude,
            dense_classifier: false,
        };
        // Three rows: the last block of each column has one row only.
        let weight = [1.0, 9.0, -1.0, 0.0, -3.0, 0.5];
        let mask = NestedMask::new(&sparsity, &[3, 2], &weight, Random::new(1, ""));
        assert_eq!(mask.grid, [2, 2]);
        assert_eq!(mask.levels, [1, 0, 1, 2]);
        let elements: Vec<u8> = mask.levels_of_elements(sparsity.block, &[3, 2]).collect();
        assert_eq!(elements, [1, 0, 1, 0, 1, 2]);
    }

    #[test]
    fn a_block_lies_at_one_position_of_the_window() {
        let block = Block { rows: 2, cols: 2 };
        // [2, 3, 1, 2]: column 2 opens the second block; taps do not share one.
        let of = |index| block_of(block, &[2, 3, 1, 2], index);
        assert_eq!([0, 1, 2, 3, 4, 5].map(of), [0, 1, 0, 1, 2, 3]);
        assert_eq!([6, 7, 8, 9, 10, 11].map(of), [0, 1, 0, 1, 2, 3]);
    }
}
