"""Writes the digits network as supernet ONNX.

The graph is built node by node rather than traced, so that it holds what a reader expects: one
Conv, BatchNormalization and Relu per layer, with the names of the PyTorch modules. In a runtime
that knows nothing of levels the file means the highest level; the level data beside it is

- `<conv>.weight__level`, uint8 on the grid of 4x1 blocks, for each maskable convolution, with the
  block's size in the metadata;
- `<norm>.<parameter>__levels`, [levels, channels], for each batch-norm parameter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from network import BLOCK_ROWS, ConvNorm, Digits, LevelNorm, Residual

OPSET = 17
IR_VERSION = 8


class GraphWriter:
    """Collects nodes, initializers and metadata; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.metadata: dict[str, str] = {}

    def node(self, op_type: str, name: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Adds a node; its result is called `<name>.out` unless `output` says otherwise."""
        output = output or f"{name}.out"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def initializer(self, name: str, values: Tensor) -> str:
        """Adds a constant tensor."""
        array = np.ascontiguousarray(values.detach().numpy())
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def conv_norm(self, name: str, layer: ConvNorm, x: str) -> str:
        """Conv without bias, then BatchNormalization, with their level data."""
        conv = layer.conv
        weight = self.initializer(f"{name}.conv.weight", conv.weight)
        if conv.maskable:
            self.initializer(f"{weight}__level", conv.block_level)
            self.metadata[f"condense.block:{weight}"] = f"{BLOCK_ROWS}x1x1x1"
        kernel = list(conv.weight.shape[2:])
        x = self.node(
            "Conv",
            f"{name}.conv",
            [x, weight],
            kernel_shape=kernel,
            strides=[conv.stride] * 2,
            pads=[conv.padding] * 4,
        )
        # In the order of BatchNormalization's inputs.
        rows = {"scale": layer.norm.scale, "bias": layer.norm.bias, "mean": layer.norm.mean, "var": layer.norm.var}
        parameters = [self.initializer(f"{name}.norm.{key}", values[-1]) for key, values in rows.items()]
        for key, values in rows.items():
            self.initializer(f"{name}.norm.{key}__levels", values)
        return self.node("BatchNormalization", f"{name}.norm", [x, *parameters], epsilon=LevelNorm.EPSILON)

    def conv_norm_relu(self, name: str, layer: ConvNorm, x: str) -> str:
        """`conv_norm` and a Relu."""
        return self.node("Relu", f"{name}.relu", [self.conv_norm(name, layer, x)])

    def residual(self, name: str, block: Residual, x: str) -> str:
        """Two convolutions round an identity, added, then Relu."""
        y = self.conv_norm_relu(f"{name}.wide", block.wide, x)
        y = self.conv_norm(f"{name}.point", block.point, y)
        return self.node("Relu", f"{name}.relu", [self.node("Add", f"{name}.add", [x, y])])


def to_onnx(net: Digits, level_names: list[str]) -> onnx.ModelProto:
    """The supernet: input `image` f32 [N, 1, 32, 32], output `logits` f32 [N, 10]."""
    writer = GraphWriter()
    x = writer.conv_norm_relu("stem", net.stem, "image")
    x = writer.conv_norm_relu("down1", net.down1, x)
    x = writer.residual("block1", net.block1, x)
    x = writer.conv_norm_relu("down2", net.down2, x)
    x = writer.residual("block2", net.block2, x)
    x = writer.conv_norm_relu("head", net.head, x)
    x = writer.node("GlobalAveragePool", "pool", [x])
    x = writer.node("Flatten", "flatten", [x], axis=1)
    weight = writer.initializer("classifier.weight", net.classifier.weight)
    bias = writer.initializer("classifier.bias", net.classifier.bias)
    writer.node("Gemm", "classifier", [x, weight, bias], output="logits", transB=1)

    graph = helper.make_graph(
        writer.nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        writer.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="condensec examples/digits",
        doc_string="Handwritten digits, one set of weights, nested 4x1 block masks.",
    )
    levels = {
        "condense.version": "1",
        "condense.levels": str(net.n_levels),
        "condense.level_names": ",".join(level_names),
    }
    helper.set_model_props(model, levels | writer.metadata)
    onnx.checker.check_model(model, full_check=True)
    return model
