//! Writes zero wherever a convolution expects padding: above, below and beside the rows of planes.
//!
//! ```text
//! for plane
//!   y[0 .. origin] = 0
//!   for row: y[origin + row*pitch + W .. origin + (row+1)*pitch] = 0
//!   y[origin + H*pitch .. rows*pitch + left] = 0
//! ```
//! It runs after the step that computes the value, since that one leaves garbage in the padding. A
//! depthwise convolution that is the only one to read the padding clears it itself, plane by plane,
//! while it has the plane in the cache.

use super::depthwise;
use super::tasks::pieces_per_task;
use super::{KernelBuilder, Lowering};
use condensec_ir::kernel::{FunctionBuilder, MemoryType, Value};
use condensec_ir::layout::{Layout, Planes};
use condensec_ir::{Graph, NodeId, Op};

/// Adds the step if some reader of `id` is a convolution with padding that does not clear it.
pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId) {
    let node = lowering.node(id);
    let Layout::Planes(planes) = &node.layout else {
        return;
    };
    match clearing(lowering.graph, id) {
        Clearing::Step => {}
        Clearing::Nobody | Clearing::Itself | Clearing::Reader => return,
    }
    let mut kernel = KernelBuilder::new("zero_borders", lowering);
    let y = kernel.buffer(lowering, id);
    let lanes = lowering.target.lanes;
    let &[n_images, channels, h, w] = node.shape.as_slice() else {
        unreachable!("planes have four axes");
    };
    let n_planes = n_images * channels;
    let work = n_planes * (planes.rows * planes.pitch - h * w);
    let per_task = pieces_per_task(n_planes, work);
    let n_tasks = kernel.for_pieces(n_planes, per_task, |f, number| {
        zero_plane(f, y, number, planes, &node.shape, lanes);
    });
    lowering.add_step(id, kernel, n_tasks);
}

/// Who clears the padding of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clearing {
    /// No convolution reads it.
    Nobody,
    /// The step that computes the value.
    Itself,
    /// The one convolution that reads the padding.
    Reader,
    /// A step of its own.
    Step,
}

/// Who clears the padding of `id`, a value in planes.
pub(super) fn clearing(graph: &Graph, id: NodeId) -> Clearing {
    if matches!(graph.node(id).op, Op::Relayout(_)) {
        return Clearing::Itself;
    }
    let users = graph.users(id).into_iter();
    let readers = users.filter_map(|(user, position)| match &graph.node(user).op {
        Op::Conv2d(conv) if position == 0 && conv.pads != [0; 4] => Some(conv),
        _ => None,
    });
    match readers.collect::<Vec<_>>()[..] {
        [] => Clearing::Nobody,
        [conv] if depthwise::is_direct(graph, conv) => Clearing::Reader,
        _ => Clearing::Step,
    }
}

/// Zeros the padding of plane `number`, counted through all images, of a value of `shape` at `base`.
pub(super) fn zero_plane(
    f: &mut FunctionBuilder,
    base: Value,
    number: Value,
    planes: &Planes,
    shape: &[usize],
    lanes: usize,
) {
    let (rows, columns, pitch) = (shape[2], shape[3], planes.pitch);
    let first = planes.offset(0, 0, 0, 0);
    let end = planes.rows * pitch + planes.left;
    let (image, channel) = f.div_rem_const(number, shape[1]);
    let at = f.ptr_offset(base, image, planes.image * 4);
    let plane = f.ptr_offset(at, channel, planes.plane * 4);
    zero_range(f, plane, 0, first, lanes);
    let gap = pitch - columns;
    if rows > 1 && gap > 0 {
        f.for_range(rows - 1, |f, row| {
            let at = f.ptr_offset(plane, row, pitch * 4);
            zero_range(f, at, first + columns, gap, lanes);
        });
    }
    let last = first + (rows - 1) * pitch + columns;
    zero_range(f, plane, last, end.saturating_sub(last), lanes);
}

/// Zeros `n` elements from element `first` of `base`.
pub(super) fn zero_range(
    f: &mut FunctionBuilder,
    base: Value,
    first: usize,
    n: usize,
    lanes: usize,
) {
    /// Longer ranges become a loop.
    const UNROLL: usize = 8;
    if n == 0 {
        return;
    }
    let zero = f.f32(0.0);
    let vector = f.splat(zero, lanes);
    let n_vectors = n / lanes;
    if n_vectors > UNROLL {
        let at = f.ptr_add_const(base, first * 4);
        f.for_range(n_vectors, |f, i| {
            let at = f.ptr_offset(at, i, lanes * 4);
            f.store_lanes(vector, at, 0);
        });
    } else {
        for i in 0..n_vectors {
            f.store_lanes(vector, base, (first + i * lanes) * 4);
        }
    }
    for i in n_vectors * lanes..n {
        f.store(MemoryType::F32, zero, base, (first + i) * 4);
    }
}
