//! The recipe as a whole, on a small residual network.

use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::ops::{
    BatchNorm, Binary, BinaryKind, Conv2d, FullyConnected, Reduce, ReduceKind,
};
use condensec_ir::ops::{Reshape, Unary, UnaryKind};
use condensec_ir::tensor::LevelRule;
use condensec_ir::verify::verify_graph;
use condensec_ir::{Graph, LevelId, NodeId, Op, Tensor, TensorId};
use condensec_nest::{
    BlockShape, Calibration, NestError, Nested, NestedLayer, Ranking, Recipe, nest,
};

/// Numbers that are the same everywhere, about normally distributed.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.uniform()).sum::<f32>() * 1.4 - 4.2
    }

    fn values(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.normal() * scale).collect()
    }
}

struct Builder {
    graph: Graph,
    random: Random,
}

impl Builder {
    fn add(&mut self, name: &str, op: impl Into<Op>, operands: &[NodeId]) -> NodeId {
        let node = self
            .graph
            .add_node(name, op.into(), operands, Default::default());
        node.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn tensor(&mut self, name: String, shape: &[usize], scale: f32, offset: f32) -> TensorId {
        let mut values = self.random.values(shape.iter().product(), scale);
        values.iter_mut().for_each(|value| *value += offset);
        self.graph.add_tensor(Tensor::shared(name, shape, values))
    }

    fn conv(&mut self, name: &str, x: NodeId, m: usize, groups: usize, kernel: usize) -> NodeId {
        let c = self.graph.node(x).shape[1] / groups;
        let scale = (2.0 / (c * kernel * kernel) as f32).sqrt();
        let weight = self.tensor(format!("{name}.w"), &[m, c, kernel, kernel], scale, 0.0);
        let op = Conv2d {
            pads: [kernel / 2; 4],
            groups,
            ..Conv2d::new(weight)
        };
        self.add(name, op, &[x])
    }

    fn norm(&mut self, name: &str, x: NodeId) -> NodeId {
        let c = [self.graph.node(x).shape[1]];
        let op = BatchNorm {
            scale: self.tensor(format!("{name}.gamma"), &c, 0.1, 1.0),
            bias: self.tensor(format!("{name}.beta"), &c, 0.1, 0.0),
            mean: self.tensor(format!("{name}.mean"), &c, 0.1, 0.0),
            var: self.tensor(format!("{name}.var"), &c, 0.01, 1.0),
            epsilon: 1e-5,
        };
        self.add(name, op, &[x])
    }

    fn relu(&mut self, name: &str, x: NodeId) -> NodeId {
        let kind = UnaryKind::Relu;
        self.add(name, Unary { kind }, &[x])
    }
}

/// stem - [conv bn relu conv bn + shortcut relu] - depthwise - grouped - mean - two fully connected
fn network() -> Graph {
    let mut b = Builder {
        graph: Graph::new("net", 1),
        random: Random(7),
    };
    let x = b.graph.add_input("x", &[1, 3, 8, 8]);
    let stem = b.conv("stem", x, 16, 1, 3);
    let stem = b.relu("stem.relu", stem);
    let mut y = b.conv("conv1", stem, 16, 1, 3);
    y = b.norm("bn1", y);
    y = b.relu("relu1", y);
    y = b.conv("conv2", y, 16, 1, 3);
    y = b.norm("bn2", y);
    let kind = BinaryKind::Add;
    y = b.add("sum", Binary { kind }, &[y, stem]);
    y = b.relu("relu2", y);
    y = b.conv("depthwise", y, 16, 16, 3);
    y = b.conv("grouped", y, 24, 2, 1);
    y = b.relu("relu3", y);
    let mean = Reduce {
        kind: ReduceKind::Mean,
        axes: vec![2, 3],
        keep_dims: false,
    };
    y = b.add("mean", mean, &[y]);
    y = b.add("flat", Reshape { shape: vec![1, 24] }, &[y]);
    let weight = b.tensor("hidden.w".into(), &[16, 24], 0.2, 0.0);
    y = b.add("hidden", FullyConnected::new(weight), &[y]);
    y = b.relu("relu4", y);
    let weight = b.tensor("fc.w".into(), &[10, 16], 0.2, 0.0);
    let y = b.add("fc", FullyConnected::new(weight), &[y]);
    b.graph.add_output("y", y);
    b.graph
}

fn inputs(seed: u64, n: usize) -> Vec<Array> {
    let mut random = Random(seed);
    // Channels and pixels that go together, as in images: without it no weight could stand in for another.
    let mut one = || {
        let base = random.values(4, 1.0);
        let noise = random.values(192, 0.3);
        Array::from_fn(&[1, 3, 8, 8], |i| {
            let at = (i[1] * 8 + i[2]) * 8 + i[3];
            base[0] + base[1] * (i[2] as f32 - 4.0) / 4.0 + base[2 + i[1] % 2] + noise[at]
        })
    };
    (0..n).map(|_| one()).collect()
}

fn calibration() -> Calibration {
    Calibration {
        inputs: vec![inputs(1, 80)],
    }
}

fn run(recipe: &Recipe) -> Nested {
    let nested = nest(&network(), calibration(), recipe, &mut |_| {}).unwrap();
    verify_graph(&nested.graph).unwrap();
    nested
}

fn recipe() -> Recipe {
    Recipe::new(vec![0.25, 0.5, 1.0], BlockShape(vec![4]))
}

fn weight<'g>(graph: &'g Graph, name: &str) -> &'g Tensor {
    graph.tensors().iter().find(|t| t.name == name).unwrap()
}

