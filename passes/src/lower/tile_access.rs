//! Addresses of tiles: runs of neighbouring flat pixels of one channel, in planes or in strips.

use condensec_ir::kernel::{FunctionBuilder, Value};
use condensec_ir::layout::Layout;

/// How the tiles of a value are addressed. All numbers in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TileAccess {
    image: usize,
    origin: usize,
    /// Pixels per strip and distance of two strips; planes are one endless strip.
    strip: Option<(usize, usize)>,
    /// Distance of two channels.
    pub channel: usize,
    /// Pixel of the map that a tile's pixels count from, where that is known beforehand. Only strips need it.
    start: usize,
}

impl TileAccess {
    /// Access to a value of `shape` in `layout` by tiles, the first at the flat pixel 0 of the
    /// unpadded value, or, `with_padding`, at the first pixel of the padding.
    pub fn new(
        layout: &Layout,
        shape: &[usize],
        with_padding: WithPadding,
    ) -> Result<Self, String> {
        match layout {
            Layout::Planes(planes) => {
                let origin = match with_padding {
                    WithPadding::Yes => 0,
                    WithPadding::No => planes.offset(0, 0, 0, 0),
                };
                Ok(Self {
                    image: planes.image * 4,
                    origin: origin * 4,
                    strip: None,
                    channel: planes.plane * 4,
                    start: 0,
                })
            }
            Layout::Strips(strips) => Ok(Self {
                image: strips.image * 4,
                origin: 0,
                strip: Some((strips.width, shape[1] * strips.width * 4)),
                channel: strips.width * 4,
                start: 0,
            }),
            // A band begins at address 0: who computes it says where it is.
            Layout::Bands(bands) => Ok(Self {
                image: 0,
                origin: 0,
                strip: None,
                channel: bands.plane * 4,
                start: 0,
            }),
            Layout::Plain => Err("a convolution needs planes or strips".into()),
        }
    }

    /// Address of the first pixel of image `image` in storage at `base`.
    pub fn image(&self, f: &mut FunctionBuilder, base: Value, image: Value) -> Value {
        let at = f.ptr_offset(base, image, self.image);
        f.ptr_add_const(at, self.origin)
    }

    /// Address of tile `tile` of image `image` in storage at `base`.
    pub fn tile(
        &self,
        f: &mut FunctionBuilder,
        base: Value,
        image: Value,
        tile: Value,
        width: usize,
    ) -> Value {
        let at = self.image(f, base, image);
        match self.strip {
            None => f.ptr_offset(at, tile, width * 4),
            Some((strip_width, strip_bytes)) if width < strip_width => {
                let (strip, within) = f.div_rem_const(tile, strip_width / width);
                let at = f.ptr_offset(at, strip, strip_bytes);
                f.ptr_offset(at, within, width * 4)
            }
            Some((strip_width, strip_bytes)) => {
                f.ptr_offset(at, tile, width / strip_width * strip_bytes)
            }
        }
    }

    /// Whether the value is in planes.
    pub fn is_planes(&self) -> bool {
        self.strip.is_none()
    }

    /// Whether a tile of `width` pixels is one strip or several.
    pub fn has_whole_strips(&self, width: usize) -> bool {
        self.strip
            .is_some_and(|(strip_width, _)| width.is_multiple_of(strip_width))
    }

    /// The same for the one tile that begins with the map's pixel `first`.
    pub fn starting_at(&self, first: usize) -> Self {
        Self {
            start: first,
            ..*self
        }
    }

    /// Address of the tile that the access starts at, of image `image` in storage at `base`.
    pub fn start(&self, f: &mut FunctionBuilder, base: Value, image: Value) -> Value {
        let at = self.image(f, base, image);
        f.ptr_add_const(at, self.in_map(self.start))
    }

    /// Offset of a tile's pixel `pixel` from the tile's address.
    pub fn pixel(&self, pixel: usize) -> usize {
        self.in_map(self.start + pixel) - self.in_map(self.start)
    }

    /// Offset of a map's pixel from its first one.
    fn in_map(&self, pixel: usize) -> usize {
        match self.strip {
            Some((strip_width, strip_bytes)) => {
                pixel / strip_width * strip_bytes + pixel % strip_width * 4
            }
            None => pixel * 4,
        }
    }
}

/// Whether a tile address includes the padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WithPadding {
    /// Window offsets count from the padded corner.
    Yes,
    /// Results go to the unpadded corner.
    No,
}
