"""Tests of `supernet.py`, each on the smallest graph that shows the rule.

python -m unittest discover -s tests/python
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import supernet

RANDOM = np.random.default_rng(1)


def random(*shape: int) -> np.ndarray:
    """Standard normal float32 values."""
    return RANDOM.standard_normal(shape).astype(np.float32)


def model_of(
    node: onnx.NodeProto | list[onnx.NodeProto],
    x_shape: list[int],
    tensors: dict[str, np.ndarray],
    levels: int | None = 2,
    blocks: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """Input `x`, output `y`, initializers `tensors`; `blocks` gives `condense.block:<name>`."""
    graph = helper.make_graph(
        node if isinstance(node, list) else [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if levels is not None:
        condense = {"condense.version": "1", "condense.levels": str(levels)}
        sizes = {f"condense.block:{name}": text for name, text in (blocks or {}).items()}
        helper.set_model_props(model, {"author": "us"} | condense | sizes)
    return model


def output(model: onnx.ModelProto, x: np.ndarray, level: int) -> np.ndarray:
    """`y` at a level."""
    return supernet.run_model(supernet.materialize_level(model, level), {"x": x})["y"]


MATMUL = helper.make_node("MatMul", ["x", "W"], ["y"])


class Masks(unittest.TestCase):
    def test_full_shape(self) -> None:
        w, x = random(2, 2), random(1, 2)
        data = np.array([[0, 1], [2, 0]], dtype=np.uint8)  # 2 = never active
        model = model_of(MATMUL, [1, 2], {"W": w, "W__level": data})
        np.testing.assert_allclose(output(model, x, 0), x @ (w * [[1, 0], [0, 1]]), rtol=1e-6)
        np.testing.assert_allclose(output(model, x, 1), x @ (w * [[1, 1], [0, 1]]), rtol=1e-6)
        self.assertEqual([supernet.density(model, k) for k in (0, 1)], [0.5, 0.75])

    def test_block_grid_with_ragged_edge(self) -> None:
        w = random(3, 5)
        data = np.array([[0, 1, 0], [1, 0, 1]], dtype=np.uint8)
        model = model_of(MATMUL, [1, 3], {"W": w, "W__level": data}, blocks={"W": "2x2"})
        expected = np.array([[1, 1, 0, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 0]], dtype=bool)
        np.testing.assert_array_equal(supernet.active(model, "W", 0), expected)
        self.assertTrue(supernet.active(model, "W", 1).all())

    def test_quantised_weight_falls_to_its_zero_point(self) -> None:
        nodes = [
            helper.make_node("DequantizeLinear", ["W", "s", "z"], ["d"], axis=1),
            helper.make_node("MatMul", ["x", "d"], ["y"]),
        ]
        tensors: dict[str, np.ndarray] = {
            "W": np.array([[5, 6], [7, 8]], dtype=np.int8),
            "s": np.array([0.5, 2], dtype=np.float32),
            "z": np.array([3, -1], dtype=np.int8),
            "W__level": np.array([[0, 1], [1, 0]], dtype=np.uint8),
        }
        x = np.array([[1, 1]], dtype=np.float32)
        model = model_of(nodes, [1, 2], tensors)
        np.testing.assert_array_equal(output(model, x, 0), [[1, 18]])
        np.testing.assert_array_equal(output(model, x, 1), [[3, 32]])

    def test_sidecar_is_the_same_as_initializers(self) -> None:
        w, data = random(2, 2), np.array([[0, 1], [1, 0]], dtype=np.uint8)
        inside = model_of(MATMUL, [1, 2], {"W": w, "W__level": data})
        outside = supernet.merge_sidecar(model_of(MATMUL, [1, 2], {"W": w}), {"W__level": data})
        self.assertEqual(supernet.materialize_level(outside, 0), supernet.materialize_level(inside, 0))


class Parameters(unittest.TestCase):
    def test_row_of_the_level(self) -> None:
        rows = random(2, 3)
        model = model_of(helper.make_node("Add", ["x", "b"], ["y"]), [1, 3], {"b": rows[1], "b__levels": rows})
        x = random(1, 3)
        for level in (0, 1):
            np.testing.assert_array_equal(output(model, x, level), x + rows[level])
        self.assertEqual(supernet.problems(model), [])

    def test_level_data_and_metadata_are_gone(self) -> None:
        rows = random(2, 3)
        model = model_of(helper.make_node("Add", ["x", "b"], ["y"]), [1, 3], {"b": rows[1], "b__levels": rows})
        before = model.SerializeToString(deterministic=True)
        plain = supernet.materialize_level(model, 0)
        self.assertEqual([t.name for t in plain.graph.initializer], ["b"])
        self.assertEqual(supernet.metadata(plain), {"author": "us"})
        self.assertEqual(model.SerializeToString(deterministic=True), before)


class Scales(unittest.TestCase):
    def check(
        self, node: onnx.NodeProto, x: np.ndarray, tensors: dict[str, np.ndarray], n_channels: int, axis: int
    ) -> None:
        """Scaling the weight must equal scaling the output along `axis`, the bias apart."""
        scale = np.stack([random(n_channels), np.ones(n_channels, dtype=np.float32)])
        model = model_of(node, list(x.shape), tensors | {"W__scale": scale})
        bias = tensors.get("b", np.zeros(n_channels, dtype=np.float32))
        plain = output(model_of(node, list(x.shape), tensors), x, 1)
        shape = [-1 if i == axis % plain.ndim else 1 for i in range(plain.ndim)]
        expected = (plain - bias.reshape(shape)) * scale[0].reshape(shape) + bias.reshape(shape)
        np.testing.assert_allclose(output(model, x, 0), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(output(model, x, 1), plain)

    def test_conv_in_groups(self) -> None:
        node = helper.make_node("Conv", ["x", "W", "b"], ["y"], group=2)
        self.check(node, random(1, 4, 5, 5), {"W": random(6, 2, 3, 3), "b": random(6)}, 6, axis=1)

    def test_conv_transpose_in_groups(self) -> None:
        node = helper.make_node("ConvTranspose", ["x", "W", "b"], ["y"], group=2)
        self.check(node, random(1, 4, 5, 5), {"W": random(4, 3, 3, 3), "b": random(6)}, 6, axis=1)

    def test_gemm_both_ways(self) -> None:
        for transposed in (0, 1):
            node = helper.make_node("Gemm", ["x", "W", "b"], ["y"], transB=transposed, alpha=0.5)
            self.check(
                node, random(2, 4), {"W": random(3, 4) if transposed else random(4, 3), "b": random(3)}, 3, axis=1
            )

    def test_matmul_on_either_side(self) -> None:
        self.check(MATMUL, random(2, 4), {"W": random(4, 3)}, 3, axis=1)
        self.check(helper.make_node("MatMul", ["W", "x"], ["y"]), random(4, 2), {"W": random(3, 4)}, 3, axis=0)

    def test_gru_rows(self) -> None:
        node = helper.make_node("GRU", ["x", "W", "R"], ["y"], hidden_size=2)
        w, r, scale = random(1, 6, 3), random(1, 6, 2), np.stack([random(6), np.ones(6, dtype=np.float32)])
        x = random(4, 1, 3)
        scaled = output(model_of(node, [4, 1, 3], {"W": w, "R": r, "W__scale": scale}), x, 0)
        by_hand = output(model_of(node, [4, 1, 3], {"W": w * scale[0].reshape(1, 6, 1), "R": r}), x, 0)
        np.testing.assert_array_equal(scaled, by_hand)

    def test_mask_and_scale_together(self) -> None:
        w, x = random(2, 2), random(1, 2)
        data = np.array([[0, 1], [1, 0]], dtype=np.uint8)
        scale = np.array([[2, 3], [1, 1]], dtype=np.float32)
        model = model_of(MATMUL, [1, 2], {"W": w, "W__level": data, "W__scale": scale})
        np.testing.assert_allclose(output(model, x, 0), x @ (w * np.eye(2)) * [2, 3], rtol=1e-6)


class Rejects(unittest.TestCase):
    def rejected(self, message: str, tensors: dict[str, np.ndarray], block: str | None = None) -> None:
        with self.assertRaisesRegex(supernet.SupernetError, message):
            supernet.materialize_level(model_of(MATMUL, [1, 2], tensors, blocks={"W": block} if block else None), 0)

    def test_level_data_of_another_shape(self) -> None:
        self.rejected("no block is given", {"W": random(2, 2), "W__level": np.zeros((1, 2), np.uint8)})
        self.rejected("expected 2 positive", {"W": random(2, 2), "W__level": np.zeros((1, 2), np.uint8)}, block="2")
        self.rejected("of blocks 2x2", {"W": random(2, 2), "W__level": np.zeros((1, 2), np.uint8)}, block="2x2")

    def test_level_data_of_another_type(self) -> None:
        self.rejected("expected uint8", {"W": random(2, 2), "W__level": np.zeros((2, 2), np.int64)})

    def test_level_data_of_nothing(self) -> None:
        self.rejected("there is no 'V'", {"W": random(2, 2), "V__level": np.zeros((2, 2), np.uint8)})

    def test_scale_of_another_size(self) -> None:
        self.rejected("has 3 channels", {"W": random(2, 2), "W__scale": np.ones((2, 3), np.float32)})

    def test_level_out_of_range(self) -> None:
        with self.assertRaisesRegex(supernet.SupernetError, "level 2 of a model with 2 levels"):
            supernet.materialize_level(model_of(MATMUL, [1, 2], {"W": random(2, 2)}), 2)

    def test_plain_file_that_is_not_the_highest_level(self) -> None:
        never = model_of(
            MATMUL, [1, 2], {"W": np.ones((2, 2), np.float32), "W__level": np.array([[0, 0], [2, 0]], np.uint8)}
        )
        self.assertEqual(supernet.problems(never), ["W[1, 0] is 1.0 in the plain file and 0.0 at the highest level"])


class CommandLine(unittest.TestCase):
    def test_run_writes_every_level(self) -> None:
        w, x = random(2, 2), random(1, 2)
        data = np.array([[0, 1], [1, 0]], dtype=np.uint8)
        model = model_of(MATMUL, [1, 2], {"W": w, "W__level": data})
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            onnx.save(model, folder / "m.onnx")
            np.savez(folder / "in.npz", x=x)
            tool = [sys.executable, supernet.__file__]
            command = [*tool, "run", "m.onnx", "--inputs", "in.npz", "--outputs-prefix", "out"]
            subprocess.run(command, cwd=folder, check=True)
            for level in (0, 1):
                with np.load(folder / "out" / f"out_L{level}.npz") as found:
                    np.testing.assert_array_equal(found["y"], output(model, x, level))
            subprocess.run([*tool, "materialize", "m.onnx", "0", "l0.onnx"], cwd=folder, check=True)
            self.assertEqual(onnx.load(folder / "l0.onnx"), supernet.materialize_level(model, 0))
            failed = subprocess.run([*tool, "materialize", "m.onnx", "7", "l7.onnx"], cwd=folder, capture_output=True)
            self.assertEqual(failed.returncode, 1)

    def test_model_without_level_data_has_one_level(self) -> None:
        model = model_of(MATMUL, [1, 2], {"W": random(2, 2)}, levels=None)
        self.assertEqual(supernet.n_levels(model), 1)
        self.assertEqual(supernet.materialize_level(model, 0), model)


if __name__ == "__main__":
    unittest.main()