/// Mean squared difference of the outputs at `level` to those of the trained network.
fn error(graph: &Graph, level: u32) -> f64 {
    let trained = network();
    let mut sum = 0.0;
    for x in inputs(2, 12) {
        let y = &eval_graph(graph, LevelId(level), std::slice::from_ref(&x)).unwrap()[0];
        let t = &eval_graph(&trained, LevelId(0), &[x]).unwrap()[0];
        let squares = y
            .data
            .iter()
            .zip(&t.data)
            .map(|(y, t)| f64::from(y - t).powi(2));
        sum += squares.sum::<f64>();
    }
    sum
}

#[test]
fn every_pruned_layer_has_the_density_asked_for() {
    let nested = run(&recipe());
    let pruned: Vec<&str> = nested
        .layers
        .iter()
        .filter(|layer| layer.is_pruned)
        .map(|layer| nested.graph.node(layer.node).name.as_str())
        .collect();
    assert_eq!(pruned, ["conv1", "conv2", "grouped", "hidden"]);
    for name in ["conv1.w", "conv2.w", "grouped.w", "hidden.w"] {
        let weight = weight(&nested.graph, name);
        for (level, density) in [0.25, 0.5, 1.0].iter().enumerate() {
            let kept = weight.n_kept(LevelId(level as u32)) as f64 / weight.n_elems() as f64;
            assert!((kept - density).abs() < 0.01, "{name} {level} {kept}");
        }
    }
    for name in ["stem.w", "depthwise.w", "fc.w"] {
        assert_eq!(
            weight(&nested.graph, name).rule,
            LevelRule::Shared,
            "{name}"
        );
    }
}

#[test]
fn rows_of_a_block_agree() {
    let mut recipe = recipe();
    recipe.groups_rows = false;
    let nested = run(&recipe);
    let weight = weight(&nested.graph, "conv1.w");
    let LevelRule::Masked(mask) = &weight.rule else {
        panic!()
    };
    assert_eq!(mask.block(), [4, 1, 1, 1]);
    let n = weight.n_elems() / 16;
    for (at, value) in mask.values().iter().enumerate() {
        assert_eq!(*value, mask.values()[at / n / 4 * 4 * n + at % n]);
    }
}

/// The groups of `grouped` have 12 rows, so their second blocks of 8 are cut short.
#[test]
fn masks_are_constant_on_the_blocks_that_they_name() {
    for groups_rows in [false, true] {
        let nested = run(&Recipe {
            groups_rows,
            ..Recipe::new(vec![0.25, 0.5, 1.0], BlockShape(vec![8]))
        });
        for weight in nested.graph.tensors() {
            let LevelRule::Masked(mask) = &weight.rule else {
                continue;
            };
            let (rows, n) = (mask.block()[0], weight.n_elems() / weight.shape[0]);
            for (at, value) in mask.values().iter().enumerate() {
                let first = at / n / rows * rows;
                assert_eq!(*value, mask.values()[first * n + at % n], "{}", weight.name);
            }
        }
    }
}

