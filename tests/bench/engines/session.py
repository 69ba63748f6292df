"""What a worker asks of an engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np


class Session(ABC):
    """An engine that holds one or more variants of a network ready and runs the selected one."""

    version: str = ""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads

    def prepare(self, source: Path) -> Path:
        """Converts an ONNX file to what `load` reads; not part of the load time."""
        return source

    @abstractmethod
    def load(self, key: str, source: Path, level: int, inputs: dict[str, np.ndarray]) -> None:
        """Makes a variant ready to run on `inputs`; `level` matters to who has all levels in one file."""

    @abstractmethod
    def select(self, key: str) -> None:
        """Makes the next runs use a variant that was loaded."""

    @abstractmethod
    def run(self) -> None:
        """One inference."""

    @abstractmethod
    def output(self) -> np.ndarray:
        """The first output of the last run."""
