"""C code of the benchmarks, compiled with the machine's `cc` when it is needed.

What must not be timed through Python - a loop of FMAs, the kernels of one run, a million switches - is a few lines of C
beside this file. Each is loaded from a temporary folder, so nothing is left behind and nothing needs building first.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


@functools.cache
def load(source: str) -> ctypes.CDLL:
    """The shared library of the C file `source`, which lies beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "native.so"
        command = ["cc", "-O3", "-shared", "-fPIC", "-Wall", "-Werror", HERE / source, "-o", path, "-ldl"]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(path))
