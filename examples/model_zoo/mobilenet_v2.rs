//! MobileNetV2 of width 1.0 as in torchvision: inverted residuals with a linear bottleneck.

use super::ZooModel;
use super::builder::{Builder, Conv, ConvNames, Value};

/// Expansion, output channels, number of blocks, stride of the first: table 2 of Sandler et al. 2018.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
const FIRST_CHANNELS: usize = 32;
const LAST_CHANNELS: usize = 1280;
const N_CLASSES: usize = 1000;

pub(super) fn build(mut builder: Builder<'_>) -> ZooModel {
    let input = builder.input([3, 224, 224]);
    let first = Conv::square(FIRST_CHANNELS, 3, 2).dense();
    let mut x = conv_norm_relu6(&mut builder, "features.0", &first, &input);
    let mut channels = FIRST_CHANNELS;
    let mut feature = 1;
    for (expansion, out_channels, n_blocks, first_stride) in STAGES {
        for block in 0..n_blocks {
            let block = Block {
                channels,
                hidden: channels * expansion,
                out_channels,
                stride: if block == 0 { first_stride } else { 1 },
            };
            x = block.build(&mut builder, &format!("features.{feature}"), &x);
            channels = out_channels;
            feature += 1;
        }
    }
    let last = Conv::square(LAST_CHANNELS, 1, 1);
    x = conv_norm_relu6(&mut builder, &format!("features.{feature}"), &last, &x);
    x = builder.pool_and_flatten("avgpool", "flatten", &x);
    builder.classifier("mobilenet_v2", "classifier.1", N_CLASSES, &input, &x)
}

/// An inverted residual.
struct Block {
    channels: usize,
    hidden: usize,
    out_channels: usize,
    stride: usize,
}

impl Block {
    fn build(&self, builder: &mut Builder<'_>, name: &str, x: &Value) -> Value {
        let mut y = x.clone();
        let mut index = 0; // in torchvision's `conv`, which begins with the depthwise part if nothing is expanded
        if self.hidden != self.channels {
            let expand = Conv::square(self.hidden, 1, 1);
            y = conv_norm_relu6(builder, &format!("{name}.conv.{index}"), &expand, &y);
            index += 1;
        }
        let depthwise = Conv::depthwise(self.hidden, self.stride);
        y = conv_norm_relu6(builder, &format!("{name}.conv.{index}"), &depthwise, &y);
        index += 1;
        let is_residual = self.stride == 1 && self.channels == self.out_channels;
        let names = ConvNames {
            conv: &format!("{name}.conv.{index}"),
            norm: &format!("{name}.conv.{}", index + 1),
            gain: if is_residual { 0.5 } else { 1.0 },
        };
        y = builder.conv_norm(&names, &Conv::square(self.out_channels, 1, 1), &y);
        if is_residual {
            y = builder.add(&format!("{name}.add"), x, &y);
        }
        y
    }
}

fn conv_norm_relu6(builder: &mut Builder<'_>, name: &str, conv: &Conv, x: &Value) -> Value {
    let names = ConvNames {
        conv: &format!("{name}.0"),
        norm: &format!("{name}.1"),
        gain: 1.0,
    };
    let y = builder.conv_norm(&names, conv, x);
    builder.relu6(&format!("{name}.2"), &y)
}
