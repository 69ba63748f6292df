//! Printing and parsing against each other and against bad text.

use super::{PrintOptions, parse_graph, print_graph, print_graph_with};
use crate::graph::{Graph, NodeId, Origin};
use crate::layout::{Bands, Layout, Planes, Strips};
use crate::ops::*;
use crate::sparsity::LevelMask;
use crate::tensor::{LevelRule, Tensor, TensorId};
use crate::verify::verify_graph;
use expect_test::{Expect, expect};
use proptest::prelude::*;

/// Everything that the text form keeps, floats by their bits.
fn assert_same(a: &Graph, b: &Graph) {
    assert_eq!(
        (&a.name, a.n_levels, &a.level_names),
        (&b.name, b.n_levels, &b.level_names)
    );
    let bits = |tensor: &Tensor| -> Vec<u32> {
        // The text form has one NaN.
        let bits = |value: &f32| if value.is_nan() { f32::NAN } else { *value }.to_bits();
        tensor.data.iter().map(bits).collect()
    };
    assert_eq!(a.tensors().len(), b.tensors().len());
    for (x, y) in a.tensors().iter().zip(b.tensors()) {
        assert_eq!((&x.name, &x.shape, &x.rule), (&y.name, &y.shape, &y.rule));
        assert_eq!(bits(x), bits(y), "{}", x.name);
    }
    let nodes = |graph: &Graph| {
        let name = |id: &NodeId| graph.node(*id).name.clone();
        let nodes: Vec<_> = graph
            .order()
            .iter()
            .map(|&id| {
                let node = graph.node(id).clone();
                let operands: Vec<String> = graph.operands(id).iter().map(name).collect();
                (node.name, node.op, operands, node.shape, node.layout)
            })
            .collect();
        let outputs: Vec<(String, String)> = graph
            .outputs()
            .iter()
            .map(|o| (o.name.clone(), name(&o.node)))
            .collect();
        (
            graph.inputs().iter().map(name).collect::<Vec<_>>(),
            nodes,
            outputs,
        )
    };
    assert_eq!(nodes(a), nodes(b));
}

fn round_trip(graph: &Graph) -> String {
    let text = print_graph(graph);
    let copy = parse_graph(&text).unwrap_or_else(|found| panic!("{found:?}\n{text}"));
    assert_same(graph, &copy);
    assert_eq!(print_graph(&copy), text);
    text
}

fn add(graph: &mut Graph, name: &str, op: impl Into<Op>, operands: &[NodeId]) -> NodeId {
    graph
        .add_node(name, op.into(), operands, Origin::default())
        .unwrap()
}

