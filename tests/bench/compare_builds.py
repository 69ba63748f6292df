"""Builds of one network side by side: does a change of the compiler pay, and in which layers?

    condensec SUPERNET.onnx --emit shared -o FOLDER     with each compiler
    python tests/bench/compare_builds.py FOLDER FOLDER.. [--level L].. [--runs N] [--core C] [--top N]

The builds run by turns in one process, every run on cold caches and step by step. `paired` is the median over the turns
of a build's time over that of the first one, which neighbours disturb least: they are about the same within a turn.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from library import Library
from profile_layers import time_steps

# More than the caches of a machine with 32 MiB of last-level cache per core complex hold.
FLUSHED_BYTES = 64 << 20


def measure(libraries: list[Library], level: int, n_runs: int) -> list[np.ndarray]:
    """Nanoseconds `[run, step]` of every build."""
    flushed = np.zeros(FLUSHED_BYTES // 8, np.int64)
    ns = [np.zeros((n_runs + 1, library.model.n_steps), np.int64) for library in libraries]
    for turn in range(n_runs + 1):
        for library, times in zip(libraries, ns, strict=True):
            flushed[:] = turn
            time_steps(library, level, times[turn])
    return [times[1:] for times in ns]  # the first turn warms up


def print_level(libraries: list[Library], level: int, ns: list[np.ndarray], top: int) -> None:
    """The builds at a level, then the steps that take longest."""
    entry = libraries[0].manifest["levels"][level]
    print(f"\nL{level} {entry['name']}, density {entry['density']:.3f}")
    print(f"{'min ms':>9}{'median':>9}{'paired':>8}  build")
    runs = [times.sum(axis=1) for times in ns]
    for library, times in zip(libraries, runs, strict=True):
        paired = float(np.median(times / runs[0]))
        print(f"{times.min() / 1e6:9.3f}{np.median(times) / 1e6:9.3f}{paired:8.3f}  {library.path.parent.name}")
    if top:
        # Builds may differ in what steps there are.
        by_node: dict[str, list[float]] = {}
        for number, (library, times) in enumerate(zip(libraries, ns, strict=True)):
            for step, best in zip(library.steps(level), times.min(axis=0) / 1e3, strict=True):
                by_node.setdefault(step.node.decode(), [0.0] * len(libraries))[number] += best
        print("".join(f"{f'min us {number}':>11}" for number in range(len(libraries))) + "  step")
        for node, bests in sorted(by_node.items(), key=lambda item: -max(item[1]))[:top]:
            print("".join(f"{best:11.1f}" for best in bests) + f"  {node}")


def main() -> None:
    """The command line; see the module's documentation."""
    parser = argparse.ArgumentParser(description="Builds of one network side by side.")
    parser.add_argument("folders", type=Path, nargs="+", help="what condensec --emit shared wrote; the first is the base")
    parser.add_argument("--level", type=int, action="append", help="may be repeated; all by default")
    parser.add_argument("--runs", type=int, default=30, help="runs per level (default: %(default)s)")
    parser.add_argument("--core", type=int, help="core to run on; the last one by default")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="print the N longest steps, too")
    arguments = parser.parse_args()

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core})
    libraries = [Library(folder) for folder in arguments.folders]
    n_levels = min(library.model.n_levels for library in libraries)
    levels = arguments.level or list(range(n_levels))
    if not all(0 <= level < n_levels for level in levels):
        parser.error(f"there are levels 0 to {n_levels - 1}")
    for library in libraries:
        library.fill_inputs()
    for level in levels:
        print_level(libraries, level, measure(libraries, level, arguments.runs), arguments.top)


if __name__ == "__main__":
    main()
