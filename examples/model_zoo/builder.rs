//! Writes a network layer by layer: nodes, seeded weights, level data, and the counts that tests check.
//!
//! A value carries its shape and an estimate of its mean square, from which batch norm gets statistics that
//! keep activations near 1 at the top level, as training would. Without that, fifty layers of random weights
//! end in infinities or in subnormal numbers, which are slow and would falsify every measurement.

use condensec::frontend::onnx::proto::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto,
};

use super::mask::NestedMask;
use super::random::Random;
use super::{BatchNorm, ZooLevel, ZooModel, ZooOptions};

const OPSET: i64 = 17;
/// The IR version of opset 17.
const IR_VERSION: i64 = 8;
const EPSILON: f32 = 1e-5;

/// An activation of batch 1.
#[derive(Debug, Clone)]
pub(super) struct Value {
    name: String,
    /// Channels, height, width; `[features]` behind `flatten`.
    shape: Vec<usize>,
    /// Mean square of the part that was rectified already, which a Relu does not halve.
    rectified: f64,
    /// Mean square of the rest.
    signed: f64,
}

/// A convolution.
#[derive(Debug, Clone)]
pub(super) struct Conv {
    out_channels: usize,
    kernel: [usize; 2],
    stride: usize,
    /// ONNX's order: top, left, bottom, right.
    pads: [usize; 4],
    is_depthwise: bool,
    is_maskable: bool,
}

impl Conv {
    /// A maskable convolution with a square window, padded by half of it.
    pub(super) fn square(out_channels: usize, kernel: usize, stride: usize) -> Conv {
        Conv {
            out_channels,
            kernel: [kernel; 2],
            stride,
            pads: [kernel / 2; 4],
            is_depthwise: false,
            is_maskable: true,
        }
    }

    /// A dense 3x3 depthwise convolution.
    pub(super) fn depthwise(channels: usize, stride: usize) -> Conv {
        Conv {
            is_depthwise: true,
            is_maskable: false,
            ..Conv::square(channels, 3, stride)
        }
    }

    /// Another window, padded by hand.
    pub(super) fn window(self, kernel: [usize; 2], pads: [usize; 4]) -> Conv {
        Conv {
            kernel,
            pads,
            ..self
        }
    }

    /// Without level data.
    pub(super) fn dense(self) -> Conv {
        Conv {
            is_maskable: false,
            ..self
        }
    }
}

/// Names of the layers of a convolution and its batch norm, and the size of their result.
pub(super) struct ConvNames<'a> {
    /// The convolution, such as `layer1.0.conv1`.
    pub(super) conv: &'a str,
    /// Its batch norm, such as `layer1.0.bn1`.
    pub(super) norm: &'a str,
    /// Root mean square of what comes out, about.
    pub(super) gain: f64,
}

/// A weight and its share at every level.
struct Weight {
    values: Vec<f32>,
    mask: Option<NestedMask>,
    /// Kept share, L0 first; one entry for a dense network.
    densities: Vec<f64>,
}

/// Batch norm's parameters at one level, in the order of the node's inputs.
struct Norm {
    scale: Vec<f32>,
    bias: Vec<f32>,
    mean: Vec<f32>,
    var: Vec<f32>,
}