#[test]
fn only_channels_of_convolutions_change_places() {
    let nested = run(&recipe());
    let is_regrouped = |name: &str| {
        let is_named = |layer: &&NestedLayer| nested.graph.node(layer.node).name == name;
        nested.layers.iter().find(is_named).unwrap().is_regrouped
    };
    assert!(is_regrouped("conv1") && is_regrouped("grouped") && !is_regrouped("hidden"));
}

#[test]
fn every_step_of_the_recipe_helps() {
    let plain = Recipe {
        ranking: Ranking::Magnitude,
        groups_rows: false,
        repairs: false,
        matches_statistics: false,
        ..recipe()
    };
    let matched = Recipe {
        ranking: Ranking::Obs,
        matches_statistics: true,
        ..plain.clone()
    };
    let repaired = Recipe {
        repairs: true,
        ..matched.clone()
    };
    let errors: Vec<f64> = [plain, matched, repaired]
        .iter()
        .map(|recipe| error(&run(recipe).graph, 0))
        .collect();
    assert!(errors[1] < 0.7 * errors[0], "{errors:?}");
    assert!(errors[2] < 0.9 * errors[1], "{errors:?}");
}

/// The last layer makes up for what its inputs have lost, unless they are too few to tell.
#[test]
fn the_last_layer_is_fitted_to_enough_inputs() {
    let recipe = Recipe {
        matches_statistics: false,
        ..recipe()
    };
    let with_inputs = |n: usize| {
        let calibration = Calibration {
            inputs: vec![inputs(1, n)],
        };
        nest(&network(), calibration, &recipe, &mut |_| {}).unwrap()
    };
    let trained = network();
    let trained = &weight(&trained, "fc.w").data;
    // Its rows have 16 weights.
    assert_eq!(weight(&with_inputs(63).graph, "fc.w").data, *trained);
    let fitted = with_inputs(64).graph;
    assert_ne!(weight(&fitted, "fc.w").data, *trained);
    let mut unfitted = fitted.clone();
    let fc = TensorId(
        unfitted
            .tensors()
            .iter()
            .position(|t| t.name == "fc.w")
            .unwrap() as u32,
    );
    let tensor = Tensor::shared("fc.w", &[10, 16], trained.to_vec());
    unfitted.set_tensor(fc, tensor);
    assert!(error(&fitted, 0) < 0.9 * error(&unfitted, 0));
}

#[test]
fn the_top_level_can_stay_exact() {
    let mut recipe = recipe();
    recipe.repairs = false;
    let nested = run(&recipe);
    let x = inputs(3, 1);
    let top = eval_graph(&nested.graph, LevelId(2), &x).unwrap();
    assert_eq!(top, eval_graph(&network(), LevelId(0), &x).unwrap());
    recipe.repairs = true;
    assert!(error(&run(&recipe).graph, 2) > 0.0);
}

#[test]
fn the_same_inputs_give_the_same_bits() {
    let bits = |nested: &Nested| -> Vec<u32> {
        let tensors = nested.graph.tensors().iter();
        tensors
            .flat_map(|t| t.data.iter().map(|v| v.to_bits()))
            .collect()
    };
    let bits_with = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads);
        pool.build().unwrap().install(|| bits(&run(&recipe())))
    };
    assert_eq!(bits_with(1), bits_with(1));
    assert_eq!(bits_with(1), bits_with(3));
}

#[test]
fn magnitude_needs_no_inputs() {
    let recipe = Recipe {
        ranking: Ranking::Magnitude,
        repairs: false,
        matches_statistics: false,
        ..recipe()
    };
    let nested = nest(&network(), Calibration::default(), &recipe, &mut |_| {}).unwrap();
    assert_eq!(
        weight(&nested.graph, "conv1.w").data,
        weight(&network(), "conv1.w").data
    );
}

#[test]
fn many_levels() {
    let densities: Vec<f64> = (1..=16).map(|i| f64::from(i) / 16.0).collect();
    let nested = run(&Recipe::new(densities, BlockShape(vec![1])));
    assert_eq!(nested.graph.n_levels, 16);
    assert!(error(&nested.graph, 15) < error(&nested.graph, 3));
}

