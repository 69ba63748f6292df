"""What it costs to hold all levels ready: memory, time to load, time to the first result.

Each engine gets a fresh process. condensec holds one library; engines that know no levels hold one session per level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.remote import Remote


def footprint(engine: str, sources: list[Path], levels: list[int], inputs: Path, cores: list[int]) -> dict[str, Any]:
    """Loads `sources[i]` as level `levels[i]`, runs each once. Raises EngineError."""
    with Remote(engine, len(cores), cores, inputs.with_name(f"{engine}_footprint.log")) as remote:
        remote.call("inputs", path=str(inputs))
        prepared = {source: remote.call("prepare", source=str(source)) for source in dict.fromkeys(sources)}
    with Remote(engine, len(cores), cores, inputs.with_name(f"{engine}_footprint.log")) as remote:
        remote.call("inputs", path=str(inputs))
        before = remote.call("memory")
        loads = []
        for source, level in zip(sources, levels, strict=True):
            loads.append(remote.call("load", key=f"L{level}", source=prepared[source], level=level))
        after = remote.call("memory")
        return {
            "engine": engine,
            "version": remote.version,
            "n_levels": len(levels),
            "bare_rss_bytes": before["rss"],
            "rss_bytes": after["rss"] - before["rss"],
            "peak_rss_bytes": after["peak_rss"] - before["rss"],
            "load_ms": [load["load_ms"] for load in loads],
            "first_run_ms": [load["first_run_ms"] for load in loads],
        }
