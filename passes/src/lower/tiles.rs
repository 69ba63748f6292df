//! Register tiles of the list kernels, as data.
//!
//! A tile holds `rows x vectors` accumulators. Order rule: the smaller of (rows, vectors) is held in
//! registers and the other streams, so a tile needs `rows * vectors + min(rows, vectors) + 1` vector
//! registers. Of two tiles of one target, the width of one is a multiple of the other's: strips are as
//! wide as the tile that does most of the work, and every other tile takes a part of a strip or
//! several strips.

use condensec_ir::target_info::TargetInfo;

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

/// Neighbouring pixels of a tile that one vector holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelVector {
    /// First pixel in the tile.
    pub first: usize,
    /// Pixels.
    pub lanes: usize,
}

/// (vector registers, rows, pixels in units of lanes). The first entry that fits is taken.
const TILES: &[(usize, usize, usize)] = &[
    (32, 4, 6),
    (32, 2, 6),
    (32, 1, 6),
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

/// Every machine with longer vectors also has those of 128 bits.
pub(super) const SHORTEST_VECTOR: usize = 4;

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

    /// The vectors that compute the first `n_pixels` pixels of a tile. The last one is a shorter one
    /// where that does: a map of 7x7 pixels then takes 56 lanes, not 64.
    pub fn vectors_for(&self, n_pixels: usize) -> Vec<PixelVector> {
        let mut vectors = Vec::new();
        let mut first = 0;
        while first < n_pixels {
            let mut lanes = self.lanes;
            while lanes / 2 >= (n_pixels - first).max(SHORTEST_VECTOR) {
                lanes /= 2;
            }
            vectors.push(PixelVector { first, lanes });
            first += lanes;
        }
        vectors
    }

    /// Row counts that have tiles, most first.
    pub const ROWS: &'static [usize] = &[4, 2, 1];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(vector_registers: usize, lanes: usize) -> TargetInfo {
        TargetInfo {
            lanes,
            vector_registers,
            has_fma: true,
            pointer_bytes: 8,
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
        }
    }

    #[test]
    fn widths_of_one_target_divide_each_other() {
        for registers in [8, 12, 14, 16, 32] {
            let width = |&rows: &usize| ListTile::choose(&target(registers, 4), rows).width();
            for (a, b) in ListTile::ROWS
                .iter()
                .flat_map(|a| ListTile::ROWS.iter().map(move |b| (a, b)))
            {
                let (wide, narrow) = (width(a).max(width(b)), width(a).min(width(b)));
                assert_eq!(
                    wide % narrow,
                    0,
                    "{a} and {b} rows in {registers} registers"
                );
            }
        }
    }

    #[test]
    fn the_last_vector_is_as_short_as_it_can_be() {
        let tile = ListTile::choose(&target(32, 16), 4);
        let lanes = |n| -> Vec<usize> { tile.vectors_for(n).iter().map(|v| v.lanes).collect() };
        assert_eq!(lanes(96), [16; 6]);
        assert_eq!(lanes(55), [16, 16, 16, 8]);
        assert_eq!(lanes(17), [16, 4]);
        assert_eq!(lanes(25), [16, 16]);
        assert_eq!(lanes(1), [4]);
        let scalar = ListTile::choose(&target(32, 1), 4);
        assert_eq!(scalar.vectors_for(3).len(), 3);
    }
}
