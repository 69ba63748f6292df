//! Where the elements of an activation live in memory.
//!
//! Convolution kernels walk the *flat-padded* pixel index `f = y * pitch + x`: the columns between
//! the width and `pitch` are zero padding that the right edge of one row shares with the left edge
//! of the next, so a tap of a window is one constant offset whatever the pixel. Where all readers can do
//! without, rows follow each other and the edge of one is the edge of the next. Two storages of the
//! same index exist: planes (any window can read it) and strips (a 1x1 convolution reads each
//! channel of a strip from consecutive cache lines; 12-35 % faster there than planes). A value that is too
//! large for the caches may never be stored as a whole, but in bands of rows.
//! Every layout holds all images of a batch one after the other.

/// Storage of one value. Offsets and pitches are in elements (f32).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Row-major without gaps, any rank: what the caller of the generated library sees.
    #[default]
    Plain,
    /// See [`Planes`]; rank 4 only.
    Planes(Planes),
    /// See [`Strips`]; rank 4 only.
    Strips(Strips),
    /// See [`Bands`]; rank 4 only.
    Bands(Bands),
}

/// `[N][C * phases][plane]`: one plane per channel and stride phase.
///
/// Element `(n, c, y, x)` of `[N, C, H, W]`: with `yp = y + top`, `xp = x + left` and phase
/// `(yp % sh) * sw + xp % sw`, it is at
/// `n * image + (c * sh * sw + phase) * plane + (yp / sh) * pitch + xp / sw`.
/// Everything else in a plane is zero when a convolution reads it, up to `rows * pitch + left`.
/// Phases turn a strided convolution into one of stride 1 with unit-stride loads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Planes {
    /// Phases per axis `[sh, sw]`; `[1, 1]` for an ordinary plane.
    pub phases: [usize; 2],
    /// Zero rows above the first row.
    pub top: usize,
    /// Columns left of the first column of the first row: zero, and before the other rows the end of the row above.
    pub left: usize,
    /// Distance of two rows of one phase.
    pub pitch: usize,
    /// Rows of one phase, padding included.
    pub rows: usize,
    /// Distance of two planes; `rows * pitch + left` and vector slack fit in.
    pub plane: usize,
    /// Distance of two images; slack for the last plane's vector overrun is included.
    pub image: usize,
}

/// `[N][strip][C][width]`: pixel `f = y * pitch + x` of channel `c` is at
/// `n * image + ((f / width) * C + c) * width + f % width`.
/// Pixels in the pad columns hold garbage that nobody may use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Strips {
    /// Distance of two rows in the flat pixel index.
    pub pitch: usize,
    /// Pixels in a strip.
    pub width: usize,
    /// Distance of two images.
    pub image: usize,
}

/// `[N][part][C][plane]`: a few rows at a time, of a value whose one reader computes it along with its own result.
///
/// While band `b` is there, element `(n, c, y, x)` is at
/// `n * image + (part * C + c) * plane + front + (y - first(b)) * pitch + left + x`, where `first(b)`, which may be
/// negative, is the first row that results of band `b` read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bands {
    /// Rows of the reader's result for which a band is there.
    pub result_rows: usize,
    /// Parts of the reader's result, each of successive bands in a place of its own, so that they are independent.
    pub parts: usize,
    /// Elements before a band's first row: tiles begin earlier than rows.
    pub front: usize,
    /// Columns left of the first row's first column: padding.
    pub left: usize,
    /// Distance of two rows.
    pub pitch: usize,
    /// Rows of a band.
    pub rows: usize,
    /// Distance of two channels of a band; `front + left + rows * pitch` and vector slack fit in.
    pub plane: usize,
    /// Distance of two images, all parts and slack for the last plane's vector overrun included.
    pub image: usize,
}

impl Planes {
    /// Offset of element `(n, c, y, x)`.
    pub fn offset(&self, n: usize, c: usize, y: usize, x: usize) -> usize {
        let [sh, sw] = self.phases;
        let (yp, xp) = (y + self.top, x + self.left);
        let phase = (yp % sh) * sw + xp % sw;
        n * self.image + (c * sh * sw + phase) * self.plane + (yp / sh) * self.pitch + xp / sw
    }
}

impl Strips {
    /// Offset of element `(n, c, y, x)` of a value with `channels` channels.
    pub fn offset(&self, channels: usize, n: usize, c: usize, y: usize, x: usize) -> usize {
        let f = y * self.pitch + x;
        n * self.image + ((f / self.width) * channels + c) * self.width + f % self.width
    }
}

impl Layout {
    /// Elements that storage of a value of `shape` takes, slack included.
    pub fn n_elems(&self, shape: &[usize]) -> usize {
        match self {
            Self::Plain => shape.iter().product(),
            Self::Planes(planes) => shape[0] * planes.image,
            Self::Strips(strips) => shape[0] * strips.image,
            Self::Bands(bands) => shape[0] * bands.image,
        }
    }

    /// Strides of a rank-4 value of `shape` and the offset of its first element, if the layout is
    /// affine in `(n, c, y, x)` with unit stride in `x`: plain, or planes without phases.
    pub fn strides4(&self, shape: &[usize]) -> Option<([usize; 4], usize)> {
        let &[_, c, h, w] = shape else { return None };
        match self {
            Self::Plain => Some(([c * h * w, h * w, w, 1], 0)),
            Self::Planes(p) if p.phases == [1, 1] => {
                Some(([p.image, p.plane, p.pitch, 1], p.offset(0, 0, 0, 0)))
            }
            _ => None,
        }
    }

    /// Distance of two rows in the flat pixel index of a rank-4 value of `shape`.
    pub fn pitch(&self, shape: &[usize]) -> usize {
        match self {
            Self::Plain => shape[3],
            Self::Planes(planes) => planes.pitch,
            Self::Strips(strips) => strips.pitch,
            Self::Bands(bands) => bands.pitch,
        }
    }
}
