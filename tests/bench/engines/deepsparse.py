"""DeepSparse, which skips the zeros of an ONNX file's weights: one compiled engine per variant."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import deepsparse
import numpy as np

from engines.session import Session


class Engine(Session):
    """Engines for batch 1 on as many cores as threads."""

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self.version = version("deepsparse")
        self._ready: dict[str, tuple[deepsparse.Engine, list[np.ndarray]]] = {}

    def load(self, key: str, source: Path, level: int, inputs: dict[str, np.ndarray]) -> None:
        engine = deepsparse.Engine(model=str(source), batch_size=1, num_cores=self.n_threads)
        self._ready[key] = engine, list(inputs.values())

    def select(self, key: str) -> None:
        self._engine, self._inputs = self._ready[key]

    def run(self) -> None:
        self._outputs = self._engine.run(self._inputs, val_inp=False)

    def output(self) -> np.ndarray:
        return self._outputs[0]
