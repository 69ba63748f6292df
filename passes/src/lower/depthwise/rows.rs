//! Walks a result row by row, for convolutions whose input has another row pitch, and stores into
//! planes or strips.
//!
//! ```text
//! for row
//!   for tile of vectors                  whole vectors that start at column 0, lanes, 2 lanes, ..
//!     store results at row * pitch + column
//! ```
//! Where vectors never cross the end of a strip, because they and the rows begin at multiples of
//! their length, the last vector of a row may reach into the pad columns. Else it ends with the
//! row and overlaps the one before it. A vector that crosses the end of a strip is stored
//! lane by lane: one in as many vectors as a strip is long, which costs less than wider rows in
//! all layers of the same pitch.

use super::super::copy_row::fitting_lanes;
use super::super::tiles::SHORTEST_VECTOR;
use condensec_ir::kernel::{CompareOp, FunctionBuilder, Value};
use condensec_ir::layout::Layout;

/// Rows of more tiles get a loop.
const MAX_UNROLLED_TILES: usize = 4;

/// Rows of a result.
pub(super) struct Rows {
    pub n_rows: usize,
    /// First columns of the vectors of a row.
    columns: Vec<usize>,
    /// f32 lanes per vector.
    pub lanes: usize,
    store: Store,
}

/// Where results go.
enum Store {
    Planes {
        /// Bytes.
        pitch: usize,
    },
    Strips {
        /// Elements.
        pitch: usize,
        /// Elements.
        width: usize,
        /// Bytes between two strips.
        strip: usize,
        /// Bytes between the ends of one channel's pixels in two strips.
        gap: usize,
        crosses: bool,
    },
}

/// A place in a row.
#[derive(Clone, Copy)]
enum Cursor {
    Address(Value),
    /// Address of the channel in the first strip, and flat pixel.
    Pixel(Value, Value),
}

impl Rows {
    /// Rows of a value of `shape` in `layout`, by vectors of at most `lanes` lanes.
    pub fn new(layout: &Layout, shape: &[usize], lanes: usize) -> Result<Self, String> {
        let (channels, n_rows, w) = (shape[1], shape[2], shape[3]);
        // One vector per row if it can be that long.
        let mut lanes = lanes.min(w.next_power_of_two().max(SHORTEST_VECTOR));
        let store = match layout {
            Layout::Planes(planes) => Store::Planes {
                pitch: planes.pitch * 4,
            },
            Layout::Strips(strips) => {
                let (pitch, width) = (strips.pitch, strips.width);
                let is_aligned = |lanes: usize| pitch % lanes == 0 && width % lanes == 0;
                if !is_aligned(lanes) {
                    lanes = fitting_lanes(lanes, w);
                }
                Store::Strips {
                    pitch,
                    width,
                    strip: channels * width * 4,
                    gap: (channels - 1) * width * 4,
                    crosses: !is_aligned(lanes),
                }
            }
            Layout::Plain | Layout::Bands(_) => {
                return Err("a depthwise convolution writes planes or strips".into());
            }
        };
        let may_overrun = match store {
            Store::Planes { .. } => w < lanes,
            Store::Strips { crosses, .. } => !crosses,
        };
        let mut columns: Vec<usize> = (0..w).step_by(lanes).collect();
        if let Some(last) = columns.last_mut().filter(|_| !may_overrun) {
            *last = w - lanes;
        }
        Ok(Self {
            n_rows,
            columns,
            lanes,
            store,
        })
    }

    /// Vectors in all rows.
    pub fn n_vectors(&self) -> usize {
        self.n_rows * self.columns.len()
    }