/// A convolution with a bias before another, for inputs of `batch` images.
fn two_convolutions(batch: usize, shares_bias: bool) -> Graph {
    let mut b = Builder {
        graph: Graph::new("net", 1),
        random: Random(9),
    };
    let x = b.graph.add_input("x", &[batch, 3, 8, 8]);
    let stem = b.conv("stem", x, 8, 1, 3);
    let first = b.conv("first", stem, 8, 1, 3);
    let second = b.conv("second", first, 8, 1, 1);
    let last = b.conv("last", second, 4, 1, 1);
    let bias = b.tensor("bias".into(), &[8], 0.5, 0.0);
    let own = b.tensor("own".into(), &[8], 0.5, 0.0);
    for (node, bias) in [
        (first, bias),
        (second, if shares_bias { bias } else { own }),
    ] {
        let Op::Conv2d(conv) = &mut b.graph.node_mut(node).op else {
            unreachable!()
        };
        conv.bias = Some(bias);
    }
    b.graph.add_output("y", last);
    b.graph
}

/// A bias that two layers read cannot have the values of one of them.
#[test]
fn shared_parameters_stay() {
    let graph = two_convolutions(1, true);
    let refused = nest(&graph, calibration(), &recipe(), &mut |_| {}).err();
    assert_eq!(refused, Some(NestError::NoLayers));
    let nested = nest(
        &two_convolutions(1, false),
        calibration(),
        &recipe(),
        &mut |_| {},
    )
    .unwrap();
    assert!(weight(&nested.graph, "own").is_per_level());
}

/// Its moments would not fit the memory.
#[test]
fn a_wide_layer_keeps_its_weights() {
    let narrow = Recipe {
        max_columns: 100,
        ..recipe()
    };
    let nested = run(&narrow);
    let is_too_wide = |layer: &&NestedLayer| layer.is_too_wide;
    assert_eq!(nested.layers.iter().filter(is_too_wide).count(), 2);
    for name in ["conv1.w", "conv2.w"] {
        let (found, trained) = (weight(&nested.graph, name), network());
        assert_eq!(found.data, weight(&trained, name).data, "{name}");
        assert_ne!(found.rule, LevelRule::Shared, "{name}");
    }
}

#[test]
fn samples_may_come_in_batches() {
    let images = inputs(1, 80);
    let pairs = images.chunks(2).map(|pair| {
        Array::new(
            &[2, 3, 8, 8],
            [pair[0].data.as_slice(), &pair[1].data].concat(),
        )
    });
    let recipe = Recipe {
        // All of them, so that both see the same.
        positions: usize::MAX,
        ..recipe()
    };
    let calibration = |images: Vec<Array>| Calibration {
        inputs: vec![images],
    };
    let run = |batch: usize, images: Vec<Array>| {
        let graph = two_convolutions(batch, false);
        nest(&graph, calibration(images), &recipe, &mut |_| {})
            .unwrap()
            .graph
    };
    let (one, two) = (run(1, images.clone()), run(2, pairs.collect()));
    for (one, two) in one.tensors().iter().zip(two.tensors()) {
        assert_eq!(one.rule, two.rule, "{}", one.name);
        for (a, b) in one.data.iter().zip(two.data.iter()) {
            assert!((a - b).abs() < 1e-3, "{}: {a} {b}", one.name);
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |recipe: &Recipe, calibration: Calibration| {
        nest(&network(), calibration, recipe, &mut |_| {}).unwrap_err()
    };
    let with = |densities: &[f64]| Recipe::new(densities.to_vec(), BlockShape(vec![4]));
    for densities in [
        &[0.5, 0.5][..],
        &[1.0, 0.5],
        &[0.0, 1.0],
        &[0.5, 1.5],
        &[f64::NAN],
    ] {
        let error = refused(&with(densities), calibration());
        assert!(matches!(error, NestError::Densities(_)), "{densities:?}");
    }
    assert_eq!(refused(&with(&[]), calibration()), NestError::LevelCount(0));
    assert_eq!(
        refused(&recipe(), Calibration::default()),
        NestError::NoCalibration
    );
    let dense = Recipe {
        dense_layers: network().order(),
        ..recipe()
    };
    assert_eq!(refused(&dense, calibration()), NestError::NoLayers);
    let mut broken = calibration();
    broken.inputs[0][3].data[5] = f32::NAN;
    assert!(matches!(
        refused(&recipe(), broken),
        NestError::NotFinite { .. }
    ));
    let wide = Calibration {
        inputs: vec![vec![Array::zeros(&[1, 3, 8, 9])]],
    };
    assert!(matches!(
        refused(&recipe(), wide),
        NestError::InputShape { .. }
    ));
}
