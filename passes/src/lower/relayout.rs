//! Copies a value from one layout to another: `y.address(i) = x.address(i)` for every element.
//!
//! ```text
//! for image, channel (tasks)
//!   clear the plane                      if the result has padding or phases
//!   for row, for phase of the columns
//!     for x: y[row, x] = x[row, x]       unit stride on one side at least
//! ```

use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, MemoryType, Value};
use condensec_ir::layout::{Layout, Planes};

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId) -> Result<(), String> {
    let node = lowering.node(id);
    let source_id = lowering.graph.operands(id)[0];
    let source = lowering.node(source_id);
    let lanes = lowering.target.lanes;
    let mut kernel = KernelBuilder::new("relayout", lowering);
    let x = kernel.buffer(lowering, source_id);
    let y = kernel.buffer(lowering, id);
    let n_tasks = match (&source.layout, &node.layout) {
        (Layout::Plain, Layout::Plain) => {
            let n = node.shape.iter().product();
            kernel.for_tasks(|f, _| copy_row(f, x, 4, y, 4, n, lanes));
            1
        }
        (from, Layout::Planes(to)) => {
            let (strides, first) = from
                .strides4(&source.shape)
                .ok_or("relayout reads plain values or planes")?;
            let (channels, h, w) = (node.shape[1], node.shape[2], node.shape[3]);
            kernel.for_tasks(|f, task| {
                let (image, channel) = f.div_rem_const(task, channels);
                let source = f.ptr_add_const(x, first * 4);
                let source = f.ptr_offset(source, image, strides[0] * 4);
                let source = f.ptr_offset(source, channel, strides[1] * 4);
                let target = f.ptr_offset(y, image, to.image * 4);
                let target =
                    f.ptr_offset(target, channel, to.phases[0] * to.phases[1] * to.plane * 4);
                scatter(f, source, strides[2], target, to, [h, w], lanes);
            });
            node.shape[0] * channels
        }
        (from, Layout::Plain) => {
            let (strides, first) = from
                .strides4(&source.shape)
                .ok_or("relayout reads plain values or planes")?;
            let (channels, h, w) = (node.shape[1], node.shape[2], node.shape[3]);
            kernel.for_tasks(|f, task| {
                let (image, channel) = f.div_rem_const(task, channels);
                let source = f.ptr_add_const(x, first * 4);
                let source = f.ptr_offset(source, image, strides[0] * 4);
                let source = f.ptr_offset(source, channel, strides[1] * 4);
                let target = f.ptr_offset(y, task, h * w * 4);
                f.for_range(h, |f, row| {
                    let source = f.ptr_offset(source, row, strides[2] * 4);
                    let target = f.ptr_offset(target, row, w * 4);
                    copy_row(f, source, 4, target, 4, w, lanes);
                });
            });
            node.shape[0] * channels
        }
        (_, Layout::Strips(_)) => return Err("only convolutions write strips".into()),
    };
    lowering.add_step(id, kernel, n_tasks);
    Ok(())
}

/// One channel `[h, w]` into its phase planes, everything else in them zero.
fn scatter(
    f: &mut FunctionBuilder,
    source: Value,
    source_pitch: usize,
    target: Value,
    to: &Planes,
    [h, w]: [usize; 2],
    lanes: usize,
) {
    let [sh, sw] = to.phases;
    let zero = f.f32(0.0);
    let zeros = f.splat(zero, lanes);
    let n_zero = (to.plane * sh * sw) / lanes;
    f.for_range(n_zero, |f, i| {
        let at = f.ptr_offset(target, i, lanes * 4);
        f.store_lanes(zeros, at, 0);
    });
    // Row `y` lies in phase row (y + top) % sh; all rows of one phase form one loop.
    for row_phase in 0..sh {
        let first_row = (row_phase + sh - to.top % sh) % sh;
        if first_row >= h {
            continue;
        }
        let n_rows = (h - first_row).div_ceil(sh);
        for column_phase in 0..sw {
            let first_column = (column_phase + sw - to.left % sw) % sw;
            if first_column >= w {
                continue;
            }
            let n_columns = (w - first_column).div_ceil(sw);
            let from = f.ptr_add_const(source, (first_row * source_pitch + first_column) * 4);
            let into = f.ptr_add_const(target, to.offset(0, 0, first_row, first_column) * 4);
            f.for_range(n_rows, |f, row| {
                let from = f.ptr_offset(from, row, sh * source_pitch * 4);
                let into = f.ptr_offset(into, row, to.pitch * 4);
                copy_row(f, from, sw * 4, into, 4, n_columns, lanes);
            });
        }
    }
}

/// Copies `n` elements; whole vectors if both strides are one element.
fn copy_row(
    f: &mut FunctionBuilder,
    source: Value,
    source_stride: usize,
    target: Value,
    target_stride: usize,
    n: usize,
    lanes: usize,
) {
    let n_vectors = if source_stride == 4 && target_stride == 4 {
        n / lanes
    } else {
        0
    };
    f.for_range(n_vectors, |f, i| {
        let from = f.ptr_offset(source, i, lanes * 4);
        let value = f.load_lanes(lanes, from, 0);
        let into = f.ptr_offset(target, i, lanes * 4);
        f.store_lanes(value, into, 0);
    });
    let first = n_vectors * lanes;
    let source = f.ptr_add_const(source, first * source_stride);
    let target = f.ptr_add_const(target, first * target_stride);
    f.for_range(n - first, |f, i| {
        let from = f.ptr_offset(source, i, source_stride);
        let value = f.load(MemoryType::F32, from, 0);
        let into = f.ptr_offset(target, i, target_stride);
        f.store(MemoryType::F32, value, into, 0);
    });
}
