//! Interpolation of images from coordinate tables.
//!
//! ```text
//! for image, channel (tasks)
//!   for oy
//!     lo, hi, weight = rows[oy]
//!     for ox
//!       y[oy, ox] = mix of x[lo or hi, columns[ox].lo or hi]     nearest: x[lo, columns[ox].lo]
//! ```
//! Tables hold byte offsets. Where nearest repeats every element `sy x sx` times there are none:
//! each element is loaded once and stored to its whole block.

use super::view::{Dim, TaskDims, View, advance, for_dims, merge_dims};
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, MemoryType, Value};
use condensec_ir::ops::{Resize, ResizeMode, Tap};

/// Blocks up to this size are stored element by element.
const MAX_BLOCK: usize = 16;

pub(super) fn lower(lowering: &mut Lowering<'_>, id: NodeId, op: &Resize) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let shape = lowering.node(id).shape.clone();
    if shape.contains(&0) {
        return Ok(());
    }
    let source = &lowering.node(operand).shape;
    let (x_view, y_view) = (View::of(lowering, operand)?, View::of(lowering, id)?);
    let taps = [op.source_taps(0, source[2]), op.source_taps(1, source[3])];
    let pitch = |view: &View| view.strides[2] as usize * 4;
    let image = Image {
        source: [source[2], source[3]],
        result: [shape[2], shape[3]],
        x_pitch: pitch(&x_view),
        y_pitch: pitch(&y_view),
    };
    let repeats = match op.mode {
        ResizeMode::Nearest { .. } => image.repeats(&taps),
        ResizeMode::Linear => None,
    };
    let name = match (op.mode, repeats) {
        (_, Some([sy, sx])) => format!("resize_repeat_{sy}x{sx}"),
        (ResizeMode::Nearest { .. }, None) => "resize_nearest".into(),
        (ResizeMode::Linear, _) => "resize_linear".into(),
    };
    let mut dims = merge_dims(&shape[..2], &[&x_view, &y_view]);
    // An image is the smallest task.
    dims.push(Dim {
        size: 1,
        strides: vec![1, 1],
    });
    let shared = TaskDims::choose(&mut dims, 1, shape[2] * shape[3] * 4);
    dims.pop();
    let (tasks, middle) = dims.split_at(shared.n_dims);

    let mut kernel = KernelBuilder::new(&name, lowering);
    let x = kernel.buffer(lowering, operand);
    let y = kernel.buffer(lowering, id);
    let bases = [x_view.origin(&mut kernel, x), y_view.origin(&mut kernel, y)];
    let n_tasks = if let Some(block) = repeats {
        shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
            for_dims(f, middle, bases, |f, bases| {
                image.emit_repeat(f, bases, block)
            });
        })
    } else {
        let rows = Table::add(lowering, &mut kernel, &taps[0], image.x_pitch, op.mode)?;
        let columns = Table::add(lowering, &mut kernel, &taps[1], 4, op.mode)?;
        shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
            for_dims(f, middle, bases, |f, bases| {
                image.emit(f, bases, &rows, &columns)
            });
        })
    };
    lowering.add_step(id, kernel, n_tasks);
    Ok(())
}

/// Addresses of the tables of one axis.
struct Table {
    lo: Value,
    /// Offset of the upper neighbour and its weight.
    hi: Option<(Value, Value)>,
}

impl Table {
    fn add(
        lowering: &mut Lowering<'_>,
        kernel: &mut KernelBuilder,
        taps: &[Tap],
        stride_bytes: usize,
        mode: ResizeMode,
    ) -> Result<Self, String> {
        let mut offsets = |place: fn(&Tap) -> usize| {
            let bytes = taps.iter().map(|t| u32::try_from(place(t) * stride_bytes));
            let bytes: Result<Vec<u32>, _> = bytes.collect();
            let bytes = bytes.map_err(|_| "the image takes more than 4 GiB".to_string())?;
            Ok::<_, String>(lowering.add_u32_table(&bytes))
        };
        let lo = offsets(|t| t.lo)?;
        let lo = kernel.data(lo);
        if mode != ResizeMode::Linear {
            return Ok(Self { lo, hi: None });
        }
        let hi = offsets(|t| t.hi)?;
        let weights: Vec<f32> = taps.iter().map(|t| t.weight_hi).collect();
        let weights = lowering.add_f32_table(&weights);
        Ok(Self {
            lo,
            hi: Some((kernel.data(hi), kernel.data(weights))),
        })
    }

    /// Pointers at the neighbours of entry `index`, and the weights of the two.
    fn taps(&self, f: &mut FunctionBuilder, bases: &[Value], index: Value) -> Taps {
        let at = f.ptr_offset(self.lo, index, 4);
        let lo = f.load(MemoryType::U32, at, 0);
        let mut taps = Taps {
            lo: Vec::new(),
            hi: Vec::new(),
            weights: None,
        };
        taps.lo = bases.iter().map(|&base| f.ptr_add(base, lo)).collect();
        if let Some((hi, weights)) = self.hi {
            let at = f.ptr_offset(hi, index, 4);
            let hi = f.load(MemoryType::U32, at, 0);
            taps.hi = bases.iter().map(|&base| f.ptr_add(base, hi)).collect();
            let at = f.ptr_offset(weights, index, 4);
            let weight = f.load(MemoryType::F32, at, 0);
            let one = f.f32(1.0);
            taps.weights = Some((f.fsub(one, weight), weight));
        }
        taps
    }
}