#[test]
fn the_documented_example() {
    let mut graph = Graph::new("prefix", 2);
    graph.level_names = vec!["small".into(), "full".into()];
    let data: Vec<f32> = (1..=8).map(|i| i as f32).collect();
    let rule = LevelRule::Masked(LevelMask::new([0, 0, 0, 0, 1, 1, 1, 1], &[2, 2]));
    let weight = graph.add_tensor(Tensor {
        rule,
        ..Tensor::shared("fc", &[4, 2], data)
    });
    let bias = [0.0, 0.0, 0.0, 0.0, 1.0, -0.0, 0.1, 1e-30];
    let bias = graph.add_tensor(Tensor::per_level("bias", &[4], bias));
    let x = graph.add_input("x", &[1, 2]);
    let op = FullyConnected {
        bias: Some(bias),
        activation: Some(UnaryKind::Relu),
        ..FullyConnected::new(weight)
    };
    let y = add(&mut graph, "y", op, &[x]);
    graph.add_output("logits", y);
    expect![[r#"
        graph @prefix levels(2) names("small", "full") (%x: f32[1, 2]) -> (%y as "logits") {
          tensor @fc : f32[4, 2] = [1, 2, 3, 4, 5, 6, 7, 8] level [0, 0, 0, 0, 1, 1, 1, 1] block [2, 2]
          tensor @bias : f32[4] = per_level [0, 0, 0, 0] [1, -0, 0.1, 1e-30]
          %y = fully_connected %x {weight=@fc, bias=@bias, activation=relu} : f32[1, 4]
        }
    "#]]
    .assert_eq(&round_trip(&graph));
    let parsed = parse_graph(&print_graph(&graph)).unwrap();
    let origin = &parsed.node(parsed.outputs()[0].node).origin;
    assert_eq!(
        (origin.name.as_str(), origin.op_type.as_str()),
        ("y", "fully_connected")
    );
}

/// Every op once, with attributes that differ from their defaults where there are some.
fn every_op() -> Graph {
    let mut graph = Graph::new("every op", 2);
    let counting = |n: usize| (0..n).map(|i| i as f32 / 8.0).collect::<Vec<f32>>();
    let conv = graph.add_tensor(Tensor::shared("conv/w:0", &[4, 1, 3, 3], counting(36)));
    let rows = graph.add_tensor(Tensor::per_level("rows", &[4], counting(8)));
    let fc = graph.add_tensor(Tensor::shared("fc", &[2, 6], counting(12)));
    let x = graph.add_input("x", &[1, 4, 6, 6]);
    let empty = graph.add_input("empty", &[0, 2]);
    let conv = Conv2d {
        scale: Some(rows),
        bias: Some(rows),
        strides: [1, 2],
        pads: [2, 0, 2, 1],
        dilations: [2, 1],
        groups: 4,
        activation: Some(UnaryKind::Clip {
            lo: 0.0,
            hi: f32::INFINITY,
        }),
        ..Conv2d::new(conv)
    };
    let conv = add(&mut graph, "conv 1\n", conv, &[x]);
    let norm = BatchNorm {
        scale: rows,
        bias: rows,
        mean: rows,
        var: rows,
        epsilon: 1e-5,
    };
    let norm = add(&mut graph, "norm", norm, &[conv]);
    let constant = add(
        &mut graph,
        "c",
        Constant {
            tensor: TensorId(0),
        },
        &[],
    );
    let reduce = Reduce {
        kind: ReduceKind::Mean,
        axes: vec![0, 2, 3],
        keep_dims: false,
    };
    let reduce = add(&mut graph, "reduce", reduce, &[constant]);
    let reduce = add(
        &mut graph,
        "reshape",
        Reshape { shape: vec![1, 1] },
        &[reduce],
    );
    let add_op = Binary {
        kind: BinaryKind::Add,
    };
    let sum = add(&mut graph, "sum", add_op, &[norm, reduce]);
    let both = add(&mut graph, "both", Concat { axis: 3 }, &[sum, norm]);
    let pool = MaxPool {
        kernel: [2, 2],
        strides: [2, 2],
        pads: [0; 4],
        dilations: [1, 2],
    };
    let pool = add(&mut graph, "pool", pool, &[both]);
    let pad = Pad {
        low: vec![0, 0, 1, 1],
        high: vec![0; 4],
        interior: vec![0, 0, 1, 0],
        value: -0.0,
    };
    let pad = add(&mut graph, "pad", pad, &[pool]);
    let mean = AvgPool {
        kernel: [3, 2],
        strides: [1, 1],
        pads: [1, 0, 0, 0],
        overhang: [1, 1],
        count_include_pad: true,
    };
    let mean = add(&mut graph, "mean", mean, &[pad]);
    let resize = Resize {
        size: [3, 6],
        mode: ResizeMode::Nearest {
            rounding: Rounding::RoundPreferFloor,
        },
        transform: CoordinateTransform::HalfPixel,
        scales: [0.5, 2.0],
    };
    let resize = add(&mut graph, "resize", resize, &[mean]);
    let fc = FullyConnected {
        residual: true,
        ..FullyConnected::new(fc)
    };
    let slice = Slice {
        starts: vec![0, 0, 2, 0],
        sizes: vec![1, 4, 3, 2],
        steps: vec![1, 1, -1, 1],
    };
    let slice = add(&mut graph, "slice", slice, &[resize]);
    let fc = add(&mut graph, "fc", fc, &[resize, slice]);
    let swap = Transpose {
        permutation: vec![0, 1, 3, 2],
    };
    let swap = add(&mut graph, "swap", swap, &[fc]);
    let product = add(&mut graph, "product", MatMul, &[fc, swap]);
    let softmax = add(
        &mut graph,
        "softmax",
        Softmax { axis: 3, log: true },
        &[product],
    );
    let silu = add(
        &mut graph,
        "silu",
        Unary {
            kind: UnaryKind::Silu,
        },
        &[softmax],
    );
    let moved = add(&mut graph, "moved", Relayout, &[silu]);
    graph.node_mut(moved).layout = Layout::Strips(Strips {
        pitch: 4,
        width: 8,
        image: 2 * 8 * 4,
    });
    graph.node_mut(swap).layout = Layout::Bands(Bands {
        result_rows: 2,
        parts: 3,
        front: 8,
        left: 1,
        pitch: 12,
        rows: 5,
        plane: 72,
        image: 3 * 4 * 72,
    });
    graph.node_mut(conv).layout = Layout::Planes(Planes {
        phases: [2, 1],
        top: 1,
        left: 2,
        pitch: 10,
        rows: 7,
        plane: 80,
        image: 4 * 2 * 80,
    });
    graph.add_output("moved", moved);
    graph.add_output("a \"quoted\" name", empty);
    graph
}

#[test]
fn every_op_round_trips() {
    let graph = every_op();
    assert_eq!(verify_graph(&graph), Ok(()));
    let text = round_trip(&graph);
    for mnemonic in MNEMONICS.iter().filter(|mnemonic| **mnemonic != "input") {
        assert!(text.contains(&format!("= {mnemonic} ")), "{mnemonic}");
    }
    // Only the lines that show the less usual spellings.
    let shown = ["graph", "conv2d", "resize", "pad", "transpose", "relayout"];
    let is_shown = |line: &&str| {
        shown
            .iter()
            .any(|word| line.starts_with(word) || line.contains(&format!("= {word} ")))
    };
    let lines: Vec<&str> = text.lines().filter(is_shown).collect();
    expect![[r#"
        graph @"every op" levels(2) (%x: f32[1, 4, 6, 6], %empty: f32[0, 2]) -> (%moved, %empty as "a \"quoted\" name") {
          %"conv 1\n" = conv2d %x {weight=@"conv/w:0", scale=@rows, bias=@rows, strides=[1, 2], pads=[2, 0, 2, 1], dilations=[2, 1], groups=4, activation=clip(0.0, inf)} : f32[1, 4, 6, 3] planes(phases=[2, 1], top=1, left=2, pitch=10, rows=7, plane=80, image=640)
          %pad = pad %pool {low=[0, 0, 1, 1], high=[0, 0, 0, 0], interior=[0, 0, 1, 0], value=-0.0} : f32[1, 4, 6, 3]
          %resize = resize %mean {size=[3, 6], mode=nearest, rounding=round_prefer_floor, transform=half_pixel, scales=[0.5, 2.0]} : f32[1, 4, 3, 6]
          %swap = transpose %fc {permutation=[0, 1, 3, 2]} : f32[1, 4, 2, 3] bands(result_rows=2, parts=3, front=8, left=1, pitch=12, rows=5, plane=72, image=864)
          %moved = relayout %silu : f32[1, 4, 3, 3] strips(pitch=4, width=8, image=64)"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn long_lists_may_be_elided() {
    let mut graph = Graph::new("g", 1);
    graph.add_tensor(Tensor::shared("w", &[3], [1.0, 2.0, 3.0]));
    graph.add_tensor(Tensor::shared("b", &[1], [1.0]));
    let x = graph.add_input("x", &[1]);
    graph.add_output("x", x);
    let text = print_graph_with(&graph, PrintOptions { max_elems: Some(2) });
    expect![[r#"
        graph @g (%x: f32[1]) -> (%x) {
          tensor @w : f32[3] = elided(3, "1de40d89811fe258")
          tensor @b : f32[1] = [1]
        }
    "#]]
    .assert_eq(&text);
    let found = parse_graph(&text).unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "elided-tensor");
}

fn check_errors(source: &str, expected: Expect) {
    let found = parse_graph(source).unwrap_err();
    let lines: Vec<String> = found
        .iter()
        .map(|diagnostic| diagnostic.to_string())
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn every_wrong_statement_is_reported_once() {
    check_errors(
        "graph @g (%x: f32[1, 2]) -> (%d, %nowhere) {
  tensor @w : f32[3, 2] = [1, 2, 3, 4, 5]
  tensor @v : f32[2] = [1, 2] level [0, 256]
  %a = fully_connected %x {weight=@w} : f32[1, 3]  ; follows from @w
  %b = unary %a {kind=relu} : f32[1, 3]            ; follows from %a
  %c = conv9d %x : f32[1]
  %d = unary %x {kind=relu} : f32[1, 3]
  %e = unary %z {kind=relu} : f32[1, 2]
  %f = unary %x {kind=cosine} : f32[1, 2]
  %x = unary %x {kind=relu} : f32[1, 2]
  %g = concat %d, %x {axis=2} : f32[1, 4]
  %h = concat %d, %x {axis=1, axis=1} : f32[1, 4]
  %i = unary %x {kind=relu : f32[1, 2]
  %j = relayout %x : f32[1, 2] strips(pitch=1, width=4)
}",
        expect![[r#"
            error[length-mismatch]: 5 elements, the shape needs 6
              --> line 2, column 27, tensor "w"
            error[syntax-error]: expected a level from 0 to 255, found 256
              --> line 3, column 41
            error[unknown-op]: there is no op conv9d
              --> line 6, column 8, node "c" (conv9d)
              = note: the ops are avg_pool, batch_norm, binary, concat, constant, conv2d, fully_connected, input, matmul, max_pool, pad, reduce, relayout, reshape, resize, slice, softmax, transpose, unary
            error[shape-mismatch]: unary gives f32[1, 2], not f32[1, 3]
              --> line 7, column 31, node "d" (unary)
            error[unknown-value]: %z is not defined above
              --> line 8, column 14
            error[bad-attribute]: attribute kind: cosine is none of abs, ceil, clip, elu, erf, exp, floor, gelu, hard_sigmoid, hard_swish, leaky_relu, log, neg, reciprocal, relu, round, sigmoid, silu, softplus, sqrt, tanh
              --> line 9, column 8, node "f" (unary)
            error[duplicate-name]: %x is defined twice
              --> line 10, column 3
            error[shape-mismatch]: axis 2 is not an axis of [1, 2]
              --> line 11, column 8, node "g" (concat)
            error[bad-attribute]: attribute axis is given twice
              --> line 12, column 31
            error[syntax-error]: expected ',' or '}', found ':'
              --> line 13, column 28
            error[bad-attribute]: the layout needs image=..
              --> line 14, column 32
            error[unknown-value]: output %nowhere is not defined
              --> line 1, column 34"#]],
    );
}

#[test]
fn broken_headers() {
    let error = |source: &str| parse_graph(source).unwrap_err()[0].to_string();
    expect![[r#"
        error[syntax-error]: expected graph, found the end of the text
          --> line 1, column 1"#]]
    .assert_eq(&error(""));
    expect![[r#"
        error[length-mismatch]: 1 level names for 2 levels
          --> line 1, column 20"#]]
    .assert_eq(&error("graph @g levels(2) names(\"a\") () -> () {}"));
    expect![[r#"
        error[syntax-error]: the string has no closing quote on its line
          --> line 2, column 7"#]]
    .assert_eq(&error("; é\ngraph @\"g"));
    expect![[r#"
        error[shape-mismatch]: shape [9223372036854775807, 9] is too large
          --> line 1, column 15"#]]
    .assert_eq(&error(
        "graph @g (%x: f32[9223372036854775807, 9]) -> () {}",
    ));
    expect![[r#"
        error[syntax-error]: expected the end of the text, found graph
          --> line 1, column 22"#]]
    .assert_eq(&error("graph @g () -> () {} graph"));
}

proptest! {
    #[test]
    fn names_and_numbers_round_trip(
        names in proptest::collection::vec(any::<String>(), 4),
        bits in proptest::collection::vec(any::<u32>(), 20),
        levels in proptest::collection::vec(any::<u8>(), 20),
    ) {
        let mut graph = Graph::new(&names[0], 1);
        graph.level_names = vec![names[1].clone()];
        let data: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let alpha = if data[0].is_nan() { 0.5 } else { data[0] };
        let rule = LevelRule::Masked(LevelMask::new(levels, &[4, 1]));
        graph.add_tensor(Tensor { rule, ..Tensor::shared(&names[2], &[4, 5], data) });
        let x = graph.add_input(&names[1], &[]);
        let op = Unary { kind: UnaryKind::Elu { alpha } };
        let y = add(&mut graph, &names[2], op, &[x]);
        graph.add_output(&names[3], y);
        round_trip(&graph);
    }

    /// Cutting and doubling parts of a good text gives diagnostics or a graph, but no panic.
    #[test]
    fn damaged_text_never_panics(from in 0usize..3000, to in 0usize..3000, at in 0usize..3000) {
        let text: Vec<char> = print_graph(&every_op()).chars().collect();
        let clamp = |i: usize| i.min(text.len());
        let (from, to, at) = (clamp(from), clamp(to), clamp(at));
        let part = &text[from.min(to)..from.max(to)];
        let doubled: String = [&text[..at], part, &text[at..]].concat().into_iter().collect();
        let cut: String =
            [&text[..from.min(to)], &text[from.max(to)..]].concat().into_iter().collect();
        for damaged in [doubled, cut] {
            if let Ok(graph) = parse_graph(&damaged) {
                let _ = verify_graph(&graph);
                round_trip(&graph);
            }
        }
    }

    #[test]
    fn any_text_never_panics(text in any::<String>()) {
        let _ = parse_graph(&text);
    }
}
