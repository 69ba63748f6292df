"""LiteRT (TensorFlow Lite) with XNNPACK, which it uses by default: one interpreter per variant."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from engines import tflite_writer
from engines.session import Session


class Engine(Session):
    """Interpreters; the input is brought to LiteRT's NHWC when a variant is loaded."""

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self.version = version("ai-edge-litert")
        self._ready: dict[str, Interpreter] = {}

    def prepare(self, source: Path) -> Path:
        target = source.with_suffix(".tflite")
        tflite_writer.convert_file(source, target)
        return target

    def load(self, key: str, source: Path, level: int, inputs: dict[str, np.ndarray]) -> None:
        interpreter = Interpreter(str(source), num_threads=self.n_threads)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            values = inputs[detail["name"]]
            interpreter.set_tensor(detail["index"], values.transpose(0, 2, 3, 1) if values.ndim == 4 else values)
        self._ready[key] = interpreter

    def select(self, key: str) -> None:
        self._interpreter = self._ready[key]

    def run(self) -> None:
        self._interpreter.invoke()

    def output(self) -> np.ndarray:
        return self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])
