//! Register tiles of the list kernels: which one a layer gets, and how it ends at the edge of a map.
//!
//! What tiles there are is data of the target, see [`Tiles`](condensec_ir::target_info::Tiles).

use super::cost::cycles_per_entry;
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
    /// Vectors that the last tile of a map has at least, if there is another tile before it.
    pub fewest: usize,
}

/// How a map is cut into tiles.
///
/// A tile of few vectors takes about as long as one of some more, because it loads as many weights. Where only few
/// vectors are left for the last tile, it therefore shares those of the tile before: seven vectors are 3 + 2 + 2 and not
/// 3 + 3 + 1 on AVX2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TileCut {
    /// Whole tiles, from the first pixel on.
    pub n_full: usize,
    /// Tiles behind them.
    pub rest: Vec<RestTile>,
}

/// A tile with fewer vectors than whole ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RestTile {
    /// Its first pixel in the map.
    pub first: usize,
    pub vectors: Vec<PixelVector>,
}

impl TileCut {
    pub fn n_tiles(&self) -> usize {
        self.n_full + self.rest.len()
    }
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
        let cycles = |n_vectors| cycles_per_entry(target, rows, n_vectors);
        let is_worth_a_tile = |&last: &usize| {
            let both = vectors + last;
            cycles(vectors) + cycles(last) <= cycles(both.div_ceil(2)) + cycles(both / 2)
        };
        Self {
            rows,
            vectors,
            lanes: target.lanes,
            fewest: (1..vectors).find(is_worth_a_tile).unwrap_or(vectors),
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

    /// The tiles of a map of `n_pixels` flat pixels.
    pub(super) fn cut(&self, n_pixels: usize) -> TileCut {
        let (n_whole, last) = (n_pixels / self.width(), n_pixels % self.width());
        let n_vectors = last.div_ceil(self.lanes);
        let rest = |first: usize, n: usize| RestTile {
            first,
            vectors: self.vectors_for(n),
        };
        if n_vectors == 0 {
            return TileCut {
                n_full: n_whole,
                rest: Vec::new(),
            };
        }
        let n_full = n_whole.saturating_sub(usize::from(n_vectors < self.fewest));
        let first = n_full * self.width();
        if n_full == n_whole {
            return TileCut {
                n_full,
                rest: vec![rest(first, last)],
            };
        }
        let half = (self.vectors + n_vectors).div_ceil(2) * self.lanes;
        TileCut {
            n_full,
            rest: vec![
                rest(first, half),
                rest(first + half, self.width() + last - half),
            ],
        }
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

    #[test]
    fn the_last_tiles_share_what_is_left() {
        let tile = ListTile::choose(&TargetInfo::typical(8, 16), 4);
        assert_eq!((tile.vectors, tile.fewest), (3, 2));
        let cut = |n_pixels| {
            let cut = tile.cut(n_pixels);
            let rest = cut.rest.iter();
            let lanes = |rest: &RestTile| rest.vectors.iter().map(|v| v.lanes).collect::<Vec<_>>();
            let rest: Vec<_> = rest.map(|rest| (rest.first, lanes(rest))).collect();
            (cut.n_full, rest)
        };
        assert_eq!(cut(48), (2, vec![]));
        assert_eq!(cut(64), (2, vec![(48, vec![8, 8])]));
        assert_eq!(cut(55), (1, vec![(24, vec![8, 8]), (40, vec![8, 8])]));
        assert_eq!(cut(49), (1, vec![(24, vec![8, 8]), (40, vec![8, 4])]));
        assert_eq!(cut(25), (0, vec![(0, vec![8, 8]), (16, vec![8, 4])]));
        assert_eq!(cut(7), (0, vec![(0, vec![8])]));
    }

    #[test]
    fn tiles_cover_every_map_once() {
        for (lanes, registers) in [(4, 16), (8, 16), (16, 32), (1, 32)] {
            for &rows in ListTile::ROWS {
                let tile = ListTile::choose(&TargetInfo::typical(lanes, registers), rows);
                for n_pixels in 1..3 * tile.width() {
                    let cut = tile.cut(n_pixels);
                    let mut end = cut.n_full * tile.width();
                    for rest in &cut.rest {
                        assert_eq!(rest.first, end, "{tile:?}, {n_pixels} pixels");
                        assert!((1..=tile.vectors).contains(&rest.vectors.len()));
                        let lanes: usize = rest.vectors.iter().map(|v| v.lanes).sum();
                        end += lanes;
                    }
                    assert!((n_pixels..n_pixels + tile.lanes.max(SHORTEST_VECTOR)).contains(&end));
                }
            }
        }
    }
}
