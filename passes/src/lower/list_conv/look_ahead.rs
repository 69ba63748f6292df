//! What a tile asks the caches for while it computes, because it comes from further away than a list takes.
//!
//! A tile reads its input for group after group, so only the first group waits for it: as long as all others together
//! where the input comes from memory. Every list of a whole tile therefore asks for a share of what the next one reads.
//! Before it begins with its only list, a group asks for its results and its residual.
//!
//! On Zen 3 beside busy cores, which take their share of the last cache: ResNet-50 5 to 10 % at every density, its 1x1
//! layers of many channels up to 25 %; MobileNetV2 7 to 17 %.

use super::{Group, ListConv, ListConvBuffers, PixelVector, TileAddresses, TileNumber};
use crate::lower::CACHE_LINE;
use crate::lower::tile_access::TileAccess;
use condensec_ir::kernel::{FunctionBuilder, Value};
use std::ops::Range;

/// Lines that a list asks for at most. Further ones would only wait for each other; cores have 10 to 24 on the way.
const MOST_PER_LIST: usize = 32;

/// Places in memory, the same number behind each of some bases that lie equally far apart.
#[derive(Debug, Clone)]
pub(super) struct Places {
    first: Value,
    /// Bytes between two bases.
    stride: usize,
    n_bases: usize,
    /// Bytes from a base.
    offsets: Vec<usize>,
}

impl Places {
    /// Asks for the share of list number `turn` of the `n_turns` that share the places.
    pub(super) fn ask_for_share(&self, f: &mut FunctionBuilder, turn: Value, n_turns: usize) {
        let most = (MOST_PER_LIST / self.offsets.len()).max(1);
        let n_bases = self.n_bases.div_ceil(n_turns).min(most);
        let first = f.ptr_offset(self.first, turn, n_bases * self.stride);
        for number in 0..n_bases {
            for offset in &self.offsets {
                let at = f.ptr_add_const(first, number * self.stride + offset);
                f.prefetch(at);
            }
        }
    }
}

impl ListConv {
    /// What the next whole tile reads and this one does not.
    pub(super) fn next_input(
        &self,
        f: &mut FunctionBuilder,
        buffers: &ListConvBuffers,
        of: TileNumber,
        at: &TileAddresses,
    ) -> Places {
        let n_channels = self.channel_groups * self.x_channel_group / self.x_channel;
        let (width, bytes) = (self.tile.width(), self.tile.width() * 4);
        if self.x.is_planes() {
            let taps = self.leading_taps.iter();
            return Places {
                first: at.x,
                stride: self.x_channel,
                n_bases: n_channels,
                offsets: taps
                    .flat_map(|tap| lines(bytes).map(move |line| tap + bytes + line))
                    .collect(),
            };
        }
        let next = f.add_const(of.tile, 1);
        let first = self.x.tile(f, buffers.x, of.image, next, width);
        match self.x.has_whole_strips(width) {
            true => Places {
                first,
                stride: CACHE_LINE,
                n_bases: (n_channels * bytes).div_ceil(CACHE_LINE),
                offsets: vec![0],
            },
            false => Places {
                first,
                stride: self.x_channel,
                n_bases: n_channels,
                offsets: lines(bytes).collect(),
            },
        }
    }

    /// Asks for the places that a group's results go to, and for its residual.
    pub(super) fn ask_for_results(&self, f: &mut FunctionBuilder, group: Group<'_>) {
        let mut ask = |base: Value, access: &TileAccess| {
            for row in 0..group.rows {
                let (base, first) = group.row(f, base, access, row);
                for run in runs(access, group.vectors) {
                    for line in lines(run.len()) {
                        let at = f.ptr_add_const(base, first + run.start + line);
                        f.prefetch(at);
                    }
                }
            }
        };
        ask(group.y, &self.y);
        if let (Some(access), Some(base)) = (&self.residual, group.residual) {
            ask(base, access);
        }
    }
}

/// Runs of bytes that the vectors of a tile take, from the tile's address.
fn runs(access: &TileAccess, vectors: &[PixelVector]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for vector in vectors {
        let start = access.pixel(vector.first);
        let end = start + vector.lanes * 4;
        match runs.last_mut() {
            Some(run) if run.end == start => run.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

/// Bytes in the lines of a run of `bytes` bytes that begins somewhere in a line.
fn lines(bytes: usize) -> impl Iterator<Item = usize> {
    (CACHE_LINE / 2..bytes - 4)
        .step_by(CACHE_LINE)
        .chain([bytes - 4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PIPELINE;
    use crate::lower::testing::{lowered, seeded_inputs};
    use condensec_ir::LevelId;
    use condensec_ir::kernel::{Machine, Program, print_function};
    use condensec_ir::target_info::TargetInfo;
    use condensec_ir::text::parse_graph;

    #[test]
    fn lines_of_a_run() {
        assert_eq!(lines(96).collect::<Vec<_>>(), [32, 92]);
        assert_eq!(lines(192).collect::<Vec<_>>(), [32, 96, 160, 188]);
        assert_eq!(lines(32).collect::<Vec<_>>(), [28]);
        assert_eq!(lines(4).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn tiles_ask_for_what_comes_from_afar() {
        let weights = |n: usize| {
            let values: Vec<String> = (0..n).map(|i| (i % 7 + 1).to_string()).collect();
            values.join(", ")
        };
        let graph = parse_graph(&format!(
            "graph @layers levels(1) (%x: f32[1, 8, 9, 9]) -> (%o) {{
               tensor @v : f32[8, 8, 1, 1] = [{}]
               tensor @w : f32[8, 8, 3, 3] = [{}]
               %y = conv2d %x {{weight=@v}} : f32[1, 8, 9, 9]
               %z = conv2d %y {{weight=@w, pads=[1, 1, 1, 1]}} : f32[1, 8, 9, 9]
               %u = conv2d %z, %y {{weight=@v, residual}} : f32[1, 8, 9, 9]
               %o = unary %u {{kind=relu}} : f32[1, 8, 9, 9]
             }}",
            weights(64),
            weights(576)
        ))
        .unwrap();
        let near = TargetInfo::typical(8, 16);
        // Weights, which lists may ask for as well, fit in.
        let far = TargetInfo {
            l2_bytes: 8 << 10,
            ..near.clone()
        };
        let [near, far] = [near, far].map(|target| lowered(&graph, PIPELINE, &target));
        let asks = |program: &Program| {
            let mut texts = program.functions.iter().map(print_function);
            texts.any(|text| text.contains("prefetch"))
        };
        assert!(!asks(&near));
        assert!(asks(&far));
        let inputs = seeded_inputs(&graph);
        let inputs: Vec<&[f32]> = inputs.iter().map(|input| input.data.as_slice()).collect();
        let run = |program| Machine::run(program, LevelId(0), &inputs).unwrap();
        assert_eq!(run(&near), run(&far));
    }
}