    /// Computes `n_rows` rows of a channel from row `first` on. `results(f, x, masks, columns)` gives a vector for
    /// each column of the row whose windows begin at `x`, which is that of the first row before and moves by `steps`
    /// bytes per row and column; `masks` are a row's.
    pub fn emit(
        &self,
        f: &mut FunctionBuilder,
        [x, y]: [Value; 2],
        (first, n_rows): (Value, usize),
        masks: Option<Value>,
        steps: [usize; 2],
        vectors: usize,
        mut results: impl FnMut(&mut FunctionBuilder, Value, Option<Value>, &[usize]) -> Vec<Value>,
    ) {
        let lanes = self.lanes;
        let mut tile = |f: &mut FunctionBuilder,
                        x: Value,
                        masks: Option<Value>,
                        y: Cursor,
                        columns: &[usize]| {
            let values = results(f, x, masks, columns);
            for (value, &column) in values.into_iter().zip(columns) {
                self.emit_store(f, y, column, value);
            }
        };
        f.for_range(n_rows, |f, number| {
            let x = f.ptr_offset(x, number, steps[0]);
            let row = f.add(first, number);
            let y = self.begin_row(f, y, row);
            let is_regular = |&(number, &column): &(usize, &usize)| number * lanes == column;
            let n_regular = self
                .columns
                .iter()
                .enumerate()
                .take_while(is_regular)
                .count();
            let mut n_tiles = n_regular / vectors;
            if n_tiles > MAX_UNROLLED_TILES {
                let first: Vec<usize> = (0..vectors).map(|v| v * lanes).collect();
                f.for_range(n_tiles, |f, number| {
                    let x = f.ptr_offset(x, number, vectors * lanes * steps[1]);
                    let masks = masks.map(|masks| f.ptr_offset(masks, number, vectors * lanes * 4));
                    let y = self.advance(f, y, number, vectors * lanes);
                    tile(f, x, masks, y, &first);
                });
            } else {
                n_tiles = 0;
            }
            for columns in self.columns[n_tiles * vectors..].chunks(vectors) {
                tile(f, x, masks, y, columns);
            }
        });
    }

    fn begin_row(&self, f: &mut FunctionBuilder, y: Value, row: Value) -> Cursor {
        match self.store {
            Store::Planes { pitch } => Cursor::Address(f.ptr_offset(y, row, pitch)),
            Store::Strips { pitch, .. } => Cursor::Pixel(y, f.mul_const(row, pitch)),
        }
    }

    /// Moves by `number` times `step` columns.
    fn advance(&self, f: &mut FunctionBuilder, at: Cursor, number: Value, step: usize) -> Cursor {
        match at {
            Cursor::Address(at) => Cursor::Address(f.ptr_offset(at, number, step * 4)),
            Cursor::Pixel(y, pixel) => {
                let distance = f.mul_const(number, step);
                Cursor::Pixel(y, f.add(pixel, distance))
            }
        }
    }

    fn emit_store(&self, f: &mut FunctionBuilder, at: Cursor, column: usize, value: Value) {
        let (y, pixel) = match at {
            Cursor::Address(at) => return f.store_lanes(value, at, column * 4),
            Cursor::Pixel(y, pixel) => (y, f.add_const(pixel, column)),
        };
        let Store::Strips {
            width,
            strip,
            gap,
            crosses,
            ..
        } = self.store
        else {
            unreachable!("pixels are counted in strips");
        };
        let (number, within) = f.div_rem_const(pixel, width);
        let at = f.ptr_offset(y, number, strip);
        let at = f.ptr_offset(at, within, 4);
        if !crosses {
            return f.store_lanes(value, at, 0);
        }
        let end = f.size(width - self.lanes + 1);
        let fits = f.compare(CompareOp::Lt, within, end);
        f.if_else(
            fits,
            |f| {
                f.store_lanes(value, at, 0);
                Vec::new()
            },
            |f| {
                let next = f.ptr_add_const(at, gap);
                for lane in 0..self.lanes {
                    let end = f.size(width - lane);
                    let is_here = f.compare(CompareOp::Lt, within, end);
                    let at = f.select(is_here, at, next);
                    let value = f.extract(value, lane);
                    f.store_lanes(value, at, lane * 4);
                }
                Vec::new()
            },
        );
    }
}
