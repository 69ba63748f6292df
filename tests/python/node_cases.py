"""Writes small models with inputs and reference outputs, one `.onnx` and one `.npz` (in_0, .., out_0, ..) each.

    python node_cases.py OUT_DIR

Three sources: the ONNX backend node tests (operator sets up to the newest); the single-layer models converted from
PyTorch that come with them, marked as operator set 7; and cases of our own for what older operator sets do differently.
The references of the first come with the tests, those of the others are ONNX Runtime's.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

warnings.filterwarnings("ignore")

PLAIN_TYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")


def is_plain(values) -> bool:
    """Whether all values are arrays of types that the reader of the cases knows."""
    return all(isinstance(v, (np.ndarray, np.generic)) and str(v.dtype) in PLAIN_TYPES for v in values)


def write(out: Path, name: str, model: onnx.ModelProto, inputs, outputs) -> None:
    arrays = {f"in_{i}": np.ascontiguousarray(v) for i, v in enumerate(inputs)}
    arrays |= {f"out_{i}": np.ascontiguousarray(v) for i, v in enumerate(outputs)}
    # ascontiguousarray turns scalars into vectors.
    arrays |= {f"in_{i}": v for i, v in enumerate(inputs) if np.ndim(v) == 0}
    arrays |= {f"out_{i}": v for i, v in enumerate(outputs) if np.ndim(v) == 0}
    np.savez(out / f"{name}.npz", **arrays)
    onnx.save(model, out / f"{name}.onnx")


def run(model: onnx.ModelProto, inputs) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs)))


def backend_cases(out: Path) -> None:
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        inputs, outputs = case.data_sets[0]
        if is_plain(inputs) and is_plain(outputs) and sum(np.size(v) for v in [*inputs, *outputs]) < 1_000_000:
            write(out, case.name, case.model, inputs, outputs)


def converted_cases(out: Path) -> None:
    data = Path(onnx.__file__).parent / "backend/test/data"
    for folder in sorted([*(data / "pytorch-converted").iterdir(), *(data / "pytorch-operator").iterdir()]):
        model = onnx.load(folder / "model.onnx")
        inputs = []
        for file in sorted(folder.glob("test_data_set_0/input_*.pb")):
            inputs.append(numpy_helper.to_array(onnx.load_tensor(file)))
        model.opset_import[0].version = 7
        try:
            outputs = run(model, inputs)
        except Exception:  # what operator set 7 does not read any more
            continue
        if is_plain(inputs) and is_plain(outputs):
            write(out, f"pytorch_{folder.name.removeprefix('test_')}", model, inputs, outputs)


def own_cases(out: Path) -> None:
    rng = np.random.default_rng(1)

    def floats(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def case(name, opset, op, attributes, inputs, constants=(), n_outputs=1):
        """A node with run-time float `inputs` and then constants."""
        names = [f"x{i}" for i in range(len(inputs))]
        tensors = []
        for i, value in enumerate(constants):
            names.append("" if value is None else f"c{i}")
            if value is not None:
                tensors.append(numpy_helper.from_array(np.asarray(value), f"c{i}"))
        outputs = [f"y{i}" for i in range(n_outputs)]
        graph = helper.make_graph(
            [helper.make_node(op, names, outputs, **attributes)],
            name,
            [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, v.shape) for i, v in enumerate(inputs)],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
            tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        write(out, f"own_{name}", model, inputs, run(model, inputs))

    x4, x3, x2 = floats(2, 3, 5, 6), floats(2, 3, 7), floats(4, 6)
    ints = lambda *values: np.array(values, dtype=np.int64)  # noqa: E731
    f32 = lambda *values: np.array(values, dtype=np.float32)  # noqa: E731

    for axis in (0, 1, 2, 3, -1):
        if axis >= 0:
            case(f"softmax_7_axis{axis}", 7, "Softmax", {"axis": axis}, [x4])
        case(f"softmax_11_axis{axis % 4}", 11, "Softmax", {"axis": axis}, [x4])
        case(f"log_softmax_12_axis{axis % 4}", 12, "LogSoftmax", {"axis": axis}, [x4])
    case("clip_6_both", 7, "Clip", {"min": -0.5, "max": 0.5}, [x4])
    case("clip_6_max", 7, "Clip", {"max": 0.5}, [x4])
    case("clip_11_min", 11, "Clip", {}, [x4], [np.float32(-0.25)])
    case("clip_13_max", 13, "Clip", {}, [x4], [None, np.float32(0.25)])
    case("pad_2_constant", 7, "Pad", {"pads": [0, 1, 2, 0, 0, 0, 1, 3], "value": 1.5}, [x4])
    case("pad_2_negative", 7, "Pad", {"pads": [0, 0, -1, 1, 0, -1, 0, -2]}, [x4])
    for mode in ("reflect", "edge"):
        case(f"pad_2_{mode}", 7, "Pad", {"pads": [0, 0, 2, 1, 0, 0, 3, 2], "mode": mode}, [x4])
    case("pad_18_axes", 18, "Pad", {}, [x4], [ints(1, 2, 3, 0), np.float32(0.5), ints(-1, 2)])
    case("pad_19_wrap", 19, "Pad", {"mode": "wrap"}, [x4], [ints(0, 0, 1, 2, 0, 0, 3, 1)])
    case("slice_1", 9, "Slice", {"starts": [1, -4], "ends": [100, -1], "axes": [1, 3]}, [x4])
    case("slice_10_steps", 10, "Slice", {}, [x4], [ints(-1, 0), ints(-100, 6), ints(2, 3), ints(-2, 4)])
    case("squeeze_11", 11, "Squeeze", {"axes": [0, -2]}, [floats(1, 3, 1, 2)])
    case("squeeze_13_all", 13, "Squeeze", {}, [floats(1, 3, 1, 2)])
    case("unsqueeze_11", 11, "Unsqueeze", {"axes": [0, -1]}, [x2])
    case("unsqueeze_13", 13, "Unsqueeze", {}, [x2], [ints(1, 2)])
    case("split_2", 7, "Split", {"axis": 3, "split": [1, 3, 2]}, [x4], n_outputs=3)
    case("split_11_equal", 11, "Split", {"axis": -1}, [x4], n_outputs=2)
    case("split_13", 13, "Split", {"axis": 2}, [x4], [ints(4, 1)], n_outputs=2)
    case("split_18_uneven", 18, "Split", {"axis": 2, "num_outputs": 2}, [x4], n_outputs=2)
    for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"):
        case(f"{op}_7", 7, op, {"axes": [1, 3], "keepdims": 0}, [x4])
        case(f"{op}_11_negative", 11, op, {"axes": [-1]}, [x4])
        case(f"{op}_7_all", 7, op, {"keepdims": 0}, [x4])
        case(f"{op}_18", 18, op, {"keepdims": 0}, [x4], [ints(2, -1)])
        case(f"{op}_18_noop", 18, op, {"noop_with_empty_axes": 1}, [x4], [ints()])
    for name, scales in (("up", [1, 1, 2, 3]), ("down", [1, 1, 0.6, 0.5]), ("both", [1, 1, 0.5, 2.5]), ("width", [1, 1, 1, 0.4])):
        for mode in ("nearest", "linear"):
            case(f"resize_10_{name}_{mode}", 10, "Resize", {"mode": mode}, [x4], [f32(*scales)])
            for coordinates in ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"):
                attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
                case(f"resize_11_{name}_{mode}_{coordinates}", 11, "Resize", attributes, [x4], [f32(), f32(*scales)])
                sizes = ints(2, 3, *(int(s * n) for s, n in zip(scales[2:], (5, 6))))
                case(f"resize_13_{name}_{mode}_{coordinates}_sizes", 13, "Resize", attributes, [x4], [None, None, sizes])
    for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        attributes = {"mode": "nearest", "nearest_mode": nearest, "coordinate_transformation_mode": "half_pixel"}
        case(f"resize_11_{nearest}", 11, "Resize", attributes, [x4], [f32(), f32(1, 1, 1.7, 0.7)])
    case("resize_18_axes", 18, "Resize", {"mode": "linear", "axes": [3, 2]}, [x4], [None, f32(2, 1.5)])
    case("resize_18_not_larger", 18, "Resize", {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}, [x4], [None, None, ints(9, 9)])
    case("resize_rank3", 13, "Resize", {"mode": "linear"}, [x3], [None, f32(1, 1, 2)])
    case("resize_rank2", 13, "Resize", {"mode": "linear"}, [x2], [None, f32(1.5, 2)])
    for mode in ("nearest", "linear"):
        case(f"upsample_7_{mode}", 7, "Upsample", {"mode": mode, "scales": [1.0, 1.0, 2.0, 3.0]}, [x4])
        case(f"upsample_9_{mode}", 9, "Upsample", {"mode": mode}, [x4], [f32(1, 1, 2.5, 1.5)])

    w = floats(4, 3, 3, 3)
    for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        case(f"conv_{auto}", 11, "Conv", {"auto_pad": auto, "strides": [2, 1]}, [x4], [w, floats(4)])
        case(f"max_pool_{auto}", 11, "MaxPool", {"auto_pad": auto, "kernel_shape": [2, 3], "strides": [2, 2]}, [x4])
        case(f"average_pool_{auto}", 11, "AveragePool", {"auto_pad": auto, "kernel_shape": [2, 3], "strides": [2, 2]}, [x4])
        case(f"conv_transpose_{auto}", 11, "ConvTranspose", {"auto_pad": auto, "strides": [2, 3]}, [x4], [floats(3, 4, 3, 2)])
    case("conv_groups", 7, "Conv", {"group": 3, "pads": [1, 0, 2, 1], "dilations": [2, 1]}, [x4], [floats(6, 1, 3, 3), floats(6)])
    case("conv_1d", 7, "Conv", {"pads": [2, 1], "strides": [2], "dilations": [2]}, [x3], [floats(5, 3, 2), floats(5)])
    case("conv_run_time_bias", 7, "Conv", {}, [x4], [w])
    transposes = {
        "plain": {},
        "strides": {"strides": [2, 3]},
        "pads": {"strides": [2, 2], "pads": [1, 0, 0, 1]},
        "large_pads": {"strides": [2, 2], "pads": [3, 2, 2, 3]},
        "dilations": {"strides": [2, 1], "dilations": [2, 3], "pads": [1, 1, 1, 1]},
        "output_padding": {"strides": [2, 3], "output_padding": [1, 2]},
        "output_shape": {"strides": [2, 3], "output_shape": [10, 18]},
        "output_shape_upper": {"strides": [2, 3], "output_shape": [9, 17], "auto_pad": "SAME_UPPER"},
    }
    for name, attributes in transposes.items():
        case(f"conv_transpose_{name}", 11, "ConvTranspose", attributes, [x4], [floats(3, 4, 3, 2), floats(4)])
    case("conv_transpose_groups", 11, "ConvTranspose", {"group": 2, "strides": [2, 2]}, [floats(1, 4, 3, 3)], [floats(4, 3, 2, 2), floats(6)])
    case("conv_transpose_1d", 11, "ConvTranspose", {"strides": [3], "pads": [1, 0]}, [x3], [floats(3, 2, 4), floats(2)])
    for name, attributes in {
        "ceil": {"ceil_mode": 1, "strides": [2, 2], "kernel_shape": [2, 3]},
        "ceil_pads": {"ceil_mode": 1, "strides": [3, 2], "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        "ceil_dropped": {"ceil_mode": 1, "strides": [3, 3], "kernel_shape": [2, 2], "pads": [1, 1, 1, 1]},
        "pads": {"strides": [1, 2], "kernel_shape": [3, 2], "pads": [2, 0, 1, 1]},
    }.items():
        case(f"max_pool_{name}", 12, "MaxPool", attributes, [x4])
        case(f"average_pool_{name}", 12, "AveragePool", attributes, [x4])
        case(f"average_pool_{name}_counted", 12, "AveragePool", attributes | {"count_include_pad": 1}, [x4])
    case("max_pool_dilations", 12, "MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 3]}, [x4])
    case("max_pool_1d", 12, "MaxPool", {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}, [x3])
    case("average_pool_1d", 12, "AveragePool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, [x3])

    stats = [floats(3), floats(3), floats(3), np.abs(floats(3)) + 0.5]
    for opset in (7, 9, 14, 15):
        case(f"batch_normalization_{opset}", opset, "BatchNormalization", {"epsilon": 1e-3}, [x4], stats)
    case("batch_normalization_matrix", 9, "BatchNormalization", {}, [floats(5, 3)], stats)
    for trans_a in (0, 1):
        for trans_b in (0, 1):
            a, b = (floats(6, 4) if trans_a else floats(4, 6)), (floats(5, 6) if trans_b else floats(6, 5))
            attributes = {"transA": trans_a, "transB": trans_b, "alpha": 0.5, "beta": 2.0}
            for name, c in {"row": floats(5), "matrix": floats(4, 5), "column": floats(4, 1), "scalar": np.float32(3)}.items():
                case(f"gemm_{trans_a}{trans_b}_{name}", 11, "Gemm", attributes, [a], [b, c])
            case(f"gemm_{trans_a}{trans_b}_run_time", 11, "Gemm", attributes, [a, b], [floats(5)])
            case(f"gemm_{trans_a}{trans_b}_no_bias", 11, "Gemm", attributes, [a], [b])
    case("gemm_square_column", 11, "Gemm", {}, [floats(4, 6)], [floats(6, 4), floats(4, 1)])
    for name, a, b in (
        ("matrix", (4, 6), (6, 5)),
        ("batch", (2, 3, 4, 6), (6, 5)),
        ("vector_right", (4, 6), (6,)),
        ("vector_left", (6,), (6, 5)),
        ("vectors", (6,), (6,)),
        ("batch_right", (4, 6), (2, 6, 5)),
        ("ones_right", (4, 6), (1, 1, 6, 5)),
        ("batch_both", (3, 1, 4, 6), (2, 6, 5)),
        ("vector_batch", (6,), (2, 6, 5)),
        ("batch_vector", (2, 4, 6), (6,)),
    ):
        case(f"mat_mul_{name}_constant", 13, "MatMul", {}, [floats(*a)], [floats(*b)])
        case(f"mat_mul_{name}_run_time", 13, "MatMul", {}, [floats(*a), floats(*b)])
    case("gather_rows", 11, "Gather", {"axis": 1}, [x4], [ints(2, 0, 0, 1)])
    case("gather_scalar", 11, "Gather", {"axis": -1}, [x4], [np.int64(-2)])
    case("gather_matrix", 11, "Gather", {"axis": 3}, [x4], [np.array([[0, 2, 4], [5, 4, 3]])])
    case("tile", 13, "Tile", {}, [x3], [ints(2, 1, 3)])
    case("expand", 13, "Expand", {}, [floats(3, 1, 2)], [ints(2, 1, 4, 1)])
    case("expand_rank", 13, "Expand", {}, [floats(3, 2)], [ints(1, 1, 3, 2)])
    case("flatten_0", 9, "Flatten", {"axis": 0}, [x4])
    case("flatten_end", 9, "Flatten", {"axis": 4}, [x4])
    case("flatten_negative", 11, "Flatten", {"axis": -1}, [x4])
    case("p_relu_channels", 9, "PRelu", {}, [x4], [floats(3, 1, 1)])
    case("p_relu_scalar", 9, "PRelu", {}, [x4], [floats(1)])
    case("gelu_tanh", 20, "Gelu", {"approximate": "tanh"}, [x4])
    case("pow_integer", 13, "Pow", {}, [np.abs(x4)], [ints(3)])
    case("max_of_three", 8, "Max", {}, [x4, floats(6), floats(5, 1)])
    case("sum_of_three", 8, "Sum", {}, [x4, floats(6), floats(5, 1)])
    case("depth_to_space_dcr", 11, "DepthToSpace", {"blocksize": 2}, [floats(1, 8, 2, 3)])
    case("depth_to_space_crd", 11, "DepthToSpace", {"blocksize": 2, "mode": "CRD"}, [floats(1, 8, 2, 3)])
    case("space_to_depth", 11, "SpaceToDepth", {"blocksize": 2}, [floats(1, 2, 4, 6)])
    case("dropout_7", 7, "Dropout", {"ratio": 0.4}, [x4])
    case("dropout_13", 13, "Dropout", {}, [x4], [np.float32(0.4), np.bool_(False)])

    def where(name, condition, nodes_inputs, constants):
        tensors = [numpy_helper.from_array(np.asarray(condition), "condition")]
        tensors += [numpy_helper.from_array(v, n) for n, v in constants.items()]
        graph = helper.make_graph(
            [helper.make_node("Where", ["condition", "x", "y"], ["z"])],
            name,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in nodes_inputs.items()],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
            tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        inputs = list(nodes_inputs.values())
        write(out, f"own_{name}", model, inputs, run(model, inputs))

    triangle = np.tril(np.ones((4, 4), dtype=bool))
    where("where_infinity", triangle, {"x": floats(2, 4, 4)}, {"y": f32(-np.inf)})
    where("where_both", triangle, {"x": floats(2, 4, 4), "y": floats(4, 1)}, {})
    where("where_true", np.ones((1, 4), dtype=bool), {"x": floats(2, 4, 1), "y": floats(4)}, {})
    where("where_constant_x", triangle, {"y": floats(2, 4, 4)}, {"x": f32(np.inf)})


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    os.makedirs(out, exist_ok=True)
    backend_cases(out)
    converted_cases(out)
    own_cases(out)


if __name__ == "__main__":
    main()
