//! Well-known networks as supernets: torchvision's topologies with seeded random weights and nested masks.
//!
//! Time, memory and agreement with other runtimes depend on shapes and densities, not on training, so
//! these stand in for trained networks of any size without a download. Names of nodes and weights are
//! torchvision's. Weights depend on the seed and their name only: every choice of masks and batch norm
//! gives the same network at the top level, and equal options give equal bytes on every machine.
//!
//! `zoo.rs` is the command line; tests call [`build`].

mod builder;
mod ds_cnn;
mod mask;
mod mobilenet_v2;
mod random;
mod resnet;
mod sparsity;

use condensec::frontend::onnx::proto::ModelProto;

pub use sparsity::{Block, Densities, MaskRule, Sparsity};

use builder::Builder;

/// A network of the zoo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Depthwise separable network of MLPerf Tiny's keyword spotting, input 1x1x49x10.
    DsCnn,
    /// MobileNetV2, width 1.0, input 1x3x224x224.
    MobileNetV2,
    /// ResNet-18, input 1x3x224x224.
    ResNet18,
    /// ResNet-50 v1.5 (stride in the 3x3 convolutions), input 1x3x224x224.
    ResNet50,
}

/// Every network of the zoo.
pub const NETWORKS: &[Network] = &[
    Network::DsCnn,
    Network::MobileNetV2,
    Network::ResNet18,
    Network::ResNet50,
];

/// What becomes of batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchNorm {
    /// Folded into the weights and a bias, with the statistics of the top level.
    Folded,
    /// Nodes, with the statistics of the top level at all levels.
    Shared,
    /// Nodes, with statistics for each level (`P__levels`).
    PerLevel,
}

/// How to write a network.
#[derive(Debug, Clone)]
pub struct ZooOptions {
    /// Level data; `None` writes an ordinary dense network.
    pub sparsity: Option<Sparsity>,
    /// What becomes of batch norm.
    pub batch_norm: BatchNorm,
    /// Seed of weights, statistics and masks.
    pub seed: u64,
}

/// A network that [`build`] made.
#[derive(Debug, Clone)]
pub struct ZooModel {
    /// The ONNX model: one input `input`, one output `output`.
    pub model: ModelProto,
    /// Trainable parameters: weights, biases, batch norm's scales and biases. Statistics do not count.
    pub n_parameters: u64,
    /// Multiply-adds of convolutions and fully connected layers with all weights.
    pub macs: u64,
    /// The levels, L0 first; empty for a dense network.
    pub levels: Vec<ZooLevel>,
}

/// What a level of a [`ZooModel`] keeps.
#[derive(Debug, Clone)]
pub struct ZooLevel {
    /// Name in the metadata, such as `d10` for a density of 0.1.
    pub name: String,
    /// Kept share of the weights of all maskable layers.
    pub density: f64,
    /// Multiply-adds with the kept weights.
    pub macs: u64,
}

