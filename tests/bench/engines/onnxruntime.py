"""ONNX Runtime's CPU execution provider: one session per variant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from engines.session import Session


class Engine(Session):
    """Sessions with inputs and outputs bound beforehand, so a run converts nothing from or to Python."""

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self.version = onnxruntime.__version__
        self._ready: dict[str, tuple[onnxruntime.InferenceSession, onnxruntime.IOBinding]] = {}

    def load(self, key: str, source: Path, level: int, inputs: dict[str, np.ndarray]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.n_threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for value in session.get_outputs():
            binding.bind_output(value.name)
        self._ready[key] = session, binding

    def select(self, key: str) -> None:
        self._session, self._binding = self._ready[key]

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def output(self) -> np.ndarray:
        return self._binding.copy_outputs_to_cpu()[0]
