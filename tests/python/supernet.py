"""Reference reading of supernet ONNX files: what each level means, in plain ONNX.

`materialize_level` writes a level out as an ordinary model, weights masked, with nothing of
condensec left in it; any runtime then says what that level must compute. It is the slow and
obvious side of the differential tests, so it shares no code with the compiler and folds nothing:
masks, per-level parameters and scales are applied to the initializers and the graph stays as is.

    python supernet.py check IN.onnx
    python supernet.py materialize IN.onnx LEVEL OUT.onnx
    python supernet.py run IN.onnx --inputs in.npz --outputs-prefix DIR

The format (K levels, L0 the sparsest, the file's plain meaning is the highest level):

metadata `condense.version` = 1, `condense.levels` = K, optional `condense.level_names`
`W__level`    uint8, shape of the weight W or of its block grid ceil(dim / block), the block from
              metadata `condense.block:W` = `4x1x1x1`; v = active at every level >= v
`P__levels`   [K, *shape of P]: the small parameter P at each level
`W__scale`    f32 [K, C_out]: multiplies each output channel's sum, before the bias
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

MAX_LEVELS = 64
METADATA_PREFIX = "condense."
BLOCK_PREFIX = "condense.block:"
SUFFIXES = ("__level", "__levels", "__scale")


class SupernetError(ValueError):
    """The file does not keep to the format; the message names the tensor."""


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The model's metadata as a dictionary."""
    return {p.key: p.value for p in model.metadata_props}


def n_levels(model: onnx.ModelProto) -> int:
    """Number of levels; 1 for a model without level data."""
    meta = metadata(model)
    if "condense.levels" not in meta:
        return 1
    if meta.get("condense.version") != "1":
        raise SupernetError(f"condense.version is {meta.get('condense.version')!r}, expected '1'")
    text = meta["condense.levels"]
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LEVELS:
        raise SupernetError(f"condense.levels is {text!r}, expected 1 to {MAX_LEVELS}")
    return int(text)


def level_names(model: onnx.ModelProto) -> list[str]:
    """The levels' names, L0 first; `L0`, `L1`, .. where the file names none."""
    count = n_levels(model)
    text = metadata(model).get("condense.level_names")
    if text is None:
        return [f"L{k}" for k in range(count)]
    names = text.split(",")
    if len(names) != count:
        raise SupernetError(f"condense.level_names lists {len(names)} names for {count} levels")
    return names


