//! The list micro-kernel, the inner loop that condensec lives on: an `R x V` tile of accumulators
//! over a list of entries, each `R` weights and one u16 offset of a row of activations.
//!
//! ```text
//! for e in 0..n:
//!     x = activations + 4 * index[e]
//!     load a[0..V] from x
//!     for r in 0..R: w = splat(weights[e][r]); for v in 0..V: acc[r][v] += w * a[v]
//! ```

use super::programs::{Widths, empty, floats, kernel, port, shorts};
use condensec_ir::kernel::{
    Argument, Function, FunctionBuilder, MemoryType, Program, Section, Step, Symbol,
};

/// Shape of a tile.
#[derive(Debug, Clone, Copy)]
pub struct Tile {
    pub rows: usize,
    pub vectors: usize,
    pub lanes: usize,
}

impl Tile {
    /// Floats of one row of the tile.
    pub fn pixels(self) -> usize {
        self.vectors * self.lanes
    }
}

/// The kernel; arguments: weights, indices, number of entries. One task.
pub fn list_kernel(tile: Tile, widths: Widths) -> Function {
    let Tile {
        rows,
        vectors,
        lanes,
    } = tile;
    kernel(
        &format!("list_{rows}x{vectors}"),
        |f, [bases, arguments, ..]| {
            let [x, y] = [1, 2].map(|i| f.load(MemoryType::Ptr, bases, widths.word(i)));
            let [weights, indices] =
                [0, 1].map(|i| f.load(MemoryType::Ptr, arguments, widths.word(i)));
            let n = f.load(MemoryType::Index, arguments, widths.word(2));
            let zero = f.f32(0.0);
            let zero = f.splat(zero, lanes);
            let mut initial = vec![zero; rows * vectors];
            initial.push(weights);
            let low = f.index(0);
            let results = f.for_loop(low, n, 1, &initial, |f, e, carried| {
                let weights = carried[rows * vectors];
                let at = f.ptr_offset(indices, e, 2);
                let index = f.load(MemoryType::U16, at, 0);
                let x = f.ptr_offset(x, index, 4);
                let activation =
                    |f: &mut FunctionBuilder, v: usize| f.load_lanes(lanes, x, 4 * lanes * v);
                let weight = |f: &mut FunctionBuilder, r: usize| {
                    let w = f.load(MemoryType::F32, weights, 4 * r);
                    f.splat(w, lanes)
                };
                // The smaller side stays in registers, the other one streams.
                let mut next = carried[..rows * vectors].to_vec();
                if vectors <= rows {
                    let a: Vec<_> = (0..vectors).map(|v| activation(f, v)).collect();
                    for r in 0..rows {
                        let w = weight(f, r);
                        for v in 0..vectors {
                            let acc = &mut next[r * vectors + v];
                            *acc = f.mul_add(w, a[v], *acc);
                        }
                    }
                } else {
                    let w: Vec<_> = (0..rows).map(|r| weight(f, r)).collect();
                    for v in 0..vectors {
                        let a = activation(f, v);
                        for r in 0..rows {
                            let acc = &mut next[r * vectors + v];
                            *acc = f.mul_add(w[r], a, *acc);
                        }
                    }
                }
                next.push(f.ptr_add_const(weights, 4 * rows));
                next
            });
            for r in 0..rows {
                for v in 0..vectors {
                    let offset = 4 * (r * tile.pixels() + v * lanes);
                    f.store_lanes(results[r * vectors + v], y, offset);
                }
            }
        },
    )
}

/// A program of one list over `n_columns` rows of activations; every column once, backwards.
pub fn list_program(tile: Tile, n_columns: usize, widths: Widths) -> Program {
    let mut program = empty("list", 1);
    program.inputs.push(port("x", &[n_columns, tile.pixels()]));
    program.outputs.push(port("y", &[tile.rows, tile.pixels()]));
    let weights: Vec<f32> = (0..n_columns * tile.rows)
        .map(|i| (i % 17) as f32 * 0.25 - 2.0)
        .collect();
    let indices: Vec<u16> = (0..n_columns)
        .rev()
        .map(|k| (k * tile.pixels()) as u16)
        .collect();
    let weights = program.add_data(floats("w", Section::Weights, &weights));
    let indices = program.add_data(shorts("i", &indices));
    let kernel = program.add_kernel(list_kernel(tile, widths));
    let arguments = vec![
        Argument::Address(Symbol::Data(weights, 0)),
        Argument::Address(Symbol::Data(indices, 0)),
        Argument::Index(n_columns as u64),
    ];
    program.steps[0].push(Step {
        kernel,
        arguments,
        n_tasks: 1,
        node: "list".into(),
        predicted_cycles: 2,
    });
    program
}
