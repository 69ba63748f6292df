//! ResNet-18 and ResNet-50 as in torchvision; ResNet-50 is v1.5, with the stride in the 3x3 convolution.

use super::ZooModel;
use super::builder::{Builder, Conv, ConvNames, Value};

const FIRST_CHANNELS: usize = 64;
const N_CLASSES: usize = 1000;

/// ResNet-18: two convolutions of 3x3 in a block.
pub(super) fn build_18(builder: Builder<'_>) -> ZooModel {
    build(builder, "resnet18", [2, 2, 2, 2], BlockKind::Basic)
}

/// ResNet-50: 1x1, 3x3, 1x1 in a block.
pub(super) fn build_50(builder: Builder<'_>) -> ZooModel {
    build(builder, "resnet50", [3, 4, 6, 3], BlockKind::Bottleneck)
}

#[derive(Clone, Copy)]
enum BlockKind {
    Basic,
    Bottleneck,
}

impl BlockKind {
    /// Output channels of a block over its width.
    fn expansion(self) -> usize {
        match self {
            BlockKind::Basic => 1,
            BlockKind::Bottleneck => 4,
        }
    }

    fn convs(self, width: usize, stride: usize) -> Vec<Conv> {
        match self {
            BlockKind::Basic => vec![Conv::square(width, 3, stride), Conv::square(width, 3, 1)],
            BlockKind::Bottleneck => vec![
                Conv::square(width, 1, 1),
                Conv::square(width, 3, stride),
                Conv::square(width * self.expansion(), 1, 1),
            ],
        }
    }
}

fn build(mut builder: Builder<'_>, name: &str, n_blocks: [usize; 4], kind: BlockKind) -> ZooModel {
    let input = builder.input([3, 224, 224]);
    let first = Conv::square(FIRST_CHANNELS, 7, 2).dense();
    let names = ConvNames {
        conv: "conv1",
        norm: "bn1",
        gain: 1.0,
    };
    let mut x = builder.conv_norm(&names, &first, &input);
    x = builder.relu("relu", &x);
    x = builder.max_pool("maxpool", &x);
    let mut channels = FIRST_CHANNELS;
    for (stage, n_blocks) in n_blocks.into_iter().enumerate() {
        let width = FIRST_CHANNELS << stage;
        let out_channels = width * kind.expansion();
        for block in 0..n_blocks {
            let name = format!("layer{}.{block}", stage + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let shortcut = if stride != 1 || channels != out_channels {
                let names = ConvNames {
                    conv: &format!("{name}.downsample.0"),
                    norm: &format!("{name}.downsample.1"),
                    gain: 1.0,
                };
                builder.conv_norm(&names, &Conv::square(out_channels, 1, stride), &x)
            } else {
                x.clone()
            };
            x = residual(
                &mut builder,
                &name,
                &kind.convs(width, stride),
                &x,
                &shortcut,
            );
            channels = out_channels;
        }
    }
    x = builder.pool_and_flatten("avgpool", "flatten", &x);
    builder.classifier(name, "fc", N_CLASSES, &input, &x)
}

fn residual(
    builder: &mut Builder<'_>,
    name: &str,
    convs: &[Conv],
    x: &Value,
    shortcut: &Value,
) -> Value {
    let mut y = x.clone();
    for (index, conv) in convs.iter().enumerate() {
        let number = index + 1;
        let is_last = number == convs.len();
        let names = ConvNames {
            conv: &format!("{name}.conv{number}"),
            norm: &format!("{name}.bn{number}"),
            gain: if is_last { 0.5 } else { 1.0 },
        };
        y = builder.conv_norm(&names, conv, &y);
        if !is_last {
            y = builder.relu(&format!("{name}.relu{number}"), &y);
        }
    }
    let sum = builder.add(&format!("{name}.add"), &y, shortcut);
    builder.relu(&format!("{name}.relu{}", convs.len()), &sum)
}
