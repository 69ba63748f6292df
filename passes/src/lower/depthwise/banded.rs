//! A 1x1 convolution and the depthwise one that reads its result, band by band.
//!
//! Between the two lies the largest value of an inverted residual block (Sandler et al., "MobileNetV2", 2018). Where it
//! does not fit the last private cache, it is not stored as a whole: a band of rows is computed, read at once, and
//! overwritten by the next one, so that it never leaves the cache.
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

/// Share of the last private cache that a band takes; inputs and results pass through it, too.
const CACHE_SHARE: f64 = 0.6;
/// Parts of an image: enough for a few threads. Each brings storage of its own into the cache.
const PARTS: usize = 4;
/// Elements of a cache line.
const LINE: usize = CACHE_LINE / 4;

/// How the result of the pointwise convolution `id`, rows of which lie `pitch` apart, is stored in bands, if that pays.
pub(crate) fn choose_bands(
    graph: &Graph,
    target: &TargetInfo,
    pitch: usize,
    id: NodeId,
) -> Option<Bands> {
    let Op::Conv2d(pointwise) = &graph.node(id).op else {
        return None;
    };
    let users = graph.users(id);
    let &[(reader, 0)] = users.as_slice() else {
        return None;
    };
    let Op::Conv2d(conv) = &graph.node(reader).op else {
        return None;
    };
    let is_output = graph.outputs().iter().any(|output| output.node == id);
    // Strided ones walk rows.
    if is_output || pointwise.residual || conv.strides[1] != 2 || !is_direct(graph, conv) {
        return None;
    }
    let &[_, channels, height, _] = graph.node(id).shape.as_slice() else {
        return None;
    };
    if target.lanes == 1 || channels * height * pitch * 4 <= target.l2_bytes {
        return None;
    }
    let tile = ListTile::choose(target, list_rows(graph, pointwise.weight, pointwise.groups));
    let geometry = Geometry::new(graph, conv, reader);
    let n_rows = graph.node(reader).shape[2];
    let divisors = (1..=n_rows).filter(|rows| n_rows.is_multiple_of(*rows));
    let mut bands = divisors.map(|result_rows| {
        let rows = geometry.rows(result_rows);
        let front = tile.width().next_multiple_of(LINE);
        // What the last tile, the copy or a vector of the reader may run over.
        let overrun = tile.width() + 2 * target.lanes;
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
    tile_width: usize,
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
    let Op::Conv2d(pointwise) = &graph.node(input).op else {
        return Err("only a convolution writes bands".into());
    };
    let layer = ListLayer::new(lowering, input, pointwise, id)?;
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
        tile_width: layer.kernel(variants[0]).tile.width(),
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
    let names = lowering.add_step_by_level(id, kernels, &layer.choices(&variants));
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
        pointwise: &ListConv,
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
        let done = self.first_tile(f, low);
        f.for_loop(low, high, 1, &[done], |f, band, done| {
            let end = self.end_tile(f, band, pointwise);
            // Where pixel 0 of the map would be.
            let first_pixel = f.mul_const(band, self.step() * 4);
            let zero = f.index(0);
            let back = f.sub(zero, first_pixel);
            let above = self.geometry.top * bands.pitch;
            let y = f.ptr_add_const(storage, (bands.front + bands.left + above) * 4);
            let y = f.ptr_add(y, back);
            let list = ListConvBuffers { y, ..list };
            pointwise.emit_range(f, &list, image, [done[0], end]);
            self.emit_reader(f, &buffers, storage, image, band);
            vec![end]
        });
    }

    /// The tile with the first pixel that `band` reads.
    fn first_tile(&self, f: &mut FunctionBuilder, band: Value) -> Value {
        let (step, above) = (self.step(), self.geometry.top * self.bands.pitch);
        let pixel = f.mul_const(band, step);
        let (above, zero) = (f.size(above), f.index(0));
        let is_inside = f.compare(CompareOp::Ge, pixel, above);
        let first = f.sub(pixel, above);
        let first = f.select(is_inside, first, zero);
        f.div_rem_const(first, self.tile_width).0
    }

    /// One past the tile with the last pixel that `band` reads.
    fn end_tile(&self, f: &mut FunctionBuilder, band: Value, pointwise: &ListConv) -> Value {
        let below = (self.bands.rows - self.geometry.top) * self.bands.pitch;
        let pixel = f.mul_const(band, self.step());
        let end = f.add_const(pixel, below + self.tile_width - 1);
        let (end, _) = f.div_rem_const(end, self.tile_width);
        // The last tiles are not all as wide.
        let (n_whole, n_tiles) = (pointwise.whole_tiles(), pointwise.tiles_per_image());
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
    ) {
        let Walk::Rows(rows) = &self.depthwise.walk else {
            unreachable!("bands are for readers that walk rows");
        };
        let (bands, n_channels) = (self.bands, self.depthwise.n_channels);
        let first_row = f.mul_const(band, bands.result_rows);
        let zero = f.index(0);
        // A load that meets a store of part of it on its way to the cache would wait: one channel ahead.
        self.clear_padding(f, storage, zero, band);
        f.for_range(n_channels, |f, channel| {
            let next = f.add_const(channel, 1);
            let end = f.size(n_channels);
            let exists = f.compare(CompareOp::Lt, next, end);
            f.if_then(exists, |f| self.clear_padding(f, storage, next, band));
            let plane = f.ptr_offset(storage, channel, bands.plane * 4);
            let x = f.ptr_add_const(plane, bands.front * 4);
            let of = (first_row, bands.result_rows);
            self.depthwise
                .emit_rows(f, buffers, rows, x, [image, channel], of);
            self.keep_rows(f, x);
        });
    }

    /// Moves what the next band reads, too, to the place where it expects it.
    fn keep_rows(&self, f: &mut FunctionBuilder, x: Value) {
        let bands = self.bands;
        // The last tile runs over the last row.
        let kept = bands.left + bands.rows * bands.pitch + self.tile_width - self.step();
        let from = f.ptr_add_const(x, self.step() * 4);
        f.for_range(kept.div_ceil(self.lanes), |f, number| {
            let offset = f.mul_const(number, self.lanes * 4);
            let source = f.ptr_add(from, offset);
            let value = f.load_lanes(self.lanes, source, 0);
            let target = f.ptr_add(x, offset);
            f.store_lanes(value, target, 0);
        });
    }

    /// Zeros around and between the rows that a band has of a channel.
    fn clear_padding(&self, f: &mut FunctionBuilder, storage: Value, channel: Value, band: Value) {
        let (bands, geometry) = (self.bands, &self.geometry);
        let plane = f.ptr_offset(storage, channel, bands.plane * 4);
        let x = f.ptr_add_const(plane, bands.front * 4);
        zero_range(f, x, 0, bands.left, self.lanes);
        f.for_range(bands.rows, |f, row| {
            let at = f.ptr_offset(x, row, bands.pitch * 4);
            let gap = bands.pitch - self.width;
            zero_range(f, at, bands.left + self.width, gap, self.lanes);
        });
        let mut clear_rows = |at: usize, first: usize, n_rows: usize| {
            if n_rows > 0 {
                let this = f.size(at);
                let is_there = f.compare(CompareOp::Eq, band, this);
                f.if_then(is_there, |f| {
                    let first = bands.left + first * bands.pitch;
                    zero_range(f, x, first, n_rows * bands.pitch, self.lanes);
                });
            }
        };
        clear_rows(0, 0, geometry.top);
        let last = self.n_bands() - 1;
        let read = last * bands.result_rows * geometry.stride + bands.rows;
        let below = read.saturating_sub(geometry.top + geometry.heights[0]);
        clear_rows(last, bands.rows - below, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PIPELINE;
    use crate::lower::testing::{check_graph_on, lowered};
    use condensec_ir::layout::Layout;
    use condensec_ir::text::parse_graph;

    /// A 1x1 convolution of two levels and a strided depthwise one. `map` is the input's height and width, `window` that
    /// of the second convolution, with its row stride and its padding.
    fn pair(map: [usize; 2], window: [usize; 2], stride: usize, pads: [usize; 4]) -> Graph {
        let ([h, w], [kh, kw]) = (map, window);
        let join = |n: usize, value: &dyn Fn(usize) -> usize| {
            let values = (0..n).map(|i| value(i).to_string());
            values.collect::<Vec<_>>().join(", ")
        };
        let (oh, ow) = (
            (h + pads[0] + pads[2] - kh) / stride + 1,
            (w + pads[1] + pads[3] - kw) / 2 + 1,
        );
        let text = format!(
            "graph @pair levels(2) (%x: f32[2, 6, {h}, {w}]) -> (%z) {{
               tensor @u : f32[6, 6, 1, 1] = [{}]
               tensor @v : f32[12, 6, 1, 1] = [{}] level [{}]
               tensor @b : f32[12] = [{}]
               tensor @w : f32[12, 1, {kh}, {kw}] = [{}]
               tensor @t : f32[1, 12, 1, 1] = [{}]
               %r = conv2d %x {{weight=@u}} : f32[2, 6, {h}, {w}]
               %y = conv2d %r {{weight=@v, bias=@b, activation=clip(0.0, 6.0)}} : f32[2, 12, {h}, {w}]
               %s = conv2d %y {{weight=@w, bias=@b, strides=[{stride}, 2], pads={pads:?}, groups=12}} \
                 : f32[2, 12, {oh}, {ow}]
               %z = conv2d %s {{weight=@t}} : f32[2, 1, {oh}, {ow}]
             }}",
            join(36, &|i| i % 5),
            join(72, &|i| i % 4 + 1),
            join(72, &|i| i / 24 % 2),
            join(12, &|i| i),
            join(12 * kh * kw, &|i| i % 7 + 1),
            join(12, &|i| i % 3),
        );
        parse_graph(&text).unwrap_or_else(|e| panic!("{e:?}"))
    }

    fn targets(l2_bytes: usize) -> Vec<TargetInfo> {
        let sizes = [(4, 16), (8, 16), (16, 32)];
        let target = |(lanes, registers)| TargetInfo {
            l2_bytes,
            ..TargetInfo::typical(lanes, registers)
        };
        sizes.map(target).to_vec()
    }

    fn bands(graph: &Graph, target: &TargetInfo) -> Option<Bands> {
        let mut graph = graph.clone();
        for pass in PIPELINE {
            (pass.run)(&mut graph, target);
        }
        let mut found = graph
            .order()
            .into_iter()
            .filter_map(|id| match &graph.node(id).layout {
                Layout::Bands(bands) => Some(bands.clone()),
                _ => None,
            });
        found.next()
    }

    #[test]
    fn pairs_in_bands_give_what_convolutions_give() {
        // Bands of one row and of several, parts of one band and of several, the last part shorter.
        let cases = [
            ([24, 20], [3, 3], 2, [1, 1, 1, 1]),
            ([24, 21], [3, 3], 2, [1, 1, 1, 1]),
            ([37, 18], [3, 3], 2, [0, 0, 0, 0]),
            ([40, 17], [5, 5], 2, [2, 2, 2, 2]),
            ([24, 23], [3, 3], 1, [1, 1, 1, 1]),
            ([60, 16], [2, 2], 2, [0, 0, 0, 0]),
            ([29, 30], [3, 3], 2, [0, 0, 1, 1]),
        ];
        let mut parts = Vec::new();
        let mut rows = Vec::new();
        for (map, window, stride, pads) in cases {
            let graph = pair(map, window, stride, pads);
            for l2_bytes in [20 << 10, 24 << 10, 32 << 10] {
                for target in targets(l2_bytes) {
                    let Some(bands) = bands(&graph, &target) else {
                        continue;
                    };
                    parts.push(bands.parts);
                    rows.push(bands.result_rows);
                    check_graph_on(&graph, PIPELINE, &[target]);
                }
            }
        }
        assert!(
            rows.contains(&1) && rows.iter().any(|&rows| rows > 2),
            "{rows:?}"
        );
        assert!(parts.contains(&3) && parts.contains(&4), "{parts:?}");
    }

    #[test]
    fn values_that_fit_the_cache_are_stored_as_a_whole() {
        let graph = pair([24, 20], [3, 3], 2, [1, 1, 1, 1]);
        for target in targets(512 << 10) {
            assert_eq!(bands(&graph, &target), None);
        }
        // No band fits.
        for target in targets(1 << 10) {
            assert_eq!(bands(&graph, &target), None);
        }
    }

    #[test]
    fn bands_take_less_memory() {
        let graph = pair([96, 40], [3, 3], 2, [1, 1, 1, 1]);
        let arena = |l2_bytes| {
            let target = &targets(l2_bytes)[1];
            lowered(&graph, PIPELINE, target).arena_bytes
        };
        assert!(arena(32 << 10) < arena(8 << 20));
    }
}
