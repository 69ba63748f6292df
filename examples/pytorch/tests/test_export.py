"""Supernet ONNX: each level in ONNX Runtime and in condensec is the level in PyTorch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import supernet as reference
import torch
from condense_torch import Supernet, recalibrate, to_onnx
from networks import ConvNet, Perceptron, bars
from torch import Tensor, nn

DENSITIES = [0.1, 0.5, 1.0]
# f32 sums of up to 108 products in another order.
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def conv_net(densities: list[float] = DENSITIES) -> tuple[Supernet, Tensor]:
    """A supernet whose levels all have other batch-norm parameters and statistics, and an input."""
    torch.manual_seed(0)
    supernet = Supernet(ConvNet(), densities)
    for _, norm in supernet.norms():
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    recalibrate(supernet, lambda: [bars(64, seed=0)[0]])
    return supernet.eval(), bars(5, seed=1)[0]


def perceptron() -> tuple[Supernet, Tensor]:
    """A supernet without batch norm, and an input."""
    torch.manual_seed(0)
    return Supernet(Perceptron(), DENSITIES).eval(), bars(5, seed=1)[0]


def outputs(supernet: Supernet, x: Tensor) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """What PyTorch computes at each level."""
    found = []
    for level in range(supernet.n_levels):
        supernet.set_level(level)
        with torch.no_grad():
            found.append(supernet(x).numpy())
    return found


@pytest.mark.parametrize("make", [conv_net, perceptron])
def test_onnx_runtime_agrees_at_every_level(make: Callable[[], tuple[Supernet, Tensor]]) -> None:
    supernet, x = make()
    model = to_onnx(supernet, x[:1])
    assert reference.problems(model) == []
    expected = outputs(supernet, x)
    assert not np.allclose(expected[0], expected[2], **TOLERANCE)
    for level, found in reference.run_levels(model, {"input": x.numpy()}):
        np.testing.assert_allclose(found["output"], expected[level], **TOLERANCE)
    plain = reference.run_model(model, {"input": x.numpy()})["output"]
    np.testing.assert_allclose(plain, expected[-1], **TOLERANCE)


def test_the_file_says_what_the_supernet_is() -> None:
    supernet, x = conv_net()
    model = to_onnx(supernet, x[:1], level_names=["low", "mid", "full"])
    assert reference.level_names(model) == ["low", "mid", "full"]
    for level in range(3):
        assert reference.density(model, level) == supernet.density(level)
    metadata = reference.metadata(model)
    assert metadata["condense.block:wide.weight"] == "4x1x1x1"
    assert metadata["condense.block:hidden.weight"] == "4x1"
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    assert shapes["wide.weight__level"] == [3, 8, 3, 3]
    assert shapes["wide_norm.running_var__levels"] == [3, 12]
    assert [node.op_type for node in model.graph.node].count("BatchNormalization") == 3
    assert b"stack_trace" not in model.SerializeToString()


def test_a_highest_level_that_is_not_dense() -> None:
    supernet, x = conv_net([0.1, 0.5])
    model = to_onnx(supernet, x[:1])
    assert reference.problems(model) == []
    np.testing.assert_allclose(
        reference.run_model(model, {"input": x.numpy()})["output"], outputs(supernet, x)[1], **TOLERANCE
    )


def test_a_layer_that_forward_does_not_use() -> None:
    class Unused(Perceptron):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(4, 4)
            self.also_unused = nn.Linear(4, 4)

    with pytest.raises(ValueError, match=r"'unused\.weight'"):
        to_onnx(Supernet(Unused(), DENSITIES), bars(1, seed=1)[0])


@pytest.mark.skipif("CONDENSEC" not in os.environ, reason="CONDENSEC does not name a condensec")
@pytest.mark.parametrize("make", [conv_net, perceptron])
def test_condensec_agrees_at_every_level(make: Callable[[], tuple[Supernet, Tensor]], tmp_path: Path) -> None:
    supernet, x = make()
    onnx.save(to_onnx(supernet, x[:1]), tmp_path / "supernet.onnx")
    np.savez(tmp_path / "in.npz", input=x.numpy())
    for level, expected in enumerate(outputs(supernet, x)):
        command = [os.environ["CONDENSEC"], "run", "supernet.onnx", "--level", str(level)]
        subprocess.run([*command, "--inputs", "in.npz", "--outputs", "out.npz"], cwd=tmp_path, check=True)
        with np.load(tmp_path / "out.npz") as found:
            np.testing.assert_allclose(found["output"], expected, **TOLERANCE)
