//! Pairs of convolutions in bands, against the interpreter of the graph, and which pairs there are.

use super::*;
use crate::PIPELINE;
use crate::lower::testing::{check_graph_on, lowered};
use condensec_ir::layout::Layout;
use condensec_ir::text::parse_graph;

/// What varies in a pair of convolutions, the first of two levels, the second a depthwise one.
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// Height and width of the value between them.
    map: [usize; 2],
    /// Height and width of the first window, an odd number.
    first: usize,
    window: [usize; 2],
    strides: [usize; 2],
    pads: [usize; 4],
    /// The first one's mask has blocks of single weights, and keeps all at the second level.
    is_unstructured: bool,
    /// The result is in planes, not in strips.
    in_planes: bool,
}

const PAIR: Pair = Pair {
    map: [120, 20],
    first: 1,
    window: [3, 3],
    strides: [2, 2],
    pads: [1; 4],
    is_unstructured: false,
    in_planes: false,
};

fn graph(pair: Pair) -> Graph {
    let Pair {
        map: [h, w],
        first,
        window: [kh, kw],
        strides: [sh, sw],
        pads,
        is_unstructured,
        in_planes,
    } = pair;
    let join = |n: usize, value: &dyn Fn(usize) -> usize| {
        let values = (0..n).map(|i| value(i).to_string());
        values.collect::<Vec<_>>().join(", ")
    };
    let (oh, ow) = (
        (h + pads[0] + pads[2] - kh) / sh + 1,
        (w + pads[1] + pads[3] - kw) / sw + 1,
    );
    let (n, pad) = (12 * 6 * first * first, first / 2);
    let last = match in_planes {
        true => format!("unary %s {{kind=neg}} : f32[2, 12, {oh}, {ow}]"),
        false => format!("conv2d %s {{weight=@t}} : f32[2, 1, {oh}, {ow}]"),
    };
    let text = format!(
        "graph @pair levels(2) (%x: f32[2, 6, {h}, {w}]) -> (%z) {{
           tensor @u : f32[6, 6, 1, 1] = [{}]
           tensor @v : f32[12, 6, {first}, {first}] = [{}] level [{}]
           tensor @b : f32[12] = [{}]
           tensor @w : f32[12, 1, {kh}, {kw}] = [{}]
           tensor @t : f32[1, 12, 1, 1] = [{}]
           %r = conv2d %x {{weight=@u}} : f32[2, 6, {h}, {w}]
           %y = conv2d %r {{weight=@v, bias=@b, pads=[{pad}, {pad}, {pad}, {pad}], \
             activation=clip(0.0, 6.0)}} : f32[2, 12, {h}, {w}]
           %s = conv2d %y {{weight=@w, bias=@b, strides=[{sh}, {sw}], pads={pads:?}, groups=12}} \
             : f32[2, 12, {oh}, {ow}]
           %z = {last}
         }}",
        join(36, &|i| i % 5),
        join(n, &|i| i % 4 + 1),
        join(n, &|i| match is_unstructured {
            true => (i * 7 + i / 5) % 2,
            false => i * 3 / n % 2,
        }),
        join(12, &|i| i),
        join(12 * kh * kw, &|i| i % 7 + 1),
        join(12, &|i| i % 3),
    );
    parse_graph(&text).unwrap_or_else(|e| panic!("{pair:?}: {e:?}"))
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
    let pads = |pads| Pair { pads, ..PAIR };
    let cases = [
        PAIR,
        // Pad columns on the right, too.
        Pair {
            map: [120, 21],
            ..PAIR
        },
        // Fewer rows in a window than between windows, and more padding than window.
        Pair {
            window: [1, 3],
            strides: [3, 2],
            ..pads([0, 1, 0, 1])
        },
        Pair {
            window: [2, 3],
            ..pads([3, 1, 3, 1])
        },
        // The last two tiles of a map, none of them whole, are both computed for the last band but one.
        Pair {
            map: [119, 33],
            ..PAIR
        },
        // Kernels of levels with tiles of their own.
        Pair {
            map: [120, 40],
            is_unstructured: true,
            ..PAIR
        },
        // Rows that are no whole vectors.
        Pair {
            map: [120, 18],
            in_planes: true,
            ..PAIR
        },
        // Nine bands in three parts.
        Pair {
            map: [90, 60],
            ..PAIR
        },
        Pair {
            map: [101, 30],
            ..pads([0, 0, 1, 1])
        },
        Pair {
            map: [150, 17],
            window: [5, 5],
            ..pads([2; 4])
        },
        Pair {
            map: [200, 16],
            window: [2, 2],
            ..pads([0; 4])
        },
        Pair {
            map: [100, 23],
            strides: [1, 2],
            ..PAIR
        },
        Pair {
            map: [120, 22],
            first: 3,
            ..PAIR
        },
        Pair {
            map: [90, 48],
            strides: [3, 2],
            first: 3,
            ..PAIR
        },
    ];
    let mut found = Vec::new();
    for pair in cases {
        let graph = graph(pair);
        let mut is_banded = false;
        for l2_bytes in [16 << 10, 24 << 10, 32 << 10, 42 << 10, 64 << 10] {
            for target in targets(l2_bytes) {
                if let Some(bands) = bands(&graph, &target) {
                    is_banded = true;
                    found.push(bands);
                    check_graph_on(&graph, PIPELINE, &[target]);
                }
            }
        }
        assert!(is_banded, "{pair:?}");
    }
    let exists = |is: &dyn Fn(&Bands) -> bool| assert!(found.iter().any(is), "{found:?}");
    exists(&|bands| bands.result_rows == 2);
    exists(&|bands| bands.result_rows > 2);
    exists(&|bands| bands.parts == 3);
    exists(&|bands| bands.parts == 4);
}

#[test]
fn values_that_fit_the_cache_are_stored_as_a_whole() {
    let graph = graph(PAIR);
    for target in targets(512 << 10) {
        assert_eq!(bands(&graph, &target), None);
    }
    // No band fits.
    for target in targets(1 << 10) {
        assert_eq!(bands(&graph, &target), None);
    }
}

#[test]
fn levels_may_run_kernels_of_other_tiles() {
    let graph = graph(Pair {
        map: [120, 40],
        is_unstructured: true,
        ..PAIR
    });
    let program = lowered(&graph, PIPELINE, &targets(42 << 10)[1]);
    let has = |part: &str| {
        let mut names = program.functions.iter().map(|function| &function.name);
        names.any(|name| name.contains(part) && name.contains("depthwise"))
    };
    assert!(has("by_column_4x"));
    assert!(has("_1x"));
}

/// A prime number of rows has no bands of several rows; rows shorter than a vector may be overwritten by other parts.
#[test]
fn awkward_results_are_not_read_in_bands() {
    for map in [[147, 36], [240, 7]] {
        let graph = graph(Pair {
            map,
            pads: [0; 4],
            ..PAIR
        });
        for target in targets(24 << 10) {
            assert_eq!(bands(&graph, &target), None);
        }
    }
}

#[test]
fn bands_take_less_memory() {
    let graph = graph(Pair {
        map: [120, 40],
        ..PAIR
    });
    let arena = |l2_bytes| {
        let target = &targets(l2_bytes)[1];
        lowered(&graph, PIPELINE, target).arena_bytes
    };
    assert!(arena(32 << 10) < arena(8 << 20));
}
