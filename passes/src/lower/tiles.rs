//! Register tiles of the list kernels, as data.
//!
//! A tile holds `rows x vectors` accumulators. All tile widths divide [`strip_width`], so layers
//! with different tiles read and write the same strips. Order rule: the smaller of (rows, vectors)
//! is held in registers and the other streams, so a tile needs
//! `rows * vectors + min(rows, vectors) + 1` vector registers.

use condensec_ir::target_info::TargetInfo;

/// Pixels per strip: the least common multiple of the widths of all tiles for `target`.
pub fn strip_width(target: &TargetInfo) -> usize {
    12 * target.lanes
}

/// A register tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListTile {
    /// Rows (output channels) per group of lists.
    pub rows: usize,
    /// Vectors of pixels.
    pub vectors: usize,
    /// f32 lanes per vector; 1 for scalar code.
    pub lanes: usize,
}

/// (vector registers, rows, pixels in units of lanes). The first entry that fits is taken.
const TILES: &[(usize, usize, usize)] = &[
    (32, 4, 6),
    (32, 2, 12),
    (32, 1, 12),
    (16, 4, 3),
    (16, 2, 6),
    (16, 1, 12),
    (12, 4, 2),
    (12, 2, 4),
    (12, 1, 12),
    (8, 4, 1),
    (8, 2, 2),
    (8, 1, 4),
];

impl ListTile {
    /// The tile for `rows` rows on `target`.
    pub fn choose(target: &TargetInfo, rows: usize) -> Self {
        let fits = |&&(registers, r, _): &&(usize, usize, usize)| {
            r == rows && registers <= target.vector_registers
        };
        let &(_, rows, vectors) = TILES
            .iter()
            .find(fits)
            .expect("every row count has a tile for 8 registers");
        Self {
            rows,
            vectors,
            lanes: target.lanes,
        }
    }

    /// Pixels of a tile.
    pub fn width(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Row counts that have tiles, most first.
    pub const ROWS: &'static [usize] = &[4, 2, 1];
}