/// Makes `network`.
pub fn build(network: Network, options: &ZooOptions) -> ZooModel {
    let builder = Builder::new(options);
    match network {
        Network::DsCnn => ds_cnn::build(builder),
        Network::MobileNetV2 => mobilenet_v2::build(builder),
        Network::ResNet18 => resnet::build_18(builder),
        Network::ResNet50 => resnet::build_50(builder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec::frontend::onnx::proto::{TensorProto, encode_model};

    fn options(sparsity: Option<Sparsity>, batch_norm: BatchNorm) -> ZooOptions {
        ZooOptions {
            sparsity,
            batch_norm,
            seed: 1,
        }
    }

    fn sparsity(densities: &str, block: &str) -> Sparsity {
        Sparsity {
            densities: densities.parse().unwrap(),
            block: block.parse().unwrap(),
            rule: MaskRule::Random,
            dense_classifier: false,
        }
    }

    fn initializer<'a>(model: &'a ModelProto, name: &str) -> &'a TensorProto {
        let graph = model.graph.as_ref().unwrap();
        graph
            .initializer
            .iter()
            .find(|tensor| tensor.name() == name)
            .unwrap_or_else(|| panic!("no initializer `{name}`"))
    }

    /// torchvision's `num_params`, and MLPerf Tiny's network without the biases that batch norm makes useless.
    #[test]
    fn parameters_and_multiply_adds_are_the_published_ones() {
        for (network, n_parameters, macs) in [
            (Network::DsCnn, 22_604, 2_656_768),
            (Network::MobileNetV2, 3_504_872, 300_774_272),
            (Network::ResNet18, 11_689_512, 1_814_073_344),
            (Network::ResNet50, 25_557_032, 4_089_184_256),
        ] {
            let built = build(network, &options(None, BatchNorm::Shared));
            // Batch norm has two parameters per channel where a folded network has one bias.
            let folded = build(network, &options(None, BatchNorm::Folded));
            assert_eq!(built.macs, macs, "{network:?}");
            assert_eq!(folded.macs, macs, "{network:?}");
            let n_channels = built.n_parameters - folded.n_parameters;
            let expected = match network {
                Network::DsCnn => n_parameters + n_channels,
                _ => n_parameters,
            };
            assert_eq!(built.n_parameters, expected, "{network:?}");
        }
    }

    #[test]
    fn equal_options_give_equal_bytes_and_seeds_differ() {
        let mut options = options(Some(sparsity("0.1,1.0", "4x1")), BatchNorm::PerLevel);
        let bytes = encode_model(&build(Network::DsCnn, &options).model);
        assert_eq!(encode_model(&build(Network::DsCnn, &options).model), bytes);
        options.seed = 2;
        assert_ne!(encode_model(&build(Network::DsCnn, &options).model), bytes);
    }

    #[test]
    fn masks_do_not_change_the_weights_of_a_full_top_level() {
        let dense = build(Network::DsCnn, &options(None, BatchNorm::Folded)).model;
        let nested = options(Some(sparsity("1.0,0.25", "8x1")), BatchNorm::Folded);
        let nested = build(Network::DsCnn, &nested).model;
        for tensor in &dense.graph.as_ref().unwrap().initializer {
            assert_eq!(initializer(&nested, tensor.name()), tensor);
        }
    }

    /// A stored zero is a pruned weight: the top level would not be dense.
    #[test]
    fn no_weight_of_a_dense_network_is_zero() {
        let model = build(Network::MobileNetV2, &options(None, BatchNorm::Folded)).model;
        for tensor in &model.graph.as_ref().unwrap().initializer {
            let values = tensor.to_f32_vec().unwrap();
            let is_bound = tensor.name() == "relu6.min";
            assert!(is_bound || !values.contains(&0.0), "{}", tensor.name());
        }
    }

    #[test]
    fn levels_are_sorted_named_and_as_dense_as_asked() {
        let options = options(Some(sparsity("1.0,0.125,0.5", "4x1")), BatchNorm::Folded);
        let built = build(Network::DsCnn, &options);
        assert_eq!(built.model.metadata("condense.version"), Some("1"));
        assert_eq!(built.model.metadata("condense.levels"), Some("3"));
        assert_eq!(
            built.model.metadata("condense.level_names"),
            Some("d12.5,d50,full")
        );
        let densities: Vec<f64> = built.levels.iter().map(|level| level.density).collect();
        assert_eq!(densities, [0.125, 0.5, 1.0]);
        assert_eq!(built.levels[2].macs, built.macs);
        assert!(built.levels[0].macs < built.levels[1].macs);
    }

    #[test]
    fn the_first_convolution_and_depthwise_ones_stay_dense() {
        let options = options(Some(sparsity("0.5", "4x1")), BatchNorm::Folded);
        let model = build(Network::DsCnn, &options).model;
        let graph = model.graph.as_ref().unwrap();
        let masked: Vec<&str> = graph
            .initializer
            .iter()
            .filter_map(|tensor| tensor.name().strip_suffix(".weight__level"))
            .collect();
        assert_eq!(
            masked,
            [
                "block1.pointwise",
                "block2.pointwise",
                "block3.pointwise",
                "block4.pointwise",
                "fc"
            ]
        );
        assert_eq!(
            model.metadata("condense.block:block1.pointwise.weight"),
            Some("4x1x1x1")
        );
        assert_eq!(model.metadata("condense.block:fc.weight"), Some("4x1"));
    }

    #[test]
    fn a_grid_is_rounded_up_and_weights_that_no_level_keeps_are_zero() {
        let options = options(Some(sparsity("0.5,0.25", "8x1")), BatchNorm::Folded);
        let model = build(Network::DsCnn, &options).model;
        let levels = initializer(&model, "fc.weight__level");
        assert_eq!(levels.dims, [2, 64]); // 12 rows, 8 to a block
        let levels = levels.raw_data();
        for (value, n) in [(0, 32), (1, 32), (2, 64)] {
            assert_eq!(levels.iter().filter(|&&level| level == value).count(), n);
        }
        let weights = initializer(&model, "fc.weight").to_f32_vec().unwrap();
        for (index, weight) in weights.iter().enumerate() {
            let level = levels[index / 64 / 8 * 64 + index % 64];
            assert_eq!(*weight == 0.0, level == 2, "{index}");
        }
    }

    #[test]
    fn the_plain_batch_norm_is_that_of_the_top_level() {
        let options = options(Some(sparsity("0.1,0.5,1.0", "4x1")), BatchNorm::PerLevel);
        let model = build(Network::DsCnn, &options).model;
        for parameter in ["weight", "bias", "running_mean", "running_var"] {
            let name = format!("block1.pointwise_bn.{parameter}");
            let plain = initializer(&model, &name).to_f32_vec().unwrap();
            let rows = initializer(&model, &format!("{name}__levels"));
            assert_eq!(rows.dims, [3, 64]);
            let rows = rows.to_f32_vec().unwrap();
            assert_eq!(&rows[128..], &plain[..]);
            assert_ne!(&rows[..64], &plain[..]);
        }
    }
}