def merge_sidecar(model: onnx.ModelProto, tensors: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of `model` with the level data of a sidecar `.npz` put in (replacing its own)."""
    merged = onnx.ModelProto()
    merged.CopyFrom(model)
    _drop_initializers(merged.graph, set(tensors))
    merged.graph.initializer.extend(numpy_helper.from_array(tensors[name], name) for name in sorted(tensors))
    return merged


def active(model: onnx.ModelProto, weight: str, level: int) -> np.ndarray:
    """Where the weight is active at `level`: booleans of the weight's shape, all true without a mask."""
    tensors = _initializers(model)
    shape = tuple(tensors[weight].dims)
    if f"{weight}__level" not in tensors:
        return np.ones(shape, dtype=bool)
    return _expand(model, weight, shape, numpy_helper.to_array(tensors[f"{weight}__level"])) <= level


def density(model: onnx.ModelProto, level: int) -> float:
    """Kept weights / all weights of the layers that have a mask, a fraction in [0, 1]."""
    masks = [active(model, name, level) for name in _bases(model, "__level")]
    n_weights = sum(mask.size for mask in masks)
    return sum(int(mask.sum()) for mask in masks) / n_weights if n_weights else 1.0


def materialize_level(model: onnx.ModelProto, level: int) -> onnx.ModelProto:
    """The ordinary ONNX model that `level` stands for; `model` is left as it is.

    Weights that are not active are zero (the zero point, where the weight is quantised), per-level
    parameters have their row of `level`, scales are multiplied into the weights. Level data and
    `condense.*` metadata are gone.

    Raises SupernetError where the file breaks the format.
    """
    count = n_levels(model)
    if not 0 <= level < count:
        raise SupernetError(f"level {level} of a model with {count} levels")
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    if "condense.levels" not in metadata(model):
        return plain

    tensors = _initializers(plain)
    for name in _bases(model, "__level"):
        weight = numpy_helper.to_array(tensors[name])
        fill = _masked_value(plain, name, weight)
        _set(tensors[name], np.where(active(model, name, level), weight, fill))
    for name in _bases(model, "__scale"):
        weight = numpy_helper.to_array(tensors[name])
        rows = numpy_helper.to_array(tensors[f"{name}__scale"])
        if weight.dtype.kind in "iu":
            raise SupernetError(f"{name}__scale: the weight is {weight.dtype}, only float weights can be scaled")
        if rows.dtype != np.float32 or rows.ndim < 2 or rows.shape[0] != count:
            raise SupernetError(f"{name}__scale is {rows.dtype} {list(rows.shape)}, expected float32 [{count}, C_out]")
        factor = _scale_factor(plain, name, weight.shape, rows[level])
        _set(tensors[name], (weight * factor).astype(weight.dtype))
    for name in _bases(model, "__levels"):
        rows = numpy_helper.to_array(tensors[f"{name}__levels"])
        expected = (count, *tensors[name].dims)
        if rows.shape != expected:
            raise SupernetError(f"{name}__levels is {list(rows.shape)}, expected {list(expected)}")
        _set(tensors[name], rows[level])

    _drop_initializers(plain.graph, {base + suffix for suffix in SUFFIXES for base in _bases(model, suffix)})
    kept = [p for p in plain.metadata_props if not p.key.startswith(METADATA_PREFIX)]
    del plain.metadata_props[:]
    plain.metadata_props.extend(kept)
    return plain


def problems(model: onnx.ModelProto) -> list[str]:
    """What is wrong with the file's level data, one line each; empty if nothing is."""
    try:
        count = n_levels(model)
        level_names(model)
        top = materialize_level(model, count - 1)
    except SupernetError as error:
        return [str(error)]
    found: list[str] = []
    if "condense.levels" not in metadata(model):
        return found
    given = _initializers(model)
    for key in metadata(model):
        if key.startswith(BLOCK_PREFIX) and f"{key[len(BLOCK_PREFIX) :]}__level" not in given:
            found.append(f"metadata {key} belongs to no initializer")
    # The plain file must mean the highest level: no weight it drops, no other parameter.
    for name, tensor in _initializers(top).items():
        there, here = numpy_helper.to_array(tensor), numpy_helper.to_array(given[name])
        differs = np.argwhere((there != here) & ~((there != there) & (here != here)))  # NaN equals NaN
        if len(differs):
            at = tuple(int(i) for i in differs[0])
            found.append(f"{name}{list(at)} is {here[at]} in the plain file and {there[at]} at the highest level")
    return found


def run_model(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's outputs by name, from ONNX Runtime with one thread and nothing optimised."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def run_levels(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Every level's outputs by name, L0 first."""
    for level in range(n_levels(model)):
        yield level, run_model(materialize_level(model, level), inputs)


def _initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _bases(model: onnx.ModelProto, suffix: str) -> list[str]:
    """Names of the initializers that have a companion `<name><suffix>`, sorted."""
    tensors = _initializers(model)
    bases = sorted(name[: -len(suffix)] for name in tensors if name.endswith(suffix) and name != suffix)
    for base in bases:
        if base not in tensors:
            raise SupernetError(f"{base}{suffix} belongs to no initializer: there is no {base!r}")
    return bases


def _set(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    if values.dtype != onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type):
        raise SupernetError(f"{tensor.name}: its level data is {values.dtype}, the tensor is not")
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


def _drop_initializers(graph: onnx.GraphProto, names: set[str]) -> None:
    kept = [tensor for tensor in graph.initializer if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    # Up to IR version 3 every initializer is listed as an input too.
    inputs = [value for value in graph.input if value.name not in names]
    del graph.input[:]
    graph.input.extend(inputs)


def _expand(model: onnx.ModelProto, weight: str, shape: tuple[int, ...], level_data: np.ndarray) -> np.ndarray:
    """Level data of a weight's shape or of its block grid -> of the weight's shape."""
    name = f"{weight}__level"
    if level_data.dtype != np.uint8:
        raise SupernetError(f"{name} is {level_data.dtype}, expected uint8")
    if level_data.shape == shape:
        return level_data
    text = metadata(model).get(BLOCK_PREFIX + weight)
    if text is None:
        raise SupernetError(f"{name} is {list(level_data.shape)}, the weight {list(shape)}, and no block is given")
    try:
        block = tuple(int(part) for part in text.split("x"))
    except ValueError:
        block = ()
    if len(block) != len(shape) or min(block, default=0) < 1:
        raise SupernetError(f"{BLOCK_PREFIX}{weight} is {text!r}, expected {len(shape)} positive sizes, as in 4x1x1x1")
    grid = tuple(-(-dim // size) for dim, size in zip(shape, block, strict=True))
    if level_data.shape != grid:
        raise SupernetError(
            f"{name} is {list(level_data.shape)}, expected {list(shape)} or, of blocks {text}, {list(grid)}"
        )
    for axis, size in enumerate(block):
        level_data = level_data.repeat(size, axis=axis)
    return level_data[tuple(slice(dim) for dim in shape)]


def _consumers(graph: onnx.GraphProto, name: str) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Nodes that read the value, with the input's position, bodies of If and Loop included."""
    for node in graph.node:
        for position, read in enumerate(node.input):
            if read == name:
                yield node, position
        for attribute in node.attribute:
            bodies = [attribute.g] if attribute.HasField("g") else attribute.graphs
            for body in bodies:
                yield from _consumers(body, name)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def _masked_value(model: onnx.ModelProto, name: str, weight: np.ndarray) -> np.ndarray:
    """What a weight that is not active holds: zero, or the zero point that stands for it."""
    zero = np.zeros((), dtype=weight.dtype)
    if weight.dtype.kind not in "iu":
        return zero
    tensors = _initializers(model)
    values = []
    for node, position in _consumers(model.graph, name):
        if node.op_type != "DequantizeLinear" or position != 0:
            raise SupernetError(f"{name}__level: a {weight.dtype} weight read by {node.op_type} has no known zero")
        if len(node.input) < 3 or not node.input[2]:
            values.append(zero)
            continue
        if node.input[2] not in tensors or _attribute(node, "block_size", 0):
            raise SupernetError(
                f"{name}__level: the zero point of {node.name!r} is not a per-tensor or per-axis constant"
            )
        point = numpy_helper.to_array(tensors[node.input[2]])
        if point.ndim == 1:
            shape = [1] * weight.ndim
            shape[_attribute(node, "axis", 1)] = point.size
            point = point.reshape(shape)
        values.append(point)
    if any(not np.array_equal(value, values[0]) for value in values):
        raise SupernetError(f"{name}__level: the weight is read with different zero points")
    return values[0] if values else zero


def _scale_factor(model: onnx.ModelProto, name: str, shape: tuple[int, ...], row: np.ndarray) -> np.ndarray:
    """One level's scales, brought to a shape that broadcasts over the weight."""
    factors = []
    for node, position in _consumers(model.graph, name):
        factor = _channel_factor(node, position, shape, row)
        if factor is None:
            raise SupernetError(
                f"{name}__scale has {row.size} channels, which does not fit {list(shape)}"
                f" as input {position} of {node.op_type} {node.name!r}"
            )
        factors.append(np.broadcast_to(factor, shape))
    if any(not np.array_equal(factor, factors[0]) for factor in factors):
        raise SupernetError(f"{name}__scale: the nodes that read the weight disagree on its output channels")
    return factors[0] if factors else np.ones(shape, dtype=row.dtype)


def _channel_factor(node: onnx.NodeProto, position: int, shape: tuple[int, ...], row: np.ndarray) -> np.ndarray | None:
    """`row` along the output channels of a weight that is this input of this node; None if it does not fit."""
    rank = len(shape)
    if node.op_type == "ConvTranspose" and position == 1:
        # [C_in, C_out / group, ..]: each group of input channels makes its own output channels.
        groups = _attribute(node, "group", 1)
        if row.size != shape[1] * groups or shape[0] % groups:
            return None
        per_group = row.reshape(groups, shape[1]).repeat(shape[0] // groups, axis=0)
        return per_group.reshape(*per_group.shape, *[1] * (rank - 2))
    if node.op_type in ("LSTM", "GRU", "RNN") and position in (1, 2):
        # [directions, gates * hidden, ..]: every gate's row is an output channel.
        return row.reshape(shape[0], shape[1], 1) if row.size == shape[0] * shape[1] else None
    if node.op_type == "Conv" and position == 1:
        axis = 0
    elif node.op_type == "Gemm" and position == 1:
        axis = 0 if _attribute(node, "transB", 0) else 1
    elif node.op_type == "Gemm" and position == 0:
        axis = 1 if _attribute(node, "transA", 0) else 0
    elif node.op_type == "MatMul" and rank >= 2:
        axis = rank - 1 if position == 1 else rank - 2
    else:
        return None
    if row.size != shape[axis]:
        return None
    return row.reshape([row.size if i == axis else 1 for i in range(rank)])


def _load(path: Path, masks: Path | None) -> onnx.ModelProto:
    model = onnx.load(path)
    if masks is None:
        return model
    with np.load(masks) as sidecar:
        return merge_sidecar(model, {name: sidecar[name] for name in sidecar.files})


def main() -> int:
    """The command line; see the module's documentation."""
    parser = argparse.ArgumentParser(description="Reference reading of supernet ONNX files.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("model", type=Path, metavar="IN.onnx")
    common.add_argument("--masks", type=Path, metavar="FILE.npz", help="sidecar with the level data")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", parents=[common], help="list what breaks the format")
    materialize = commands.add_parser("materialize", parents=[common], help="write one level as an ordinary model")
    materialize.add_argument("level", type=int, metavar="LEVEL")
    materialize.add_argument("output", type=Path, metavar="OUT.onnx")
    run = commands.add_parser("run", parents=[common], help="run every level with ONNX Runtime")
    run.add_argument("--inputs", type=Path, required=True, metavar="in.npz", help="one array per input name")
    run.add_argument("--outputs-prefix", type=Path, required=True, metavar="DIR", help="gets out_L<k>.npz")
    arguments = parser.parse_args()

    try:
        model = _load(arguments.model, arguments.masks)
        if arguments.command == "check":
            found = problems(model)
            print("\n".join(found) or f"{n_levels(model)} levels, as the format asks")
            return 1 if found else 0
        if arguments.command == "materialize":
            onnx.save(materialize_level(model, arguments.level), arguments.output)
            return 0
        with np.load(arguments.inputs) as arrays:
            inputs = {name: arrays[name] for name in arrays.files}
        arguments.outputs_prefix.mkdir(parents=True, exist_ok=True)
        for level, outputs in run_levels(model, inputs):
            np.savez(arguments.outputs_prefix / f"out_L{level}.npz", **outputs)
    except (SupernetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
