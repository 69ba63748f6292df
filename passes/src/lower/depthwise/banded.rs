//! A convolution and the depthwise one that reads its result, band by band.
//!
//! Between a 1x1 and a depthwise convolution lies the largest value of an inverted residual block (Sandler et al.,
//! "MobileNetV2", 2018). Where it is far larger than the last private cache, it is not stored as a whole: a band of rows
//! is computed, read at once, and overwritten by the next one, so that it never leaves the cache.
//!
//! ```text
//! for image, part (tasks)
//!   for band of the part                       `result_rows` rows of the depthwise result
//!     for tile of pixels not yet there         list_conv, all channels
//!     for channel
//!       clear the padding of the next channel
//!       result rows of the band                rows.rs
//!       copy the rows that the next band reads, too, to its beginning
//! ```
//! ```text
//! a channel's plane    | front | left | row first(b) | .. | row first(b) + rows - 1 | overrun of tiles
//! ```
//! Every tile of a part is computed once. Parts are independent, so a part's first band computes the rows
//! above it again.

use super::{Depthwise, DepthwiseBuffers, Walk, is_direct};
use crate::lower::conv2d::ListLayer;
use crate::lower::list_conv::{ListConv, ListConvBuffers};
use crate::lower::zero_borders::zero_range;
use crate::lower::{CACHE_LINE, KernelBuilder, ListTile, Lowering, list_rows};
use condensec_ir::kernel::{CompareOp, FunctionBuilder, IntBinaryOp, Value};
use condensec_ir::layout::{Bands, Planes};
use condensec_ir::ops::Conv2d;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, NodeId, Op};

/// Values of so many times the size of the last private cache go through bands. On Zen 3 one of 9 times the size gains 0.28
/// of 0.65 ms, one of 3.5 times nothing, and one of 1.2 times loses a fifth.
const LARGE_IN_CACHES: usize = 4;
/// Share of the last private cache that a band takes; inputs and results pass through it, too.
const CACHE_SHARE: f64 = 0.6;
/// Rows of the result for which a band is worth what is done once for each.
const FEWEST_ROWS: usize = 2;
/// Parts of an image: enough for a few threads. Each brings storage of its own into the cache.
const PARTS: usize = 4;
/// Elements of a cache line.
const LINE: usize = CACHE_LINE / 4;

/// How the result of the convolution `id`, rows of which lie `pitch` apart, is stored in bands, if that pays.
pub(crate) fn choose_bands(
    graph: &Graph,
    target: &TargetInfo,
    pitch: usize,
    id: NodeId,
) -> Option<Bands> {
    let Op::Conv2d(first) = &graph.node(id).op else {
        return None;
    };
    let users = graph.users(id);
    let &[(reader, 0)] = users.as_slice() else {
        return None;
    };
    let Op::Conv2d(conv) = &graph.node(reader).op else {
        return None;
    };
    let &[_, channels, height, _] = graph.node(id).shape.as_slice() else {
        return None;
    };
    let is_output = graph.outputs().iter().any(|output| output.node == id);
    let is_pair = !is_output
        && !first.residual
        && !is_direct(graph, first)
        && is_direct(graph, conv)
        && conv.strides[1] == 2;
    let is_large = channels * height * pitch * 4 > LARGE_IN_CACHES * target.l2_bytes;
    if target.lanes == 1 || !is_pair || !is_large {
        return None;
    }
    let tile = ListTile::choose(target, list_rows(graph, first.weight, first.groups));
    let geometry = Geometry::new(graph, conv, reader);
    let (n_rows, n_columns) = (graph.node(reader).shape[2], graph.node(reader).shape[3]);
    // The vector of a short row may run into the next one, which another part may have computed.
    if n_columns < target.lanes {
        return None;
    }
    let divisors = (FEWEST_ROWS..=n_rows).filter(|rows| n_rows.is_multiple_of(*rows));
    let mut bands = divisors.map(|result_rows| {
        let rows = geometry.rows(result_rows);
        let front = tile.width().next_multiple_of(LINE);
        // What the last tiles, the copy or a vector of the reader may run over.
        let overrun = 2 * tile.width() + 2 * target.lanes;
        let n_elements = front + conv.pads[1] + rows * pitch + overrun;
        // An odd number of cache lines, so that the planes' starts spread over the cache sets.
        let plane = (n_elements.div_ceil(LINE) | 1) * LINE;
        let n_bands = n_rows / result_rows;
        let parts = n_bands.div_ceil(n_bands.div_ceil(PARTS));
        Bands {
            result_rows,
            parts,
            front,
            left: conv.pads[1],
            pitch,
            rows,
            plane,
            image: parts * channels * plane + 4 * target.lanes,
        }
    });
    let fits = |bands: &Bands| {
        let bytes = channels * bands.plane * 4;
        bytes as f64 <= CACHE_SHARE * target.l2_bytes as f64
    };
    bands.rfind(fits)
}

