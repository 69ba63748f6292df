//! DS-CNN, the keyword spotting network of MLPerf Tiny: 49 frames of 10 features, 12 words.
//!
//! The reference pads as TensorFlow's "same", unevenly for an even window, and its Conv biases in front of
//! batch norm, which that makes useless, are left out here.

use super::ZooModel;
use super::builder::{Builder, Conv, ConvNames};

const CHANNELS: usize = 64;
const N_BLOCKS: usize = 4;
const N_WORDS: usize = 12;

pub(super) fn build(mut builder: Builder<'_>) -> ZooModel {
    let input = builder.input([1, 49, 10]);
    let first = Conv::square(CHANNELS, 3, 2)
        .window([10, 4], [4, 1, 5, 1])
        .dense();
    let names = ConvNames {
        conv: "conv1",
        norm: "bn1",
        gain: 1.0,
    };
    let mut x = builder.conv_norm(&names, &first, &input);
    x = builder.relu("relu1", &x);
    for block in 1..=N_BLOCKS {
        let layers = [
            ("depthwise", Conv::depthwise(CHANNELS, 1)),
            ("pointwise", Conv::square(CHANNELS, 1, 1)),
        ];
        for (layer, conv) in layers {
            let name = format!("block{block}.{layer}");
            let names = ConvNames {
                conv: &name,
                norm: &format!("{name}_bn"),
                gain: 1.0,
            };
            x = builder.conv_norm(&names, &conv, &x);
            x = builder.relu(&format!("{name}_relu"), &x);
        }
    }
    x = builder.pool_and_flatten("avgpool", "flatten", &x);
    builder.classifier("ds_cnn", "fc", N_WORDS, &input, &x)
}
