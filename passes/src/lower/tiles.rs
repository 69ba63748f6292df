//! Register tiles of the list kernels: which one a layer gets, and how it ends at the edge of a map.
//!
//! What tiles there are is data of the target, see [`Tiles`](condensec_ir::target_info::Tiles).

use condensec_ir::target_info::{TargetInfo, Tile};

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

/// Every machine with longer vectors also has those of 128 bits.
pub(super) const SHORTEST_VECTOR: usize = 4;

impl ListTile {
    /// The tile for `rows` rows on `target`.
    pub fn choose(target: &TargetInfo, rows: usize) -> Self {
        let tile = target.tiles.iter().find(|tile| tile.rows == rows);
        let &Tile { rows, vectors } = tile.expect("lists have rows as tiles have");
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

    #[test]
    fn the_last_vector_is_as_short_as_it_can_be() {
        let tile = ListTile::choose(&TargetInfo::typical(16, 32), 4);
        let lanes = |n| -> Vec<usize> { tile.vectors_for(n).iter().map(|v| v.lanes).collect() };
        assert_eq!(lanes(96), [16; 6]);
        assert_eq!(lanes(55), [16, 16, 16, 8]);
        assert_eq!(lanes(17), [16, 4]);
        assert_eq!(lanes(25), [16, 16]);
        assert_eq!(lanes(1), [4]);
        let scalar = ListTile::choose(&TargetInfo::typical(1, 32), 4);
        assert_eq!(scalar.vectors_for(3).len(), 3);
    }
}