/// What one entry of a table reads, for each base.
struct Taps {
    lo: Vec<Value>,
    hi: Vec<Value>,
    weights: Option<(Value, Value)>,
}

impl Taps {
    /// `lo * (1 - weight) + hi * weight`
    fn mix(&self, f: &mut FunctionBuilder, lo: Value, hi: Value) -> Value {
        let (weight_lo, weight_hi) = self.weights.expect("linear tables have weights");
        let upper = f.fmul(hi, weight_hi);
        f.mul_add(lo, weight_lo, upper)
    }
}

/// One channel; pitches in bytes.
struct Image {
    source: [usize; 2],
    result: [usize; 2],
    x_pitch: usize,
    y_pitch: usize,
}

impl Image {
    /// How often every element is repeated on each axis, if it is equally often.
    fn repeats(&self, taps: &[Vec<Tap>; 2]) -> Option<[usize; 2]> {
        let factor = |axis: usize| {
            let factor = self.result[axis] / self.source[axis];
            let is_exact = factor * self.source[axis] == self.result[axis]
                && taps[axis]
                    .iter()
                    .enumerate()
                    .all(|(o, tap)| tap.lo == o / factor);
            is_exact.then_some(factor)
        };
        let block = [factor(0)?, factor(1)?];
        (block[0] * block[1] <= MAX_BLOCK).then_some(block)
    }

    fn emit_repeat(&self, f: &mut FunctionBuilder, bases: &[Value], [sy, sx]: [usize; 2]) {
        f.for_range(self.source[0], |f, iy| {
            let x = f.ptr_offset(bases[0], iy, self.x_pitch);
            let y = f.ptr_offset(bases[1], iy, sy * self.y_pitch);
            f.for_range(self.source[1], |f, ix| {
                let from = advance(f, x, ix, 1);
                let value = f.load(MemoryType::F32, from, 0);
                let to = advance(f, y, ix, sx as isize);
                for (dy, dx) in (0..sy).flat_map(|dy| (0..sx).map(move |dx| (dy, dx))) {
                    f.store(MemoryType::F32, value, to, dy * self.y_pitch + dx * 4);
                }
            });
        });
    }

    fn emit(&self, f: &mut FunctionBuilder, bases: &[Value], rows: &Table, columns: &Table) {
        f.for_range(self.result[0], |f, oy| {
            let row = rows.taps(f, &bases[..1], oy);
            let y = f.ptr_offset(bases[1], oy, self.y_pitch);
            let lines: Vec<Value> = row.lo.iter().chain(&row.hi).copied().collect();
            f.for_range(self.result[1], |f, ox| {
                let column = columns.taps(f, &lines, ox);
                let mut values = Vec::new();
                for (at, &lo) in column.lo.iter().enumerate() {
                    let lo = f.load(MemoryType::F32, lo, 0);
                    values.push(match column.hi.get(at) {
                        None => lo,
                        Some(&hi) => {
                            let hi = f.load(MemoryType::F32, hi, 0);
                            column.mix(f, lo, hi)
                        }
                    });
                }
                let value = match values[..] {
                    [value] => value,
                    _ => row.mix(f, values[0], values[1]),
                };
                let at = advance(f, y, ox, 1);
                f.store(MemoryType::F32, value, at, 0);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_op;
    use super::*;
    use condensec_ir::ops::{CoordinateTransform, Rounding};

    const SIZES: &[([usize; 2], [usize; 2])] = &[
        ([3, 5], [3, 5]),
        ([3, 5], [6, 10]),
        ([3, 5], [6, 15]),
        ([4, 7], [3, 17]),
        ([7, 8], [2, 3]),
        ([1, 1], [3, 5]),
        ([5, 3], [1, 1]),
        ([2, 2], [14, 14]),
    ];

    fn check(mode: ResizeMode, transform: CoordinateTransform) {
        for &(from, to) in SIZES {
            let scales = [to[0] as f32 / from[0] as f32, to[1] as f32 / from[1] as f32];
            let op = Resize {
                size: to,
                mode,
                transform,
                scales,
            };
            check_op(op, &[&[2, 3, from[0], from[1]]]);
        }
    }

    #[test]
    fn linear() {
        check(ResizeMode::Linear, CoordinateTransform::HalfPixel);
        check(ResizeMode::Linear, CoordinateTransform::AlignCorners);
        check(ResizeMode::Linear, CoordinateTransform::Asymmetric);
    }

    #[test]
    fn nearest() {
        for rounding in [Rounding::Floor, Rounding::RoundPreferFloor] {
            check(
                ResizeMode::Nearest { rounding },
                CoordinateTransform::Asymmetric,
            );
            check(
                ResizeMode::Nearest { rounding },
                CoordinateTransform::HalfPixel,
            );
        }
    }

    #[test]
    fn whole_factors_need_no_tables() {
        let image = Image {
            source: [2, 3],
            result: [4, 9],
            x_pitch: 0,
            y_pitch: 0,
        };
        let taps = |n: usize, factor: usize| -> Vec<Tap> {
            (0..n)
                .map(|o| Tap {
                    lo: o / factor,
                    hi: o / factor,
                    weight_hi: 0.0,
                })
                .collect()
        };
        assert_eq!(image.repeats(&[taps(4, 2), taps(9, 3)]), Some([2, 3]));
        let mut shifted = taps(9, 3);
        shifted[2].lo = 1;
        assert_eq!(image.repeats(&[taps(4, 2), shifted]), None);
    }
}
