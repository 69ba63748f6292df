"""MNN's CPU back end in f32: one module per variant.

Models are converted by the extension module behind the command `mnnconvert`: the command itself installs a package into
the Python that is first in PATH, and reports its use.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import _tools
import MNN.expr
import MNN.nn
import numpy as np

from engines.session import Session


class Engine(Session):
    """Modules with the input as a constant; reading the output is part of a run, as MNN may be lazy."""

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self.version = version("mnn")
        config = {"backend": 0, "numThread": n_threads, "precision": "high"}
        self._runtime = MNN.nn.create_runtime_manager((config,))
        self._ready: dict[str, tuple[MNN.nn.Module, list[MNN.expr.Var]]] = {}

    def prepare(self, source: Path) -> Path:
        target = source.with_suffix(".mnn")
        arguments = ["-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target), "--bizCode", "bench"]
        _tools.mnnconvert(["mnnconvert", *arguments])
        if not target.exists():
            raise RuntimeError(f"no MNN model of {source.name}")
        return target

    def load(self, key: str, source: Path, level: int, inputs: dict[str, np.ndarray]) -> None:
        # Without names a module has the inputs and outputs of the model.
        module = MNN.nn.load_module_from_file(str(source), list(inputs), [], runtime_manager=self._runtime)
        variables = [MNN.expr.const(array, list(array.shape), MNN.expr.NCHW) for array in inputs.values()]
        self._ready[key] = module, variables

    def select(self, key: str) -> None:
        self._module, self._inputs = self._ready[key]

    def run(self) -> None:
        self._output = self._module.forward(self._inputs)[0].read()

    def output(self) -> np.ndarray:
        return self._output
