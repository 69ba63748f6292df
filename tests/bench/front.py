"""Accuracy against latency: the levels of a supernet, and its dense model in ONNX Runtime.

Latencies are taken in turns in one process, pinned to a core: ONNX Runtime on the dense model, then every level, a few
runs each, as often as there are rounds. Accuracy comes from `condensec eval`, if there is a test set.

    python tests/bench/front.py supernet.onnx --dense trained.onnx --data test.npz

Without `--dense` the model is its own rival: the same file with every zero of its weights replaced by noise, which is
run by both, so that a pruned model shows what its zeros are worth.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import machine
from library import Library

ROOT = Path(__file__).resolve().parents[2]
RUNS_PER_TURN = 5


def compiled(binary: str, model: Path, folder: Path) -> Library:
    """`model`, compiled for this machine and loaded."""
    folder.mkdir()
    command = [binary, str(model), "--cpu", "native", "--emit", "shared", "-o", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(ran.stderr)
    return Library(folder)


def without_zeros(model: Path, output: Path) -> None:
    """The same network with dense weights: zeros become noise of the size of the other weights."""
    twin = onnx.load(model)
    random = np.random.default_rng(1)
    for tensor in twin.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim < 2 or values.dtype != np.float32:
            continue
        noise = random.standard_normal(values.shape, np.float32) * values.std()
        tensor.CopyFrom(numpy_helper.from_array(np.where(values == 0, noise, values), tensor.name))
    onnx.save(twin, output)


def session(model: Path, inputs: dict[str, np.ndarray]) -> Callable[[], object]:
    """One run of `model` in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Or it warns of every tensor of level data that it drops.
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    binding = loaded.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    for value in loaded.get_outputs():
        binding.bind_output(value.name)
    return lambda: loaded.run_with_iobinding(binding)


def at_level(library: Library, level: int) -> Callable[[], object]:
    """One run of `library` at `level`."""

    def run() -> None:
        library.set_level(level)
        library.run()

    return run


def measure(entrants: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """CPU milliseconds of every run of every entrant, in turns; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in entrants}
    for turn in range(rounds + 1):
        for name, run in entrants.items():
            for _ in range(RUNS_PER_TURN):
                start = time.process_time_ns()
                run()
                if turn > 0:
                    times[name].append((time.process_time_ns() - start) / 1e6)
    return {name: np.array(ms) for name, ms in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="supernet, or a pruned model")
    parser.add_argument("--dense", type=Path, help="the trained model before pruning")
    parser.add_argument("--data", type=Path, help="test set for condensec eval")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--condensec", default=str(ROOT / "target" / "release" / "condensec"))
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args()

    os.sched_setaffinity(0, machine.last_cores(1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = compiled(options.condensec, options.model, folder / "ours")
        inputs = library.fill_inputs()
        dense = options.dense or folder / "twin.onnx"
        if options.dense is None:
            without_zeros(options.model, dense)
        entrants = {"onnxruntime dense": session(dense, inputs)}
        if options.dense is None:
            entrants["onnxruntime"] = session(options.model, inputs)
            twin = compiled(options.condensec, dense, folder / "twin")
            twin.fill_inputs()
            entrants["condensec dense"] = at_level(twin, 0)
        levels = library.manifest["levels"]
        for level, info in enumerate(levels):
            entrants[f"condensec {info['name']}"] = at_level(library, level)
        times = measure(entrants, options.rounds)
        top1: dict[str, float] = {}
        if options.data:
            command = [options.condensec, "eval", str(options.model), "--data", str(options.data), "--json"]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            scores = json.loads(ran.stdout)["levels"]
            top1 = {f"condensec {info['name']}": info["top1"] for info in scores}

    print(f"{options.model.name}: {machine.cpu_model()}, one thread, CPU time, {options.rounds} rounds, onnxruntime "
          f"{onnxruntime.__version__}")
    print(f"{'':28} density  top-1    min ms  median ms  over onnxruntime dense, min  median")
    rival = times["onnxruntime dense"]
    density = {f"condensec {info['name']}": info["density"] for info in levels}
    results = []
    for name, ms in times.items():
        row = {
            "name": name,
            "density": density.get(name),
            "top1": top1.get(name),
            "min_ms": float(ms.min()),
            "median_ms": float(np.median(ms)),
            "ratio_min": float(rival.min() / ms.min()),
            "ratio_median": float(np.median(rival) / np.median(ms)),
        }
        results.append(row)
        show = lambda value: f"{value:7.4f}" if value is not None else " " * 7  # noqa: E731
        print(f"{name:28} {show(row['density'])} {show(row['top1'])} {row['min_ms']:9.4f} {row['median_ms']:10.4f} "
              f"{row['ratio_min']:27.2f} {row['ratio_median']:7.2f}")
    if options.output:
        about = {"date": time.strftime("%Y-%m-%d"), **machine.describe(machine.last_cores(1))}
        report = {**about, "model": options.model.name, "results": results}
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
