"""Writes a supernet as ONNX: the highest level as an ordinary file, the level data beside it.

PyTorch exports the highest level as the ordinary module that it is, unoptimised, so that every
weight and every batch norm's tensor is an initializer under its name in the module. The level data
is then added under that name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir
import torch
from onnx import helper, numpy_helper
from onnxscript import optimizer
from torch import Tensor, nn

from condense_torch.supernet import Supernet

OPSET = 18


def to_onnx(
    supernet: Supernet,
    example: Tensor,
    *,
    input_name: str = "input",
    output_name: str = "output",
    level_names: Sequence[str] | None = None,
) -> onnx.ModelProto:
    """The supernet for inputs of `example`'s shape but for the batch; checked.

    Levels are called after their densities unless `level_names`, L0 first, says otherwise.
    """
    names = list(level_names or (f"d{density:g}" for density in supernet.densities))
    plain = supernet.to_plain(supernet.n_levels - 1).eval()
    model = _export(plain, example, input_name, output_name)
    level_data: dict[str, Tensor] = {}
    metadata = {
        "condense.version": "1",
        "condense.levels": str(supernet.n_levels),
        "condense.level_names": ",".join(names),
    }
    for name, mask in supernet.masks():
        level_data[f"{name}__level"] = mask.level
        n_dims = plain.get_parameter(name).dim()
        metadata[f"condense.block:{name}"] = "x".join(map(str, supernet.block.sizes(n_dims)))
    for name, norm in supernet.norms():
        level_data |= {f"{name}.{tensor}__levels": rows for tensor, rows in norm.rows().items()}

    known = {tensor.name for tensor in model.graph.initializer}
    lost = sorted({name.rpartition("__")[0] for name in level_data} - known)
    if lost:
        raise ValueError(f"the exporter left no initializer called {lost[0]!r}: does `forward` use that module?")
    for name, values in level_data.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.cpu().numpy()), name))
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def _export(plain: nn.Module, example: Tensor, input_name: str, output_name: str) -> onnx.ModelProto:
    """`plain` with an initializer per parameter and buffer, under its name."""
    # A batch of 1 would be taken for a constant.
    pair = torch.cat([example, example])[:2]
    program = torch.onnx.export(
        plain,
        (pair,),
        input_names=[input_name],
        output_names=[output_name],
        opset_version=OPSET,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        # The exporter's optimiser would fold batch norm into the weights, which all levels share.
        optimize=False,
        verbose=False,
    )
    assert program is not None
    parameters = set(plain.state_dict())

    def should_fold(node: onnx_ir.Node) -> bool | None:
        uses_parameter = any(value is not None and value.name in parameters for value in node.inputs)
        return False if uses_parameter and node.op_type != "Shape" else None

    # Shapes and other arithmetic on constants that the exporter writes out.
    optimizer.fold_constants(program.model, should_fold=should_fold)
    optimizer.remove_unused_nodes(program.model)
    model = program.model_proto
    _drop_traces(model)
    return model


def _drop_traces(model: onnx.ModelProto) -> None:
    """Removes the exporter's notes of source lines and folders, which are no part of the model."""
    graph = model.graph
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
