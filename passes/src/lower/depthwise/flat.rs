//! Walks all flat pixels of a result, for convolutions whose input and result have one row pitch.
//!
//! ```text
//! for tile of vectors                    pad columns between rows included
//!   store results at the tile            garbage in the pad columns
//! ```

use super::super::tile_access::{TileAccess, WithPadding};
use condensec_ir::Node;
use condensec_ir::kernel::{FunctionBuilder, Value};
use condensec_ir::layout::Layout;

/// The flat pixels of a result.
pub(super) struct Flat {
    n_pixels: usize,
    lanes: usize,
    vectors: usize,
    y: TileAccess,
    residual: Option<TileAccess>,
}

/// Addresses of one channel of one image.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub image: Value,
    /// First element of the padded plane of the input.
    pub x: Value,
    /// Address of the channel in the first image.
    pub y: Value,
    /// The same of the residual.
    pub residual: Option<Value>,
    /// Masks of the first pixel.
    pub masks: Option<Value>,
}

/// Of the numbers of vectors, those whose tiles divide the strips of `layout`.
pub(super) fn dividing(layout: &Layout, lanes: usize, vectors: &[usize]) -> Vec<usize> {
    let divides = |&vectors: &usize| match layout {
        Layout::Strips(strips) => strips.width.is_multiple_of(vectors * lanes),
        _ => true,
    };
    vectors.iter().copied().filter(divides).collect()
}

impl Flat {
    /// Pixels of the value of `y`, by tiles of `vectors`; `residual` is added to it.
    pub fn new(
        y: &Node,
        residual: Option<&Node>,
        lanes: usize,
        vectors: usize,
    ) -> Result<Self, String> {
        let access = |node: &Node| TileAccess::new(&node.layout, &node.shape, WithPadding::No);
        let pitch = y.layout.pitch(&y.shape);
        Ok(Self {
            n_pixels: (y.shape[2] - 1) * pitch + y.shape[3],
            lanes,
            vectors,
            y: access(y)?,
            residual: residual.map(access).transpose()?,
        })
    }

    /// Vectors of an image's channel.
    pub fn n_vectors(&self) -> usize {
        self.n_pixels.div_ceil(self.lanes)
    }

    /// Address of a channel of the residual in the first image.
    pub fn residual_channel(&self, f: &mut FunctionBuilder, base: Value, channel: Value) -> Value {
        let access = self.residual.expect("there is a residual");
        f.ptr_offset(base, channel, access.channel)
    }

    /// Computes a channel. `results(f, x, masks, columns, residual)` gives a vector for each of the pixels
    /// `columns` behind the one whose window begins at `x`, and its masks at `masks`.
    pub fn emit(
        &self,
        f: &mut FunctionBuilder,
        at: Places,
        mut results: impl FnMut(
            &mut FunctionBuilder,
            Value,
            Option<Value>,
            &[usize],
            &[Value],
        ) -> Vec<Value>,
    ) {
        let width = self.vectors * self.lanes;
        let mut emit_tile = |f: &mut FunctionBuilder, tile: Value, vectors: usize| {
            let x = f.ptr_offset(at.x, tile, width * 4);
            let masks = at.masks.map(|masks| f.ptr_offset(masks, tile, width * 4));
            let y = self.y.tile(f, at.y, at.image, tile, width);
            let columns: Vec<usize> = (0..vectors).map(|v| v * self.lanes).collect();
            let mut residual = Vec::new();
            if let (Some(access), Some(base)) = (self.residual, at.residual) {
                let tile = access.tile(f, base, at.image, tile, width);
                let load = |&column: &usize| f.load_lanes(self.lanes, tile, column * 4);
                residual.extend(columns.iter().map(load));
            }
            let values = results(f, x, masks, &columns, &residual);
            for (value, column) in values.into_iter().zip(columns) {
                f.store_lanes(value, y, column * 4);
            }
        };
        let n_full = self.n_pixels / width;
        f.for_range(n_full, |f, tile| emit_tile(f, tile, self.vectors));
        let tail = (self.n_pixels % width).div_ceil(self.lanes);
        if tail > 0 {
            let tile = f.size(n_full);
            emit_tile(f, tile, tail);
        }
    }
}
