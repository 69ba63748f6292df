//! The models of these tests: as small as they can be, with numbers that nobody trained.

use condensec::frontend::onnx::proto::{
    AttributeProto, DataType, Dimension, GraphProto, ModelProto, NodeProto, TensorProto,
    ValueInfoProto,
};

/// Levels of [`supernet`].
pub const N_LEVELS: usize = 3;

/// Shape of its input, one sample.
pub const INPUT: [usize; 4] = [1, 2, 6, 6];

/// Classes of its output.
pub const N_CLASSES: usize = 3;

/// A graph in text form with two levels: `y = relu(fc x)`, the second half of `fc` from L1 on.
pub const TEXT: &str = "\
graph @prefix levels(2) names(\"small\", \"full\") (%x: f32[1, 2]) -> (%y as \"logits\") {
  tensor @fc : f32[4, 2] = [1, 2, 3, 4, 5, 6, 7, 8] level [0, 0, 0, 0, 1, 1, 1, 1] block [2, 2]
  %y = fully_connected %x {weight=@fc, activation=relu} : f32[1, 4]
}
";

/// Numbers in [-1, 1) without a pattern that a wrong index could hide behind.
pub fn numbers(n: usize, seed: u32) -> Vec<f32> {
    harness::numbers::seeded(n, seed)
}

/// 3x3 convolution of 4 channels with three levels in 4x1 blocks, ReLU, mean over the image, dense layer of 3 classes.
/// The batch is open.
pub fn supernet() -> ModelProto {
    let input = [Dimension::from("N"), 2.into(), 6.into(), 6.into()];
    let output = [Dimension::from("N"), 3.into()];
    // The column of a block decides its level: 18 columns, 6 of each.
    let levels: Vec<u8> = (0..18).map(|column| (column * 7 % 18 / 6) as u8).collect();
    let graph = GraphProto {
        name: Some("supernet".into()),
        node: vec![
            NodeProto::new(
                "Conv",
                "conv",
                &["image", "conv.weight", "conv.bias"],
                &["features"],
                vec![AttributeProto::ints("pads", &[1, 1, 1, 1])],
            ),
            NodeProto::new("Relu", "relu", &["features"], &["active"], vec![]),
            NodeProto::new("GlobalAveragePool", "mean", &["active"], &["means"], vec![]),
            NodeProto::new("Flatten", "flat", &["means"], &["flat"], vec![]),
            NodeProto::new(
                "Gemm",
                "classifier",
                &["flat", "fc.weight"],
                &["scores"],
                vec![AttributeProto::int("transB", 1)],
            ),
        ],
        initializer: vec![
            TensorProto::from_f32("conv.weight", &[4, 2, 3, 3], &numbers(72, 1)),
            TensorProto::from_f32("conv.bias", &[4], &numbers(4, 2)),
            TensorProto::from_f32("fc.weight", &[3, 4], &numbers(12, 3)),
            TensorProto::from_u8("conv.weight__level", &[1, 2, 3, 3], &levels),
        ],
        input: vec![ValueInfoProto::tensor("image", DataType::Float, input)],
        output: vec![ValueInfoProto::tensor("scores", DataType::Float, output)],
        ..Default::default()
    };
    let mut model = plain_model(graph);
    model.set_metadata("condense.version", "1");
    model.set_metadata("condense.levels", N_LEVELS.to_string());
    model.set_metadata("condense.level_names", "tiny,half,full");
    model.set_metadata("condense.block:conv.weight", "4x1x1x1");
    model
}

/// `graph` as a model of operator set 13.
pub fn plain_model(graph: GraphProto) -> ModelProto {
    ModelProto::of_graph(graph, 13)
}

/// `sum = a + b`, shape `[2]` each.
pub fn two_inputs() -> ModelProto {
    let value = |name: &str| ValueInfoProto::tensor(name, DataType::Float, [2]);
    plain_model(GraphProto {
        name: Some("sum".into()),
        node: vec![NodeProto::new("Add", "add", &["a", "b"], &["sum"], vec![])],
        input: vec![value("a"), value("b")],
        output: vec![value("sum")],
        ..Default::default()
    })
}
