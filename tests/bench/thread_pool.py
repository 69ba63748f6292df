"""Threads for a library's parallel runs: the pool of the runtime crate, as a shared library.

A compiled library starts no threads, it hands the tasks of a step to a function of its caller. This is the function
that condensec offers to callers who have none.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "target/release/libcondensec_runtime.so"


def build() -> None:
    """Builds the shared library; where that fails, the first pool will say so."""
    cargo = os.environ.get("CARGO", "cargo")
    crate = ["-p", "condensec-runtime", "--features", "std", "--crate-type", "cdylib"]
    subprocess.run([cargo, "rustc", "--release", "--quiet", *crate], cwd=ROOT, check=False)


class ThreadPool:
    """A pool of `n_threads` threads, the caller's included; it lives as long as the process."""

    def __init__(self, n_threads: int) -> None:
        if not LIBRARY.exists():
            raise RuntimeError(f"no {LIBRARY.relative_to(ROOT)}")
        library = ctypes.CDLL(str(LIBRARY))
        library.cnd_pool_new.restype = ctypes.c_void_p
        library.cnd_pool_new.argtypes = [ctypes.c_size_t]
        self.address = library.cnd_pool_new(n_threads)
        if not self.address:
            raise RuntimeError(f"no pool of {n_threads} threads")
        self.parallel_for = ctypes.cast(library.cnd_pool_parallel_for, ctypes.c_void_p)