/// Rows of the input under rows of the result.
struct Geometry {
    stride: usize,
    /// Padding above.
    top: usize,
    /// Rows that a window spans.
    window: usize,
    /// Rows of the input and of the result.
    heights: [usize; 2],
}

impl Geometry {
    fn new(graph: &Graph, conv: &Conv2d, id: NodeId) -> Self {
        let kernel_height = graph.tensor(conv.weight).shape[2];
        let input = graph.operands(id)[0];
        Self {
            stride: conv.strides[0],
            top: conv.pads[0],
            window: (kernel_height - 1) * conv.dilations[0] + 1,
            heights: [input, id].map(|id| graph.node(id).shape[2]),
        }
    }

    /// Rows of the input that `result_rows` rows of the result read.
    fn rows(&self, result_rows: usize) -> usize {
        (result_rows - 1) * self.stride + self.window
    }
}

/// The pair, ready to be emitted.
struct Banded<'a> {
    bands: &'a Bands,
    geometry: Geometry,
    depthwise: Depthwise<'a>,
    /// Columns of the input.
    width: usize,
    lanes: usize,
}

/// Lowers the depthwise convolution `id` together with the one that computes its input.
pub(super) fn lower<'a>(
    lowering: &mut Lowering<'a>,
    id: NodeId,
    conv: &'a Conv2d,
    bands: &'a Bands,
) -> Result<(), String> {
    let (graph, target) = (lowering.graph, lowering.target);
    let input = graph.operands(id)[0];
    let Op::Conv2d(first) = &graph.node(input).op else {
        return Err("only a convolution writes bands".into());
    };
    let layer = ListLayer::new(lowering, input, first)?;
    let planes = Planes {
        phases: [1, 1],
        top: conv.pads[0],
        left: bands.left,
        pitch: bands.pitch,
        rows: bands.rows,
        plane: bands.plane,
        image: bands.image,
    };
    let depthwise = Depthwise::new(lowering, id, conv, &planes)?;
    let name = depthwise.name();
    let variants = layer.variants();
    let pair = Banded {
        bands,
        geometry: Geometry::new(graph, conv, id),
        width: graph.node(input).shape[3],
        lanes: target.lanes,
        depthwise,
    };
    let n_tasks = graph.node(id).shape[0] * bands.parts;
    let mut kernels = Vec::new();
    for &variant in &variants {
        let list_name = layer.kernel_name(variant);
        let mut kernel = KernelBuilder::new(&format!("{list_name}_{name}"), lowering);
        let list_buffers = layer.buffers(&mut kernel, lowering, variant);
        let buffers = pair.depthwise.buffers(&mut kernel, lowering);
        let spec = layer.kernel(variant);
        kernel.for_tasks(|f, task| pair.emit_part(f, &spec, list_buffers, buffers, task));
        kernels.push((kernel, n_tasks));
    }
    // The step is the first one's: who plans or tunes asks for layers with masks.
    let names = lowering.add_step_by_level(input, kernels, &layer.choices(&variants));
    layer.summarize(lowering, names.clone());
    pair.depthwise.summarize(lowering, &names);
    Ok(())
}

