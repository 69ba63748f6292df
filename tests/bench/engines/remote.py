"""The near side of a worker process: an engine as an object of the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
ROOT = BENCH.parents[1]

# Who has no environment of its own uses that of the tests.
SHARED_ENVIRONMENT = ("condensec", "onnxruntime")


class EngineError(Exception):
    """An engine is not there or failed; says why in one line."""


def interpreter(engine: str) -> Path:
    """The Python that has the engine."""
    environment = ".venv" if engine in SHARED_ENVIRONMENT else f".venv-peers/{engine}"
    return ROOT / environment / "bin" / "python"


class Remote:
    """A worker process with one engine. Methods raise EngineError."""

    def __init__(self, engine: str, n_threads: int, cores: list[int], log: Path) -> None:
        """Starts the worker; what the engine prints goes to `log`."""
        python = interpreter(engine)
        if not python.exists():
            raise EngineError(f"no {python.relative_to(ROOT)}, see tests/bench/setup_peers.sh")
        self._log = log.open("w")
        environment = {
            **os.environ,
            "PYTHONPATH": str(BENCH),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": str(n_threads),
            "NM_DISABLE_ANALYTICS": "1",  # DeepSparse would report its use
        }
        arguments = [python, "-m", "engines.worker", engine, str(n_threads), ",".join(map(str, cores))]
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment
        )
        self.version: str = self._answer()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def call(self, order: str, **arguments: Any) -> Any:
        """An order of `worker.Worker` and its result."""
        try:
            self._process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise EngineError(self._end()) from None
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(self._end())
        answer = json.loads(line)
        if "error" in answer:
            raise EngineError(answer["error"])
        return answer["result"]

    def _end(self) -> str:
        return f"the worker ended with status {self._process.wait()}, see {self._log.name}"
