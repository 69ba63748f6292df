"""A process that runs one engine on orders from a pipe.

    python -m engines.worker ENGINE N_THREADS CORE,..

Reads one JSON object per line from standard input and answers with one per line. Whatever the engine itself prints goes
to standard error. Times are CPU times of the whole process, since some engines work in a thread of their own, and wall
times beside them.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from engines.session import Session


class Worker:
    """The orders, one method each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inputs: dict[str, np.ndarray] = {}

    def inputs(self, path: str) -> None:
        """Reads the arrays that every run gets."""
        with np.load(path) as arrays:
            self._inputs = {name: arrays[name] for name in arrays.files}

    def prepare(self, source: str) -> str:
        """Converts a model for this engine."""
        return str(self._session.prepare(Path(source)))

    def load(self, key: str, source: str, level: int) -> dict[str, float]:
        """Makes a variant ready; milliseconds of that and of the first run."""
        begin = time.perf_counter_ns()
        self._session.load(key, Path(source), level, self._inputs)
        loaded = time.perf_counter_ns()
        self._session.select(key)
        self._session.run()
        return {"load_ms": (loaded - begin) / 1e6, "first_run_ms": (time.perf_counter_ns() - loaded) / 1e6}

    def time(self, key: str, n_runs: int) -> dict[str, list[int]]:
        """Nanoseconds of runs one after the other; the first follows another variant's."""
        self._session.select(key)
        cpu_ns, wall_ns = [], []
        for _ in range(n_runs):
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            self._session.run()
            cpu_ns.append(time.process_time_ns() - cpu)
            wall_ns.append(time.perf_counter_ns() - wall)
        return {"cpu_ns": cpu_ns, "wall_ns": wall_ns}

    def output(self, key: str, path: str) -> None:
        """Writes the first output of a run."""
        self._session.select(key)
        self._session.run()
        np.save(path, self._session.output())

    def memory(self) -> dict[str, int]:
        """Resident bytes, now and at most so far."""
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return {key: int(status[field].split()[0]) * 1024 for key, field in (("rss", "VmRSS"), ("peak_rss", "VmHWM"))}


def first_line(error: Exception) -> str:
    """What went wrong; some libraries add a page to it."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def main() -> None:
    """The command line; see the module's documentation."""
    name, n_threads, cores = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    try:
        session = importlib.import_module(f"engines.{name}").Engine(int(n_threads))
    except Exception as error:
        answer({"error": first_line(error)})
        return
    worker = Worker(session)
    answer({"result": session.version})
    gc.disable()  # a collection within a run would be the engine's time
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer({"result": getattr(worker, order.pop("order"))(**order)})
        except Exception as error:
            traceback.print_exc()
            answer({"error": first_line(error)})


if __name__ == "__main__":
    main()
