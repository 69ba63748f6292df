"""What ONNX and ONNX Runtime say about a network of the model zoo, as one JSON object.

    python model_zoo.py IN.onnx

`macs` and `n_parameters` are counted from the file, by the shapes that ONNX infers, and share nothing with
the generator's own counts. `levels` has each level's density and the root mean square of its
output for a seeded Gaussian input; `largest` is the largest activation of the plain file.
"""

from __future__ import annotations

import json
import sys
from math import prod

import numpy as np
import onnx
import onnxruntime

import supernet


def counts(model: onnx.ModelProto) -> tuple[int, int]:
    """Multiply-adds of Conv and Gemm with all weights, and trainable parameters."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    macs = 0
    trainable: set[str] = set()
    for node in graph.node:
        if node.op_type == "Conv":
            macs += prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type == "Gemm":
            macs += prod(shapes[node.input[1]])
        if node.op_type in ("Conv", "Gemm", "BatchNormalization"):
            trainable.update(node.input[1:3])
    return macs, sum(prod(shapes[name]) for name in trainable)


def largest_activation(model: onnx.ModelProto, x: np.ndarray) -> float:
    """The largest magnitude of any node's output."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    known = {output.name for output in probed.graph.output}
    for node in probed.graph.node:
        if node.output[0] not in known:
            probed.graph.output.add().name = node.output[0]
    session = onnxruntime.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    return max(float(np.abs(values).max()) for values in session.run(None, {"input": x}))


def main() -> None:
    """The command line; see the module's documentation."""
    model = onnx.load(sys.argv[1])
    onnx.checker.check_model(model, full_check=True)
    onnxruntime.set_default_logger_severity(3)  # level data are initializers that no node reads
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    macs, n_parameters = counts(model)
    levels = []
    for level, outputs in supernet.run_levels(model, {"input": x}):
        rms = float(np.sqrt(np.mean(outputs["output"] ** 2)))
        levels.append({"density": supernet.density(model, level), "rms": rms})
    report = {
        "problems": supernet.problems(model),
        "macs": macs,
        "n_parameters": n_parameters,
        "largest": largest_activation(model, x),
        "levels": levels,
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
