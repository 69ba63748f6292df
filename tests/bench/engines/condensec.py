"""A library that condensec wrote, through its C interface: all levels in one instance."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.session import Session
from library import Library
from thread_pool import ThreadPool


class Engine(Session):
    """One library; its levels are the variants."""

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self._pool = ThreadPool(n_threads) if n_threads > 1 else None
        self._library: Library | None = None
        self._levels: dict[str, int] = {}

    def load(self, key: str, source: Path, level: int, inputs: dict[str, np.ndarray]) -> None:
        if self._library is None:
            self._library = Library(source, self._pool)
            ports = self._library.manifest["inputs"]
            for port, array in zip(ports, self._library.inputs, strict=True):
                array[...] = inputs[port["name"]]
        self._levels[key] = level

    def select(self, key: str) -> None:
        self._library.set_level(self._levels[key])

    def run(self) -> None:
        self._library.run()

    def output(self) -> np.ndarray:
        return self._library.outputs[0]
