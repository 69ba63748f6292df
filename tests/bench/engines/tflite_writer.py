"""ONNX to TFLite for convolutional networks, with the schema that comes with LiteRT.

LiteRT reads only its own format and has no converter from ONNX; the ones that exist bring all of TensorFlow or PyTorch.
A benchmark needs a few ops, and to know what becomes of them: activations are fused into the layer before, and explicit
padding becomes a PAD only where it is not TFLite's SAME, as TensorFlow's own converter does it. Values are NHWC,
weights OHWI. Anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as tfl
from onnx import numpy_helper

OP = tfl.BuiltinOperator
OPTIONS = tfl.BuiltinOptions
ACTIVATION = tfl.ActivationFunctionType


def convert(model: onnx.ModelProto) -> bytes:
    """The TFLite file of `model`, which has one input and one output of static shape.

    Raises ValueError for an op or attribute that is not covered.
    """
    return _Writer(onnx.shape_inference.infer_shapes(model)).write()


def convert_file(source: Path, target: Path) -> None:
    """`convert` from file to file."""
    target.write_bytes(convert(onnx.load(source)))


class _Writer:
    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._graph = graph
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in [*graph.input, *graph.value_info, *graph.output]
        }
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._model = tfl.ModelT()
        self._model.version = 3
        self._model.description = b""
        self._model.buffers = [tfl.BufferT()]  # buffer 0 is the empty one
        self._model.operatorCodes = []
        self._subgraph = tfl.SubGraphT()
        self._subgraph.tensors = []
        self._subgraph.operators = []
        self._model.subgraphs = [self._subgraph]
        self._codes: dict[int, int] = {}
        self._tensors: dict[str, int] = {}  # by ONNX name
        self._fused: set[str] = set()  # nodes that became an activation of the one before

    def write(self) -> bytes:
        inputs = [value.name for value in self._graph.input if value.name not in self._constants]
        for name in inputs:
            self._tensors[name] = self._add_tensor(name, _nhwc(self._shapes[name]))
        for node in self._graph.node:
            if node.output[0] not in self._fused:
                lower = LOWER.get(node.op_type)
                if lower is None:
                    raise ValueError(f"{node.op_type} ({node.name}) has no TFLite lowering here")
                lower(self, node)
        self._subgraph.inputs = [self._tensors[name] for name in inputs]
        self._subgraph.outputs = [self._tensors[value.name] for value in self._graph.output]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def conv(self, node: onnx.NodeProto) -> None:
        attributes = _attributes(node)
        weight = self._constants[node.input[1]]
        group = attributes.get("group", 1)
        if any(dilation != 1 for dilation in attributes.get("dilations", [])):
            raise ValueError(f"{node.name} is dilated")
        x, padding = self._padded(node, weight.shape[2:])
        stride_h, stride_w = attributes.get("strides", [1, 1])
        if group == 1:
            options, code, kind = tfl.Conv2DOptionsT(), OP.CONV_2D, OPTIONS.Conv2DOptions
            weight = weight.transpose(0, 2, 3, 1)
        elif weight.shape[1] == 1 and group == weight.shape[0]:
            options, code, kind = tfl.DepthwiseConv2DOptionsT(), OP.DEPTHWISE_CONV_2D, OPTIONS.DepthwiseConv2DOptions
            options.depthMultiplier = 1
            weight = weight.transpose(1, 2, 3, 0)
        else:
            raise ValueError(f"{node.name} has {group} groups")
        options.padding, options.strideH, options.strideW = padding, stride_h, stride_w
        bias = self._constants[node.input[2]] if len(node.input) > 2 else np.zeros(weight.shape[0], np.float32)
        operands = [x, self._add_constant(node.input[1], weight), self._add_constant(f"{node.name}.bias", bias)]
        self._add_layer(node, code, operands, kind, options)

    def gemm(self, node: onnx.NodeProto) -> None:
        attributes = _attributes(node)
        if attributes.get("transA", 0) or attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1:
            raise ValueError(f"{node.name} is no plain fully connected layer")
        weight = self._constants[node.input[1]]
        weight = weight if attributes.get("transB", 0) else weight.T
        operands = [self._tensors[node.input[0]], self._add_constant(node.input[1], weight)]
        operands.append(self._add_constant(node.input[2], self._constants[node.input[2]]))
        self._add_layer(node, OP.FULLY_CONNECTED, operands, OPTIONS.FullyConnectedOptions, tfl.FullyConnectedOptionsT())

    def add(self, node: onnx.NodeProto) -> None:
        operands = [self._tensors[name] for name in node.input]
        self._add_layer(node, OP.ADD, operands, OPTIONS.AddOptions, tfl.AddOptionsT())

    def max_pool(self, node: onnx.NodeProto) -> None:
        attributes = _attributes(node)
        if any(attributes.get("pads", [])) and not self._is_rectified(node.input[0]):
            raise ValueError(f"{node.name} pads values that may be negative")
        x, padding = self._padded(node, attributes["kernel_shape"])
        options = tfl.Pool2DOptionsT()
        options.padding = padding
        options.strideH, options.strideW = attributes.get("strides", [1, 1])
        options.filterHeight, options.filterWidth = attributes["kernel_shape"]
        self._add_layer(node, OP.MAX_POOL_2D, [x], OPTIONS.Pool2DOptions, options)

    def global_average_pool(self, node: onnx.NodeProto) -> None:
        options = tfl.ReducerOptionsT()
        options.keepDims = True
        axes = self._add_constant(f"{node.name}.axes", np.array([1, 2], np.int32))
        operands = [self._tensors[node.input[0]], axes]
        self._add_operator(OP.MEAN, operands, self._add_result(node.output[0]), OPTIONS.ReducerOptions, options)

    def flatten(self, node: onnx.NodeProto) -> None:
        if any(size != 1 for size in self._shapes[node.input[0]][2:]):
            raise ValueError(f"{node.name} would flatten NHWC in another order")
        options = tfl.ReshapeOptionsT()
        options.newShape = self._shapes[node.output[0]]
        shape = self._add_constant(f"{node.name}.shape", np.array(options.newShape, np.int32))
        operands = [self._tensors[node.input[0]], shape]
        self._add_operator(OP.RESHAPE, operands, self._add_result(node.output[0]), OPTIONS.ReshapeOptions, options)

    def _is_rectified(self, name: str) -> bool:
        producer = next((node for node in self._graph.node if name in node.output), None)
        return producer is not None and self._activation(producer) is not None

    def _activation(self, node: onnx.NodeProto) -> int | None:
        """TFLite's number of an activation that can be fused."""
        if node.op_type == "Relu":
            return ACTIVATION.RELU
        if node.op_type == "Clip" and [float(self._constants[name]) for name in node.input[1:]] == [0.0, 6.0]:
            return ACTIVATION.RELU6
        return None

    def _padded(self, node: onnx.NodeProto, window: Any) -> tuple[int, int]:
        """The node's input, padded where TFLite has no word for it, and TFLite's padding."""
        attributes = _attributes(node)
        pads = attributes.get("pads", [0, 0, 0, 0])
        strides = attributes.get("strides", [1, 1])
        x = self._tensors[node.input[0]]
        if not any(pads):
            return x, tfl.Padding.VALID
        same = []
        for size, n_taps, stride in zip(self._shapes[node.input[0]][2:], window, strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + n_taps - size, 0)
            same.append((total // 2, total - total // 2))
        if same == [(pads[0], pads[2]), (pads[1], pads[3])]:
            return x, tfl.Padding.SAME
        amounts = np.array([[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]], np.int32)
        shape = [int(n) for n in np.array(self._subgraph.tensors[x].shape) + amounts.sum(axis=1)]
        padded = self._add_tensor(f"{node.name}.padded", shape)
        operands = [x, self._add_constant(f"{node.name}.pads", amounts)]
        self._add_operator(OP.PAD, operands, padded, OPTIONS.PadOptions, tfl.PadOptionsT())
        return padded, tfl.Padding.VALID

    def _add_layer(self, node: onnx.NodeProto, code: int, operands: list[int], kind: int, options: Any) -> None:
        """An operator with the activation that follows it."""
        result = node.output[0]
        readers = self._readers.get(result, [])
        activation = self._activation(readers[0]) if len(readers) == 1 else None
        options.fusedActivationFunction = ACTIVATION.NONE if activation is None else activation
        if activation is not None:
            result = readers[0].output[0]
            self._fused.add(result)
        self._add_operator(code, operands, self._add_result(result), kind, options)

    def _add_operator(self, code: int, operands: list[int], result: int, kind: int, options: Any) -> None:
        if code not in self._codes:
            entry = tfl.OperatorCodeT()
            # Old readers look at the first field, which has room for 127 operators.
            entry.deprecatedBuiltinCode, entry.builtinCode, entry.version = min(code, 127), code, 1
            self._codes[code] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(entry)
        operator = tfl.OperatorT()
        operator.opcodeIndex = self._codes[code]
        operator.inputs, operator.outputs = operands, [result]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self._subgraph.operators.append(operator)

    def _add_result(self, name: str) -> int:
        self._tensors[name] = self._add_tensor(name, _nhwc(self._shapes[name]))
        return self._tensors[name]

    def _add_constant(self, name: str, values: np.ndarray) -> int:
        buffer = tfl.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        dtype = tfl.TensorType.INT32 if values.dtype == np.int32 else tfl.TensorType.FLOAT32
        return self._add_tensor(name, list(values.shape), len(self._model.buffers) - 1, dtype)

    def _add_tensor(self, name: str, shape: list[int], buffer: int = 0, dtype: int = tfl.TensorType.FLOAT32) -> int:
        tensor = tfl.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, dtype, buffer
        self._subgraph.tensors.append(tensor)
        return len(self._subgraph.tensors) - 1


LOWER: dict[str, Callable[[_Writer, onnx.NodeProto], None]] = {
    "Add": _Writer.add,
    "Conv": _Writer.conv,
    "Flatten": _Writer.flatten,
    "Gemm": _Writer.gemm,
    "GlobalAveragePool": _Writer.global_average_pool,
    "MaxPool": _Writer.max_pool,
}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _nhwc(shape: list[int]) -> list[int]:
    return [shape[0], *shape[2:], shape[1]] if len(shape) == 4 else shape
