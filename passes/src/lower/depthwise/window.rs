//! The sums of one window over vectors of neighbouring pixels: the micro-kernel.
//!
//! With columns of stride 1 a vector of results is a sum over taps of one weight times one vector
//! of the input. With stride 2 it would be every other element of two vectors, and every tap would
//! cost a shuffle. So the rows are summed before the columns are taken apart: columns `2 p` and
//! `2 p + 1` form a pair, whose weights go to even and odd lanes, and the last of an odd number of
//! columns comes on top of the odd lanes.
//!
//! ```text
//! a, b = two vectors of sums               over the elements that a vector of results steps over
//! for row, for pair p
//!   a, b += [w0, w1, w0, w1, ..] * x[row, 2 p ..]
//! y = even lanes of a, b
//! for row                                  if the number of columns is odd
//!   a, b += w * x[row, last - 1 ..]        begins one element early, so that odd lanes count
//! y += odd lanes of a, b
//! ```
//! That is two shuffles per vector of results whatever the window, for a third more multiply-adds if
//! there are 3 columns.

use super::edges::Edges;
use condensec_ir::kernel::{FunctionBuilder, Half, IntBinaryOp, MemoryType, Parity, Value};
use condensec_ir::layout::Planes;
use condensec_ir::ops::Conv2d;
use condensec_ir::target_info::TargetInfo;

/// A window and the number of vectors that are computed together.
pub(super) struct Window {
    /// `[KH, KW]`
    pub kernel: [usize; 2],
    /// Bytes from the padded corner of a plane to the first tap of the first pixel.
    origin: usize,
    /// Bytes between two rows and two columns of taps.
    steps: [usize; 2],
    /// Whether columns have stride 2.
    is_paired: bool,
    /// f32 lanes per vector.
    pub lanes: usize,
    /// Vectors of results.
    pub vectors: usize,
    holds_weights: bool,
    edges: Edges,
}

/// Weights of one channel.
pub(super) struct Weights {
    /// Where they lie, `[KH * KW]`.
    at: Value,
    /// The vectors of [`Window::load_weight`] by tap, if they are held in registers.
    held: Vec<[Value; 2]>,
}

impl Window {
    /// The window of `conv` on `x`. Of the numbers of `vectors`, the first is taken for which the
    /// weights fit the registers beside the sums, else the first that does with the weights in memory.
    pub fn new(
        conv: &Conv2d,
        kernel: [usize; 2],
        x: &Planes,
        target: &TargetInfo,
        lanes: usize,
        vectors: &[usize],
        edges: Edges,
    ) -> Self {
        let origin = (x.top - conv.pads[0]) * x.pitch + x.left - conv.pads[1];
        let mut window = Self {
            kernel,
            origin: origin * 4,
            steps: [conv.dilations[0] * x.pitch * 4, conv.dilations[1] * 4],
            is_paired: conv.strides[1] == 2,
            lanes,
            vectors: vectors[0],
            holds_weights: false,
            edges,
        };
        let n_weights = window.first_taps().count();
        let sums = match (window.is_paired, window.edges.columns.is_empty()) {
            // With pairs, the even lanes' results wait while the odd lanes are summed up.
            (true, _) => 3,
            // Other columns' sums wait while those of one are.
            (false, false) => 2,
            (false, true) => 1,
        };
        let fits = |n_weights: usize| {
            let n_free = target.vector_registers.saturating_sub(n_weights + 1);
            vectors.iter().find(|&&vectors| vectors * sums <= n_free)
        };
        if let Some(&vectors) = fits(n_weights) {
            window.vectors = vectors;
            window.holds_weights = true;
        } else if let Some(&vectors) = fits(1) {
            window.vectors = vectors;
        }
        window
    }

    /// Taps that begin a vector of weights.
    fn first_taps(&self) -> impl Iterator<Item = usize> + use<> {
        let ([kh, kw], step) = (self.kernel, if self.is_paired { 2 } else { 1 });
        (0..kh).flat_map(move |ky| (0..kw).step_by(step).map(move |kx| ky * kw + kx))
    }

    /// Gets the weights at `at` ready, outside of all loops over pixels.
    pub fn weights(&self, f: &mut FunctionBuilder, at: Value) -> Weights {
        let mut held = Vec::new();
        if self.holds_weights {
            held.extend(self.first_taps().map(|tap| self.load_weight(f, at, tap)));
        }
        Weights { at, held }
    }

    /// The weight of `tap` in all lanes or, where it begins a pair, both weights by turns. The two
    /// vectors of a pair differ only if they have one lane.
    fn load_weight(&self, f: &mut FunctionBuilder, at: Value, tap: usize) -> [Value; 2] {
        let splat = |f: &mut FunctionBuilder, tap: usize| {
            let weight = f.load(MemoryType::F32, at, tap * 4);
            f.splat(weight, self.lanes)
        };
        let kw = self.kernel[1];
        let first = splat(f, tap);
        if !self.is_paired || tap % kw + 1 == kw {
            return [first; 2];
        }
        let second = splat(f, tap + 1);
        self.by_turns(f, first, second)
    }

