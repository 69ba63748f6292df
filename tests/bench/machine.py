"""What a measurement must say of the machine it was made on.

As a program, prints the name for a folder of results, e.g. amd-epyc-avx512.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

VECTOR_FEATURES = {"avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve", "v"}


def _cpu_field(*names: str) -> str | None:
    """The first of the fields of /proc/cpuinfo that is there; x86 and ARM call them differently."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    fields = {key.strip(): value.strip() for key, _, value in lines}
    return next((fields[name] for name in names if name in fields), None)


def cpu_model() -> str:
    """What the machine calls its CPU."""
    return _cpu_field("model name", "Model") or platform.processor() or platform.machine()


def vector_features() -> list[str]:
    """The CPU's vector extensions: all sides use what they can of them."""
    return sorted(VECTOR_FEATURES & set((_cpu_field("flags", "Features") or "").split()))


def describe(cores: list[int]) -> dict[str, Any]:
    """The machine, and the cores that are used."""
    return {
        "cpu": cpu_model(),
        "vector": vector_features(),
        "cores": os.cpu_count(),
        "used_cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
    }


def slug() -> str:
    """A short name: the CPU and its widest vectors."""
    words = re.sub(r"[^a-z0-9]+", "-", cpu_model().lower()).strip("-")
    features = vector_features()
    widest = next((name for name in ("avx512f", "avx2", "sve", "asimd") if name in features), "")
    return f"{words}-{widest.removesuffix('f')}".strip("-")


def last_cores(n: int) -> list[int]:
    """The cores to use by default: the last ones, since the first has most of the system's interrupts."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < n:
        raise SystemExit(f"{n} threads on {len(available)} cores would not measure anything")
    return available[-n:]


if __name__ == "__main__":
    print(slug())