/// A network under construction.
pub(super) struct Builder<'a> {
    options: &'a ZooOptions,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    metadata: Vec<(String, String)>,
    n_parameters: u64,
    macs: u64,
    /// Multiply-adds per level; one entry for a dense network.
    level_macs: Vec<u64>,
    n_maskable: u64,
    /// Kept weights of maskable layers per level.
    n_kept: Vec<u64>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(options: &'a ZooOptions) -> Builder<'a> {
        let n_levels = match &options.sparsity {
            Some(sparsity) => sparsity.densities.as_slice().len(),
            None => 1,
        };
        Builder {
            options,
            nodes: Vec::new(),
            initializers: Vec::new(),
            metadata: Vec::new(),
            n_parameters: 0,
            macs: 0,
            level_macs: vec![0; n_levels],
            n_maskable: 0,
            n_kept: vec![0; n_levels],
        }
    }

    /// The network's input, of mean square 1.
    pub(super) fn input(&self, shape: [usize; 3]) -> Value {
        Value {
            name: "input".into(),
            shape: shape.to_vec(),
            rectified: 0.0,
            signed: 1.0,
        }
    }

    /// A convolution and its batch norm, which may end up as one node.
    pub(super) fn conv_norm(&mut self, names: &ConvNames<'_>, conv: &Conv, x: &Value) -> Value {
        let [channels, height, width] = x.shape[..] else {
            unreachable!("a convolution behind flatten");
        };
        let group = if conv.is_depthwise { channels } else { 1 };
        let [kernel_h, kernel_w] = conv.kernel;
        let [top, left, bottom, right] = conv.pads;
        let out_shape = vec![
            conv.out_channels,
            (height + top + bottom - kernel_h) / conv.stride + 1,
            (width + left + right - kernel_w) / conv.stride + 1,
        ];
        let n_pixels = (out_shape[1] * out_shape[2]) as u64;

        let weight_name = format!("{}.weight", names.conv);
        let shape = [conv.out_channels, channels / group, kernel_h, kernel_w];
        let fan_in = shape[1..].iter().product::<usize>() as f64;
        let deviation = (2.0 / fan_in).sqrt(); // He et al. 2015
        let mut weight = self.weight(&weight_name, &shape, deviation, conv.is_maskable, n_pixels);
        // A sum of `fan_in` products, of which a share is kept.
        let sums = 2.0 * (x.rectified + x.signed);
        let norms: Vec<Norm> = weight
            .densities
            .iter()
            .enumerate()
            .map(|(level, density)| self.norm(names, conv.out_channels, density * sums, level))
            .collect();
        let top = norms.last().expect("a network has a level");

        let attributes = vec![
            AttributeProto::ints("dilations", &[1, 1]),
            AttributeProto::int("group", group as i64),
            AttributeProto::ints("kernel_shape", &conv.kernel.map(|size| size as i64)),
            AttributeProto::ints("pads", &conv.pads.map(|size| size as i64)),
            AttributeProto::ints("strides", &[conv.stride as i64; 2]),
        ];
        let name = if self.options.batch_norm == BatchNorm::Folded {
            let bias = fold(&mut weight.values, top);
            let bias_name = format!("{}.bias", names.conv);
            self.add_weight(&weight_name, &shape, weight);
            self.parameter(&bias_name, &bias);
            let inputs = [x.name.as_str(), &weight_name, &bias_name];
            self.node("Conv", names.conv, &inputs, attributes)
        } else {
            self.add_weight(&weight_name, &shape, weight);
            let inputs = [x.name.as_str(), &weight_name];
            let sums = self.node("Conv", names.conv, &inputs, attributes);
            self.norm_node(names.norm, &sums, &norms)
        };
        Value {
            name,
            shape: out_shape,
            rectified: 0.0,
            signed: names.gain * names.gain,
        }
    }

    /// `max(x, 0)`
    pub(super) fn relu(&mut self, name: &str, x: &Value) -> Value {
        let result = self.node("Relu", name, &[&x.name], Vec::new());
        rectified(result, x)
    }

    /// `min(max(x, 0), 6)`
    pub(super) fn relu6(&mut self, name: &str, x: &Value) -> Value {
        for (bound, value) in [("relu6.min", 0.0), ("relu6.max", 6.0)] {
            if !self.initializers.iter().any(|known| known.name() == bound) {
                self.initializers
                    .push(TensorProto::from_f32(bound, &[], &[value]));
            }
        }
        let inputs = [x.name.as_str(), "relu6.min", "relu6.max"];
        let result = self.node("Clip", name, &inputs, Vec::new());
        rectified(result, x)
    }

    /// `a + b`
    pub(super) fn add(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        assert_eq!(a.shape, b.shape, "{name}");
        Value {
            name: self.node("Add", name, &[&a.name, &b.name], Vec::new()),
            shape: a.shape.clone(),
            rectified: a.rectified + b.rectified,
            signed: a.signed + b.signed,
        }
    }

    /// Maximum over 3x3 windows, stride 2.
    pub(super) fn max_pool(&mut self, name: &str, x: &Value) -> Value {
        let attributes = vec![
            AttributeProto::ints("kernel_shape", &[3, 3]),
            AttributeProto::ints("pads", &[1, 1, 1, 1]),
            AttributeProto::ints("strides", &[2, 2]),
        ];
        Value {
            name: self.node("MaxPool", name, &[&x.name], attributes),
            shape: vec![x.shape[0], x.shape[1].div_ceil(2), x.shape[2].div_ceil(2)],
            ..x.clone()
        }
    }

    /// Mean over all pixels, then one row of features.
    pub(super) fn pool_and_flatten(&mut self, pool: &str, flatten: &str, x: &Value) -> Value {
        let pooled = self.node("GlobalAveragePool", pool, &[&x.name], Vec::new());
        let axis = vec![AttributeProto::int("axis", 1)];
        Value {
            name: self.node("Flatten", flatten, &[&pooled], axis),
            shape: vec![x.shape[0]],
            ..x.clone()
        }
    }

    /// The last layer, and with it the whole model. `input` is what the network began with.
    pub(super) fn classifier(
        mut self,
        graph_name: &str,
        name: &str,
        n_classes: usize,
        input: &Value,
        x: &Value,
    ) -> ZooModel {
        let n_features = x.shape[0];
        let weight_name = format!("{name}.weight");
        let bias_name = format!("{name}.bias");
        let shape = [n_classes, n_features];
        let is_maskable = match &self.options.sparsity {
            Some(sparsity) => !sparsity.dense_classifier,
            None => true,
        };
        let deviation = (1.0 / n_features as f64).sqrt();
        let weight = self.weight(&weight_name, &shape, deviation, is_maskable, 1);
        self.add_weight(&weight_name, &shape, weight);
        let mut random = Random::new(self.options.seed, &bias_name);
        let bias: Vec<f32> = (0..n_classes)
            .map(|_| (0.1 * random.gaussian()) as f32)
            .collect();
        self.parameter(&bias_name, &bias);
        self.nodes.push(NodeProto::new(
            "Gemm",
            name,
            &[&x.name, &weight_name, &bias_name],
            &["output"],
            vec![AttributeProto::int("transB", 1)],
        ));
        self.finish(graph_name, n_classes, input)
    }

    fn finish(self, graph_name: &str, n_classes: usize, input: &Value) -> ZooModel {
        let batch_and = |shape: &[usize]| -> Vec<i64> {
            std::iter::once(1)
                .chain(shape.iter().map(|&size| size as i64))
                .collect()
        };
        let mut model = ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(OPSET),
            }],
            producer_name: Some("condensec model-zoo".into()),
            graph: Some(GraphProto {
                name: Some(graph_name.into()),
                node: self.nodes,
                initializer: self.initializers,
                input: vec![ValueInfoProto::tensor(
                    "input",
                    DataType::Float,
                    batch_and(&input.shape),
                )],
                output: vec![ValueInfoProto::tensor(
                    "output",
                    DataType::Float,
                    batch_and(&[n_classes]),
                )],
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut levels = Vec::new();
        if let Some(sparsity) = &self.options.sparsity {
            let names = sparsity.densities.names();
            model.set_metadata("condense.version", "1");
            model.set_metadata("condense.levels", names.len().to_string());
            model.set_metadata("condense.level_names", names.join(","));
            for (key, value) in self.metadata {
                model.set_metadata(&key, value);
            }
            for (level, name) in names.into_iter().enumerate() {
                levels.push(ZooLevel {
                    name,
                    density: self.n_kept[level] as f64 / self.n_maskable as f64,
                    macs: self.level_macs[level],
                });
            }
        }
        ZooModel {
            model,
            n_parameters: self.n_parameters,
            macs: self.macs,
            levels,
        }
    }

    /// Draws a weight and its mask, and counts both. `n_uses` is the multiply-adds of each element.
    fn weight(
        &mut self,
        name: &str,
        shape: &[usize],
        deviation: f64,
        is_maskable: bool,
        n_uses: u64,
    ) -> Weight {
        let n_elements: usize = shape.iter().product();
        let mut random = Random::new(self.options.seed, name);
        let mut values: Vec<f32> = (0..n_elements)
            .map(|_| (deviation * random.gaussian()) as f32)
            .collect();
        let n_elements = n_elements as u64;
        self.macs += n_elements * n_uses;

        let n_levels = self.n_kept.len();
        let mut n_kept = vec![n_elements; n_levels];
        let mut mask = None;
        if let Some(sparsity) = self.options.sparsity.as_ref().filter(|_| is_maskable) {
            let random = Random::new(self.options.seed, &format!("{name}__level"));
            let nested = NestedMask::new(sparsity, shape, &values, random);
            n_kept = vec![0; n_levels];
            for (value, level) in values
                .iter_mut()
                .zip(nested.levels_of_elements(sparsity.block, shape))
            {
                match n_kept.get_mut(usize::from(level)) {
                    Some(n) => *n += 1,
                    // The plain file means the top level, so what that drops is not there.
                    None => *value = 0.0,
                }
            }
            for level in 1..n_levels {
                n_kept[level] += n_kept[level - 1];
            }
            self.n_maskable += n_elements;
            for (total, n) in self.n_kept.iter_mut().zip(&n_kept) {
                *total += n;
            }
            mask = Some(nested);
        }
        for (total, n) in self.level_macs.iter_mut().zip(&n_kept) {
            *total += n * n_uses;
        }
        Weight {
            values,
            mask,
            densities: n_kept
                .iter()
                .map(|&n| n as f64 / n_elements as f64)
                .collect(),
        }
    }

    fn add_weight(&mut self, name: &str, shape: &[usize], weight: Weight) {
        self.n_parameters += weight.values.len() as u64;
        self.initializers
            .push(TensorProto::from_f32(name, &dims(shape), &weight.values));
        let Some(mask) = weight.mask else { return };
        self.initializers.push(TensorProto::from_u8(
            &format!("{name}__level"),
            &dims(&mask.grid),
            &mask.levels,
        ));
        let sparsity = self.options.sparsity.as_ref().expect("there is a mask");
        let mut block = format!("{}x{}", sparsity.block.rows, sparsity.block.cols);
        block.push_str(&"x1".repeat(shape.len() - 2));
        self.metadata
            .push((format!("condense.block:{name}"), block));
    }

    /// Adds a trainable parameter of one dimension.
    fn parameter(&mut self, name: &str, values: &[f32]) {
        self.n_parameters += values.len() as u64;
        self.vector(name, values);
    }

    fn vector(&mut self, name: &str, values: &[f32]) {
        self.initializers
            .push(TensorProto::from_f32(name, &[values.len() as i64], values));
    }

    /// Adds a node whose result has its name.
    fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output = format!("{name}.out");
        self.nodes.push(NodeProto::new(
            op_type,
            name,
            inputs,
            &[&output],
            attributes,
        ));
        output
    }

    /// Batch norm at `level` for sums of mean square `power`: channels differ a good deal, levels a little.
    fn norm(&self, names: &ConvNames<'_>, n_channels: usize, power: f64, level: usize) -> Norm {
        // The top level draws nothing of its own: it must be the same whatever the levels below.
        let is_top = level + 1 == self.n_kept.len();
        let mut by_channel = Random::new(self.options.seed, names.norm);
        let mut by_level = Random::new(
            self.options.seed,
            &format!("{}__levels {level}", names.norm),
        );
        let mut draw = |deviation: f64| {
            let change = if is_top { 0.0 } else { by_level.gaussian() };
            deviation * (by_channel.gaussian() + 0.2 * change)
        };
        let mut norm = Norm {
            scale: Vec::new(),
            bias: Vec::new(),
            mean: Vec::new(),
            var: Vec::new(),
        };
        for _ in 0..n_channels {
            norm.scale.push((names.gain * (1.0 + draw(0.1))) as f32);
            norm.bias.push((names.gain * draw(0.1)) as f32);
            norm.mean.push((power.sqrt() * draw(0.1)) as f32);
            norm.var.push((power * (1.0 + draw(0.1))) as f32);
        }
        norm
    }

    /// Adds batch norm with the top level's parameters, and all levels' where they differ.
    fn norm_node(&mut self, name: &str, x: &str, norms: &[Norm]) -> String {
        let top = norms.last().expect("a network has a level");
        let parameters: [(&str, fn(&Norm) -> &[f32]); 4] = [
            ("weight", |norm| &norm.scale),
            ("bias", |norm| &norm.bias),
            ("running_mean", |norm| &norm.mean),
            ("running_var", |norm| &norm.var),
        ];
        let names = parameters.map(|(suffix, _)| format!("{name}.{suffix}"));
        for (name, (suffix, field)) in names.iter().zip(parameters) {
            if suffix.starts_with("running") {
                self.vector(name, field(top));
            } else {
                self.parameter(name, field(top));
            }
            if self.options.batch_norm == BatchNorm::PerLevel && self.options.sparsity.is_some() {
                let rows: Vec<f32> = norms.iter().flat_map(field).copied().collect();
                self.initializers.push(TensorProto::from_f32(
                    &format!("{name}__levels"),
                    &dims(&[norms.len(), field(top).len()]),
                    &rows,
                ));
            }
        }
        let [scale, bias, mean, var] = &names;
        let epsilon = vec![AttributeProto::float("epsilon", EPSILON)];
        self.node(
            "BatchNormalization",
            name,
            &[x, scale, bias, mean, var],
            epsilon,
        )
    }
}

/// The result of a Relu: the half of the signed part that is below zero is gone.
fn rectified(name: String, x: &Value) -> Value {
    Value {
        name,
        shape: x.shape.clone(),
        rectified: x.rectified + x.signed / 2.0,
        signed: 0.0,
    }
}

/// Scales the rows of `weight` by batch norm's factor, and returns the bias that remains.
fn fold(weight: &mut [f32], norm: &Norm) -> Vec<f32> {
    let n_channels = norm.scale.len();
    let row_len = weight.len() / n_channels;
    let mut bias = Vec::with_capacity(n_channels);
    for (channel, row) in weight.chunks_exact_mut(row_len).enumerate() {
        let factor = norm.scale[channel] / (norm.var[channel] + EPSILON).sqrt();
        for value in row {
            *value *= factor;
        }
        bias.push(norm.bias[channel] - norm.mean[channel] * factor);
    }
    bias
}

fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&size| size as i64).collect()
}