    fn by_turns(&self, f: &mut FunctionBuilder, even: Value, odd: Value) -> [Value; 2] {
        match self.lanes {
            1 => [even, odd],
            _ => [f.interleave(Half::Low, even, odd); 2],
        }
    }

    fn weight(&self, f: &mut FunctionBuilder, weights: &Weights, tap: usize) -> [Value; 2] {
        let [kw, step] = [self.kernel[1], if self.is_paired { 2 } else { 1 }];
        let number = tap / kw * kw.div_ceil(step) + tap % kw / step;
        match weights.held.get(number) {
            Some(&held) => held,
            None => self.load_weight(f, weights.at, tap),
        }
    }

    /// Sums for the vectors of results that begin at `columns`, where the window of column 0 begins
    /// at `x`, an address in the padded plane, and its masks at `masks`; they start from `bias`, a vector.
    pub fn sums(
        &self,
        f: &mut FunctionBuilder,
        x: Value,
        masks: Option<Value>,
        columns: &[usize],
        weights: &Weights,
        bias: Value,
    ) -> Vec<Value> {
        if self.is_paired {
            return self.paired_sums(f, x, columns, weights, bias);
        }
        let mut sums = vec![bias; columns.len()];
        let kw = self.kernel[1];
        let leaves = |tap: &usize| self.edges.columns.contains(&(tap % kw));
        for tap in self.first_taps().filter(|tap| !leaves(tap)) {
            self.add_tap(f, x, columns, weights, tap, &mut sums);
        }
        let Some(masks) = masks else {
            return sums;
        };
        let zero = f.f32_like(bias, 0.0);
        for (number, &kx) in self.edges.columns.iter().enumerate() {
            let mut column_sums = vec![zero; columns.len()];
            for tap in self.first_taps().filter(|tap| tap % kw == kx) {
                self.add_tap(f, x, columns, weights, tap, &mut column_sums);
            }
            for ((sum, column_sum), column) in sums.iter_mut().zip(column_sums).zip(columns) {
                let at = self.edges.offset(number) + column * 4;
                let mask = f.load_lanes(self.lanes, masks, at);
                let (mask, bits) = (f.bitcast(mask), f.bitcast(column_sum));
                let kept = f.int(IntBinaryOp::And, bits, mask);
                let kept = f.bitcast(kept);
                *sum = f.fadd(*sum, kept);
            }
        }
        sums
    }

    fn add_tap(
        &self,
        f: &mut FunctionBuilder,
        x: Value,
        columns: &[usize],
        weights: &Weights,
        tap: usize,
        sums: &mut [Value],
    ) {
        let [weight, _] = self.weight(f, weights, tap);
        for (sum, column) in sums.iter_mut().zip(columns) {
            let value = f.load_lanes(self.lanes, x, self.tap_offset(tap) + column * 4);
            *sum = f.mul_add(weight, value, *sum);
        }
    }

    fn paired_sums(
        &self,
        f: &mut FunctionBuilder,
        x: Value,
        columns: &[usize],
        weights: &Weights,
        bias: Value,
    ) -> Vec<Value> {
        let kw = self.kernel[1];
        let zero = f.f32_like(bias, 0.0);
        let mut sums = vec![self.by_turns(f, bias, zero); columns.len()];
        let add = |f: &mut FunctionBuilder, sums: &mut [[Value; 2]], tap: usize, first: usize| {
            let weight = self.weight(f, weights, tap);
            for (sum, column) in sums.iter_mut().zip(columns) {
                for half in 0..2 {
                    let at = self.tap_offset(first) + (2 * column + half * self.lanes) * 4;
                    let value = f.load_lanes(self.lanes, x, at);
                    sum[half] = f.mul_add(weight[half], value, sum[half]);
                }
            }
        };
        for tap in self.first_taps().filter(|tap| tap % kw + 1 < kw) {
            add(f, &mut sums, tap, tap);
        }
        let even: Vec<Value> = sums
            .iter()
            .map(|&[a, b]| f.deinterleave(Parity::Even, a, b))
            .collect();
        for tap in self.first_taps().filter(|tap| tap % kw + 1 == kw) {
            add(f, &mut sums, tap, tap - 1);
        }
        let results = even.into_iter().zip(sums);
        results
            .map(|(even, [a, b])| {
                let odd = f.deinterleave(Parity::Odd, a, b);
                f.fadd(even, odd)
            })
            .collect()
    }

    /// Masks of the pixels whose windows leave the rows; none where no window does.
    pub fn masks(&self) -> Option<&[u32]> {
        (!self.edges.masks.is_empty()).then_some(&self.edges.masks)
    }

    /// Multiply-adds per vector of results; a masked sum is about as much work as one.
    pub fn n_multiply_adds(&self) -> usize {
        self.first_taps().count() * if self.is_paired { 2 } else { 1 } + self.edges.columns.len()
    }

    /// Bytes from the padded corner to `tap` of the first pixel.
    fn tap_offset(&self, tap: usize) -> usize {
        let [ky, kx] = [tap / self.kernel[1], tap % self.kernel[1]];
        self.origin + ky * self.steps[0] + kx * self.steps[1]
    }
}
