"""Where the time of a level goes: every step of a compiled supernet, the furthest from the FMA peak first.

    condensec SUPERNET.onnx --emit shared -o FOLDER
    python tests/bench/profile_layers.py FOLDER [--level L].. [--runs N] [--core C]

Steps are timed within whole runs, levels take turns, and the FMA peak of the core is sampled in between. `lost` is the
time that a step takes beyond 2 * MACs / peak: what a perfect kernel would save. Times are the minima over the runs
unless said otherwise.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import native
from fma_peak import FmaPeak
from library import Library


@dataclass
class StepProfile:
    """A step at one level."""

    node: str
    kernel: str
    shape: str
    macs: int
    min_us: float
    median_us: float
    gflops: float
    share_of_peak: float | None
    lost_us: float


def find_layers(kernels: list[str], layers: list[dict[str, Any]], level: int) -> list[list[dict[str, Any]]]:
    """The layers with weights that each step computes; none for steps without weights.

    Both lists are in the order of execution, and a layer names its kernel. Each step of a kernel computes as many layers.
    """
    n_steps = Counter(kernels)
    n_layers = Counter(layer["per_level"][level]["kernel"] for layer in layers)
    found: list[list[dict[str, Any]]] = []
    pending = iter(layers)
    for kernel in kernels:
        found.append(list(islice(pending, n_layers[kernel] // n_steps[kernel])))
    if left := list(pending):
        print(f"warning: no step found for {len(left)} layers from {left[0]['name']} on; their MACs count as 0")
    return found


def time_steps(library: Library, level: int, ns: np.ndarray) -> None:
    """One run; `ns` gets the nanoseconds of every step."""
    step_times = native.load("step_times.c").step_times
    step_times.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
    step_times.restype = None
    steps = ctypes.cast(library.model.levels[level].steps, ctypes.c_void_p)
    step_times(steps, library.model.n_steps, library.bases(), ns.ctypes.data)


def measure(library: Library, levels: list[int], n_runs: int, peak: FmaPeak) -> tuple[np.ndarray, np.ndarray]:
    """Nanoseconds `[level, run, step]` of steps, and `[level, run]` of whole runs without clocks in between."""
    n_steps = library.model.n_steps
    ns = np.zeros((len(levels), n_runs + 1, n_steps), np.int64)
    whole_ns = np.zeros((len(levels), n_runs + 1), np.int64)
    for turn in range(n_runs + 1):
        for row, level in enumerate(levels):
            time_steps(library, level, ns[row, turn])
            library.set_level(level)
            begin = time.perf_counter_ns()
            library.run()
            whole_ns[row, turn] = time.perf_counter_ns() - begin
        peak.sample()
    return ns[:, 1:], whole_ns[:, 1:]  # the first turn warms up


def profile(library: Library, level: int, ns: np.ndarray, peak: FmaPeak) -> list[StepProfile]:
    """The steps of a level in the order of execution; `ns` is `[run, step]`."""
    symbols = library.symbols()
    steps = library.steps(level)
    kernels = [symbols.get(step.kernel, hex(step.kernel)) for step in steps]
    layers = find_layers(kernels, library.manifest["layers"], level)
    peak_gflops = peak.best()
    result = []
    for step, kernel, of_step, times in zip(steps, kernels, layers, ns.T, strict=True):
        macs = sum(layer["per_level"][level]["macs"] for layer in of_step)
        best = float(times.min())
        result.append(
            StepProfile(
                node=" ".join(layer["name"] for layer in of_step) or step.node.decode(),
                kernel=kernel,
                shape=" ".join("x".join(map(str, layer["shape"])) for layer in of_step),
                macs=macs,
                min_us=best / 1e3,
                median_us=float(np.median(times)) / 1e3,
                gflops=2 * macs / best,
                share_of_peak=peak.share(macs, best * 1e-9),
                lost_us=(best - (2 * macs / peak_gflops if peak_gflops else 0)) / 1e3,
            )
        )
    return result


def percent(share: float | None) -> str:
    """A share for the table."""
    return "-" if share is None else f"{100 * share:.0f}%"


def print_level(entry: dict[str, Any], steps: list[StepProfile], whole_ns: np.ndarray, peak: FmaPeak, top: int) -> None:
    """The tables of a level: by step, by kernel, and the sum."""
    total_us = sum(step.min_us for step in steps)
    total_macs = sum(step.macs for step in steps)
    print(f"\nL{entry['level']} {entry['name']}, density {entry['density']:.3f}")
    columns = f"{'time':>6}{'MMAC':>9}{'GFLOP/s':>9}{'peak':>6}{'lost us':>9}"
    print(f"{'min us':>9}{'median':>9}{columns}  node, kernel, weight")
    by_loss = sorted(steps, key=lambda step: -step.lost_us)
    for step in by_loss[:top]:
        print(
            f"{step.min_us:9.1f}{step.median_us:9.1f}{100 * step.min_us / total_us:5.1f}%{step.macs / 1e6:9.2f}"
            f"{step.gflops:9.1f}{percent(step.share_of_peak):>6}{step.lost_us:9.1f}  "
            f"{step.node}  {step.kernel}  {step.shape}"
        )
    if len(by_loss) > top:
        print(f"{'':9}.. {len(by_loss) - top} more with {sum(s.min_us for s in by_loss[top:]):.1f} us")

    print(f"{'min us':>9}{'steps':>9}{columns}  kernel, all its shapes")
    kernels: dict[str, list[StepProfile]] = {}
    for step in steps:
        # A number behind the name tells the shapes of one kernel apart.
        kernels.setdefault(re.sub(r"\.\d+$", "", step.kernel), []).append(step)
    for kernel, group in sorted(kernels.items(), key=lambda item: -sum(step.lost_us for step in item[1])):
        us, macs = sum(step.min_us for step in group), sum(step.macs for step in group)
        print(
            f"{us:9.1f}{len(group):9}{100 * us / total_us:5.1f}%{macs / 1e6:9.2f}{2e-3 * macs / us:9.1f}"
            f"{percent(peak.share(macs, us * 1e-6)):>6}{sum(step.lost_us for step in group):9.1f}  {kernel}"
        )
    whole_us = whole_ns.min() / 1e3
    print(
        f"sum of steps {total_us / 1e3:.3f} ms (medians {sum(step.median_us for step in steps) / 1e3:.3f}); "
        f"whole run {whole_us / 1e3:.3f} ms (median {np.median(whole_ns) / 1e6:.3f}), "
        f"{2e-3 * total_macs / whole_us:.1f} GFLOP/s, {percent(peak.share(total_macs, whole_us * 1e-6))} of peak"
    )


def main() -> None:
    """The command line; see the module's documentation."""
    parser = argparse.ArgumentParser(description="Time of every step of a compiled supernet, worst first.")
    parser.add_argument("folder", type=Path, help="what condensec --emit shared wrote")
    parser.add_argument("--level", action="append", help="number or name, may be repeated; all by default")
    parser.add_argument("--runs", type=int, default=30, help="runs per level (default: %(default)s)")
    parser.add_argument("--core", type=int, help="core to run on; the last one by default")
    parser.add_argument("--top", type=int, default=1_000_000, metavar="N", help="print only the N worst steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table of every level")
    arguments = parser.parse_args()

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core})
    library = Library(arguments.folder)
    library.fill_inputs()
    entries = library.manifest["levels"]
    wanted = arguments.level or [str(entry["level"]) for entry in entries]
    chosen = [entry for entry in entries if str(entry["level"]) in wanted or entry["name"] in wanted]
    if not chosen:
        parser.error(f"no level {' or '.join(wanted)}; there are {', '.join(entry['name'] for entry in entries)}")

    peak = FmaPeak()
    ns, whole_ns = measure(library, [entry["level"] for entry in chosen], arguments.runs, peak)
    manifest = library.manifest
    print(f"{library.name}: {manifest['cpu']}, {manifest['backend']}, {arguments.runs} runs per level")
    print("\n".join(peak.lines()))
    tables = []
    for row, entry in enumerate(chosen):
        steps = profile(library, entry["level"], ns[row], peak)
        print_level(entry, steps, whole_ns[row], peak, arguments.top)
        tables.append({**entry, "whole_min_us": whole_ns[row].min() / 1e3, "steps": [asdict(step) for step in steps]})
    if arguments.json:
        report = {"name": library.name, "fma_peak": peak.summary(), "levels": tables}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
