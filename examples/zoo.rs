//! `model-zoo`: writes a network of the [`model_zoo`] as supernet ONNX.
//!
//! The command line is here and nothing else, so that tests build the same networks in memory.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use condensec::frontend::onnx::proto::encode_model;
use condensec_examples::model_zoo::{
    self, BatchNorm, Block, Densities, MaskRule, Network, Sparsity, ZooOptions,
};

/// Writes a well-known network as ONNX supernet: seeded random weights, nested sparsity masks.
///
/// The topologies are those of torchvision and MLPerf Tiny. The weights are not trained: such a file is good for
/// time, memory and agreement of numbers, not for accuracy. Equal arguments give equal bytes.
#[derive(Parser)]
#[command(
    name = "model-zoo",
    after_help = "Example: model-zoo resnet50 --densities 0.1,0.3,1.0 --block 4x1 -o resnet50.onnx"
)]
struct Args {
    /// The network.
    #[arg(value_enum)]
    network: NetworkArg,

    /// Kept share of the maskable weights, one number per level, in any order; the sparsest becomes L0.
    ///
    /// If no level is 1.0, the weights that no level keeps are stored as zeros.
    #[arg(long, value_name = "D,..", default_value = "0.1,0.2,0.3,0.5,1.0")]
    densities: Densities,

    /// Shape of the blocks that masks keep or drop, output channels x input channels.
    #[arg(long, value_name = "ROWSxCOLS", default_value = "4x1")]
    block: Block,

    /// Which blocks a level keeps.
    #[arg(long, value_enum, default_value_t = MasksArg::Random)]
    masks: MasksArg,

    /// Leave the last fully connected layer dense, as the first convolution and depthwise ones always are.
    #[arg(long)]
    dense_classifier: bool,

    /// Write no level data: the same weights as an ordinary network.
    #[arg(long, conflicts_with_all = ["densities", "block", "masks", "dense_classifier"])]
    dense: bool,

    /// What becomes of batch norm.
    #[arg(long, value_enum, default_value_t = BatchNormArg::Folded)]
    batch_norm: BatchNormArg,

    /// Seed of weights and masks.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum NetworkArg {
    /// Keyword spotting network of MLPerf Tiny: 1x1x49x10, 22.6 k parameters, 2.7 M multiply-adds.
    DsCnn,
    /// MobileNetV2 1.0: 1x3x224x224, 3.5 M parameters, 0.30 G multiply-adds.
    #[value(name = "mobilenet-v2", alias = "mobilenetv2")]
    MobilenetV2,
    /// ResNet-18: 1x3x224x224, 11.7 M parameters, 1.8 G multiply-adds.
    #[value(name = "resnet18")]
    Resnet18,
    /// ResNet-50 v1.5: 1x3x224x224, 25.6 M parameters, 4.1 G multiply-adds.
    #[value(name = "resnet50")]
    Resnet50,
}

#[derive(Clone, Copy, ValueEnum)]
enum MasksArg {
    /// The blocks with the largest sums of squares of each layer.
    Magnitude,
    /// Blocks by lot, as many in each layer.
    Random,
}

#[derive(Clone, Copy, ValueEnum)]
enum BatchNormArg {
    /// Folded into the weights and a bias.
    Folded,
    /// Nodes with one set of statistics.
    Shared,
    /// Nodes with statistics per level.
    PerLevel,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let network = match args.network {
        NetworkArg::DsCnn => Network::DsCnn,
        NetworkArg::MobilenetV2 => Network::MobileNetV2,
        NetworkArg::Resnet18 => Network::ResNet18,
        NetworkArg::Resnet50 => Network::ResNet50,
    };
    let sparsity = Sparsity {
        densities: args.densities,
        block: args.block,
        rule: match args.masks {
            MasksArg::Magnitude => MaskRule::Magnitude,
            MasksArg::Random => MaskRule::Random,
        },
        dense_classifier: args.dense_classifier,
    };
    let options = ZooOptions {
        sparsity: (!args.dense).then_some(sparsity),
        batch_norm: match args.batch_norm {
            BatchNormArg::Folded => BatchNorm::Folded,
            BatchNormArg::Shared => BatchNorm::Shared,
            BatchNormArg::PerLevel => BatchNorm::PerLevel,
        },
        seed: args.seed,
    };
    let built = model_zoo::build(network, &options);

    if let Some(dir) = args.output.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    std::fs::write(&args.output, encode_model(&built.model))
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    println!(
        "{}: {} parameters, {} multiply-adds",
        args.output.display(),
        built.n_parameters,
        built.macs
    );
    for (level, summary) in built.levels.iter().enumerate() {
        println!(
            "  L{level} {:8} density {:.4}  {} multiply-adds",
            summary.name, summary.density, summary.macs
        );
    }
    Ok(())
}