impl Banded<'_> {
    fn n_bands(&self) -> usize {
        self.geometry.heights[1] / self.bands.result_rows
    }

    /// Pixels of the input between the first rows of two bands.
    fn step(&self) -> usize {
        self.bands.result_rows * self.geometry.stride * self.bands.pitch
    }

    fn emit_part(
        &self,
        f: &mut FunctionBuilder,
        tiles: &ListConv,
        list: ListConvBuffers,
        buffers: DepthwiseBuffers,
        task: Value,
    ) {
        let (bands, n_channels) = (self.bands, self.depthwise.n_channels);
        let (image, part) = f.div_rem_const(task, bands.parts);
        let storage = f.ptr_offset(list.y, image, bands.image * 4);
        let storage = f.ptr_offset(storage, part, n_channels * bands.plane * 4);
        let per_part = self.n_bands().div_ceil(bands.parts);
        let (n_bands, n_per_part) = (f.size(self.n_bands()), f.size(per_part));
        let low = f.mul(part, n_per_part);
        let high = f.add(low, n_per_part);
        let high = f.int(IntBinaryOp::MinU, high, n_bands);
        let none = f.index(0);
        f.for_loop(low, high, 1, &[none], |f, band, done| {
            // Rows that no window reads may lie between two bands.
            let first = self.first_tile(f, band, tiles);
            let first = f.int(IntBinaryOp::MaxU, first, done[0]);
            let end = self.end_tile(f, band, tiles);
            // Where pixel 0 of the map would be; mostly outside of the storage, where nobody reads or writes.
            let first_pixel = f.mul_const(band, self.step() * 4);
            let zero = f.index(0);
            let back = f.sub(zero, first_pixel);
            let above = self.geometry.top * bands.pitch;
            let y = f.ptr_add_const(storage, (bands.front + bands.left + above) * 4);
            let y = f.ptr_add(y, back);
            let list = ListConvBuffers { y, ..list };
            tiles.emit_range(f, &list, image, [first, end]);
            self.emit_reader(f, &buffers, storage, image, band, tiles);
            vec![end]
        });
    }

    /// The pixel of the map that lies `pixels` behind the first one of `band`; the map's first one if that is above it.
    fn pixel(&self, f: &mut FunctionBuilder, band: Value, pixels: usize) -> Value {
        let above = f.size(self.geometry.top * self.bands.pitch);
        let padded = f.mul_const(band, self.step());
        let padded = f.add_const(padded, pixels);
        let inside = f.int(IntBinaryOp::MaxU, padded, above);
        f.sub(inside, above)
    }

    /// The tile with the first pixel that `band` reads.
    fn first_tile(&self, f: &mut FunctionBuilder, band: Value, tiles: &ListConv) -> Value {
        let first = self.pixel(f, band, 0);
        f.div_rem_const(first, tiles.tile.width()).0
    }

    /// One past the tile with the last pixel that `band` reads.
    fn end_tile(&self, f: &mut FunctionBuilder, band: Value, tiles: &ListConv) -> Value {
        let end = self.pixel(f, band, self.bands.rows * self.bands.pitch);
        let width = tiles.tile.width();
        let end = f.add_const(end, width - 1);
        let (end, _) = f.div_rem_const(end, width);
        // The last tiles are not all as wide.
        let (n_whole, n_tiles) = (tiles.whole_tiles(), tiles.tiles_per_image());
        let (n_whole, n_tiles) = (f.size(n_whole + 1), f.size(n_tiles));
        let is_whole = f.compare(CompareOp::Lt, end, n_whole);
        f.select(is_whole, end, n_tiles)
    }

    /// All channels of the result's rows of a band.
    fn emit_reader(
        &self,
        f: &mut FunctionBuilder,
        buffers: &DepthwiseBuffers,
        storage: Value,
        image: Value,
        band: Value,
        tiles: &ListConv,
    ) {
        let Walk::Rows(rows) = &self.depthwise.walk else {
            unreachable!("bands are for readers that walk rows");
        };
        let (bands, n_channels) = (self.bands, self.depthwise.n_channels);
        let first_row = f.mul_const(band, bands.result_rows);
        let zero = f.index(0);
        // A load that meets a store of part of it on its way to the cache would wait: one channel ahead.
        let inner = self.inner_rows(f, band);
        self.clear_padding(f, storage, zero, inner);
        f.for_range(n_channels, |f, channel| {
            let next = f.add_const(channel, 1);
            let end = f.size(n_channels);
            let exists = f.compare(CompareOp::Lt, next, end);
            f.if_then(exists, |f| self.clear_padding(f, storage, next, inner));
            let plane = f.ptr_offset(storage, channel, bands.plane * 4);
            let x = f.ptr_add_const(plane, bands.front * 4);
            let of = (first_row, bands.result_rows);
            self.depthwise
                .emit_rows(f, buffers, rows, x, [image, channel], of);
            self.keep_rows(f, x, tiles);
        });
    }

    /// Moves what the next band reads, too, to the place where it expects it.
    fn keep_rows(&self, f: &mut FunctionBuilder, x: Value, tiles: &ListConv) {
        let bands = self.bands;
        // The last tiles, two where they are no whole ones, run over the last row.
        let end = bands.left + bands.rows * bands.pitch + 2 * tiles.tile.width();
        let kept = end.saturating_sub(self.step());
        let from = f.ptr_add_const(x, self.step() * 4);
        f.for_range(kept.div_ceil(self.lanes), |f, number| {
            let offset = f.mul_const(number, self.lanes * 4);
            let source = f.ptr_add(from, offset);
            let value = f.load_lanes(self.lanes, source, 0);
            let target = f.ptr_add(x, offset);
            f.store_lanes(value, target, 0);
        });
    }

    /// Rows of a band before which all are above the map, and from which on all are below it.
    fn inner_rows(&self, f: &mut FunctionBuilder, band: Value) -> [Value; 2] {
        let geometry = &self.geometry;
        let first = f.mul_const(band, self.bands.result_rows * geometry.stride);
        let mut rows_before = |row: usize| {
            let row = f.size(row);
            let nearest = f.int(IntBinaryOp::MinU, row, first);
            f.sub(row, nearest)
        };
        let above = rows_before(geometry.top);
        let below = rows_before(geometry.top + geometry.heights[0]);
        let n_rows = f.size(self.bands.rows);
        [above, below].map(|rows| f.int(IntBinaryOp::MinU, rows, n_rows))
    }

    /// Zeros around and between the rows that a band has of a channel.
    fn clear_padding(
        &self,
        f: &mut FunctionBuilder,
        storage: Value,
        channel: Value,
        [above, below]: [Value; 2],
    ) {
        let bands = self.bands;
        let plane = f.ptr_offset(storage, channel, bands.plane * 4);
        let x = f.ptr_add_const(plane, bands.front * 4);
        zero_range(f, x, 0, bands.left, self.lanes);
        let gap = bands.pitch - self.width;
        if gap > 0 {
            f.for_range(bands.rows, |f, row| {
                let at = f.ptr_offset(x, row, bands.pitch * 4);
                zero_range(f, at, bands.left + self.width, gap, self.lanes);
            });
        }
        let clear_row = |f: &mut FunctionBuilder, row: Value| {
            let at = f.ptr_offset(x, row, bands.pitch * 4);
            zero_range(f, at, bands.left, bands.pitch, self.lanes);
        };
        let (zero, end) = (f.index(0), f.size(bands.rows));
        f.for_each(zero, above, 1, clear_row);
        f.for_each(below, end, 1, clear_row);
    }
}

#[cfg(test)]
mod tests;
