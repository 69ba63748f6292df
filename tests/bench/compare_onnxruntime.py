"""Time, size and agreement of a compiled supernet against ONNX Runtime on the same weights.

    python compare_onnxruntime.py --name resnet50 SUPERNET.onnx DENSE.onnx OUT_DIR

Compiles SUPERNET.onnx, loads the shared library through its C interface and runs every level and ONNX Runtime
(DENSE.onnx, one thread) in turn, in one process that is pinned to one core. Turns are short, so what
else the machine does falls on all alike; times are CPU times of the thread, for the same reason. In a turn an
engine runs twice: the first run follows a switch of level and finds the caches as another left them.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import supernet  # noqa: E402

RUNS_PER_TURN = 2


class Library:
    """A shared library that condensec wrote, with one instance."""

    def __init__(self, folder: Path, name: str) -> None:
        self.manifest = json.loads((folder / f"{name}.json").read_text())
        self.path = next(folder.glob(f"lib{name}.so"))
        library = ctypes.CDLL(str(self.path))
        self._set_level = library[f"{name}_set_level"]
        self._run = library[f"{name}_run"]
        n_bytes = self.manifest["state_bytes"]
        self._memory = aligned(n_bytes)
        state = ctypes.c_void_p()
        status = library[f"{name}_init"](
            ctypes.c_void_p(self._memory.ctypes.data), ctypes.c_size_t(n_bytes), ctypes.byref(state)
        )
        assert status == 0, f"init: status {status}"
        self._state = state
        self.outputs = [np.zeros(output["shape"], np.float32) for output in self.manifest["outputs"]]
        self._output_pointers = pointers(self.outputs)

    def bind(self, inputs: list[np.ndarray]) -> None:
        """Sets what `run` reads."""
        self._inputs = inputs
        self._input_pointers = pointers(inputs)

    def set_level(self, level: int) -> None:
        """Switches."""
        status = self._set_level(self._state, ctypes.c_uint32(level))
        assert status == 0, f"set_level({level}): status {status}"

    def run(self) -> None:
        """One inference."""
        status = self._run(self._state, self._input_pointers, self._output_pointers)
        assert status == 0, f"run: status {status}"


def aligned(n_bytes: int, alignment: int = 64) -> np.ndarray:
    """Memory for an instance."""
    memory = np.zeros(n_bytes + alignment, np.uint8)
    begin = -memory.ctypes.data % alignment
    return memory[begin : begin + n_bytes]


def pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    """The arrays' addresses as C wants them."""
    return (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])


def compile_supernet(condensec: Path, model: Path, name: str, out: Path, extra: list[str]) -> dict[str, Any]:
    """Runs condensec; its wall time and largest memory."""
    command = [str(condensec), str(model), "--name", name, "--emit", "shared", "-o", str(out), *extra]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return {
        "command": ["condensec", *command[1:]],
        "wall_s": seconds,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "max_rss_bytes": usage.ru_maxrss * 1024,
    }


def archive_sizes(archive: Path) -> dict[str, Any]:
    """Bytes by kind of section and the symbols that the archive leaves open."""
    sizes = {"file": archive.stat().st_size, "text": 0, "weights": 0, "rodata": 0, "data": 0, "other": 0}
    for line in subprocess.run(["size", "-A", "-d", archive], capture_output=True, text=True).stdout.splitlines():
        fields = line.split()
        if len(fields) != 3 or not fields[0].startswith(".") or not fields[1].isdecimal():
            continue
        section, n_bytes = fields[0], int(fields[1])
        if section.startswith(".text"):
            kind = "text"
        elif section.startswith(".rodata") and section.endswith("_weights"):
            kind = "weights"
        elif section.startswith((".rodata", ".data.rel.ro")):
            kind = "rodata"
        elif section.startswith((".data", ".bss")):
            kind = "data"
        else:
            kind = "other"
        sizes[kind] += n_bytes
    symbols = {"undefined": set(), "defined": set()}
    for line in subprocess.run(["nm", archive], capture_output=True, text=True).stdout.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] in "Uw":
            symbols["undefined"].add(fields[1])
        elif len(fields) == 3 and fields[1].isupper():
            symbols["defined"].add(fields[2])
    return {"bytes": sizes, "undefined": sorted(symbols["undefined"] - symbols["defined"])}


def switch_cost(library: Library, name: str) -> dict[str, float]:
    """Nanoseconds of a `set_level`, from a loop in C."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "switch_cost"
        subprocess.run(["cc", "-O2", HERE / "switch_cost.c", "-o", program, "-ldl"], check=True)
        arguments = [library.path.resolve(), name, len(library.manifest["levels"]), library.manifest["state_bytes"]]
        result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True)
    best, median = map(float, result.stdout.split())
    return {"min_ns": best, "median_ns": median}


def agreement(model: onnx.ModelProto, library: Library, x: dict[str, np.ndarray]) -> list[float]:
    """Largest difference from ONNX Runtime on the masked weights, over the largest output, per level."""
    names = [output["name"] for output in library.manifest["outputs"]]
    errors = []
    for level, expected in supernet.run_levels(model, x):
        library.set_level(level)
        library.run()
        errors.append(
            max(
                float(np.abs(ours - expected[name]).max() / np.abs(expected[name]).max())
                for name, ours in zip(names, library.outputs, strict=True)
            )
        )
    return errors


def measure(library: Library, session: onnxruntime.InferenceSession, x: dict[str, np.ndarray], rounds: int):
    """CPU and wall nanoseconds of every run: {engine: [[first, next] of each round]}."""
    n_levels = len(library.manifest["levels"])
    engines = ["onnxruntime", *range(n_levels)]
    cpu: dict[Any, list[list[int]]] = {engine: [] for engine in engines}
    wall: dict[Any, list[list[int]]] = {engine: [] for engine in engines}
    names = [output.name for output in session.get_outputs()]
    for turn in range(rounds + 1):
        # Another order in every round: none always follows the same other.
        shift = turn % len(engines)
        for engine in engines[shift:] + engines[:shift]:
            times = []
            if engine != "onnxruntime":
                library.set_level(engine)
            for _ in range(RUNS_PER_TURN):
                begin = time.thread_time_ns(), time.perf_counter_ns()
                if engine == "onnxruntime":
                    session.run(names, x)
                else:
                    library.run()
                times.append((time.thread_time_ns() - begin[0], time.perf_counter_ns() - begin[1]))
            if turn > 0:  # the first round warms up
                cpu[engine].append([t[0] for t in times])
                wall[engine].append([t[1] for t in times])
    return cpu, wall


def summary(times: list[list[int]]) -> dict[str, float]:
    """Milliseconds."""
    ms = np.array(times) / 1e6
    return {
        "min_ms": float(ms.min()),
        "median_ms": float(np.median(ms)),
        "median_first_ms": float(np.median(ms[:, 0])),
        "median_next_ms": float(np.median(ms[:, 1:])),
    }


def cpu_model() -> str:
    """What the machine calls its CPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def vector_features() -> list[str]:
    """The CPU's vector extensions: both sides use what they can of them."""
    known = {"avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve", "v"}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.lower().startswith(("flags", "features")):
            return sorted(known & set(line.split(":", 1)[1].split()))
    return []


def print_report(report: dict[str, Any]) -> None:
    """The table and the lines below it."""
    compiled, sizes = report["compile"], report["archive"]
    reference = report["onnxruntime"]
    print(
        f"\n{report['name']}: {report['machine']['cpu']} ({' '.join(report['machine']['vector'])}), "
        f"core {report['machine']['core']}, {report['rounds']} rounds, CPU time;\n{report['versions']['condensec']} ({report['target']['cpu']}, {report['target']['backend']}), "
        f"onnxruntime {report['versions']['onnxruntime']}"
    )
    print(f"{'':18}{'density':>8}{'min ms':>10}{'median':>10}{'x ORT min':>11}{'median':>8}{'first/next':>12}{'error':>10}")

    def row(label: str, density: float, times: dict[str, float], error: str) -> None:
        print(
            f"{label:18}{density:8.3f}{times['min_ms']:10.3f}{times['median_ms']:10.3f}"
            f"{reference['min_ms'] / times['min_ms']:11.2f}{reference['median_ms'] / times['median_ms']:8.2f}"
            f"{times['median_first_ms'] / times['median_next_ms']:12.3f}{error:>10}"
        )

    row("onnxruntime dense", 1.0, reference, "")
    for level in report["levels"]:
        row(f"L{level['level']} {level['name']}", level["density"], level, f"{level['error']:.1e}")
    stored = report["bytes"]
    ratio = sum(stored[kind] for kind in ("weights", "indices", "tables")) / report["dense_bytes"]
    print(
        f"switch {report['switch']['median_ns']:.1f} ns; compiled in {compiled['wall_s']:.2f} s with "
        f"{compiled['max_rss_bytes'] / 2**20:.0f} MiB; archive {sizes['bytes']['file'] / 1e6:.1f} MB, "
        f"code {stored['code'] / 1e3:.0f} kB, state {report['state_bytes'] / 1e6:.2f} MB"
    )
    print(
        f"weights {stored['weights'] / 1e6:.2f} MB + indices {stored['indices'] / 1e6:.2f} MB + tables "
        f"{stored['tables'] / 1e6:.2f} MB = {ratio:.3f} x dense f32; undefined: {' '.join(sizes['undefined']) or 'none'}"
    )


def main() -> None:
    """The command line; see the module's documentation."""
    parser = argparse.ArgumentParser(description="Time, size and agreement against ONNX Runtime.")
    parser.add_argument("supernet", type=Path)
    parser.add_argument("dense", type=Path, help="the same network without level data")
    parser.add_argument("out", type=Path, help="folder for the library")
    parser.add_argument("--name", required=True, help="name of the library")
    parser.add_argument("--condensec", type=Path, default=ROOT / "target/release/condensec")
    parser.add_argument("--option", action="append", default=[], help="further argument of condensec, as --option=-O3")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--core", type=int, help="core to run on; the last one by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write raw results")
    arguments = parser.parse_args()

    compiled = compile_supernet(
        arguments.condensec, arguments.supernet, arguments.name, arguments.out, arguments.option
    )
    core = max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core
    os.sched_setaffinity(0, {core})
    onnxruntime.set_default_logger_severity(3)  # level data are initializers that no node reads
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(arguments.dense), options, providers=["CPUExecutionProvider"])

    library = Library(arguments.out, arguments.name)
    manifest = library.manifest
    random = np.random.default_rng(1)
    x = {i["name"]: random.standard_normal(i["shape"]).astype(np.float32) for i in manifest["inputs"]}
    library.bind(list(x.values()))
    model = onnx.load(arguments.supernet)
    errors = agreement(model, library, x)
    cpu, wall = measure(library, session, x, arguments.rounds)

    levels = []
    for level, entry in enumerate(manifest["levels"]):
        levels.append({**entry, **summary(cpu[level]), "error": errors[level]})
    dense = onnx.load(arguments.dense)
    version = subprocess.run([arguments.condensec, "--version"], capture_output=True, text=True).stdout.strip()
    report = {
        "name": arguments.name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "machine": {
            "cpu": cpu_model(),
            "vector": vector_features(),
            "cores": os.cpu_count(),
            "core": core,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {
            "condensec": version,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "target": {key: manifest[key] for key in ("target", "cpu", "backend")},
        "rounds": arguments.rounds,
        "onnxruntime": summary(cpu["onnxruntime"]),
        "levels": levels,
        "switch": switch_cost(library, arguments.name),
        "compile": compiled,
        "archive": archive_sizes(arguments.out / f"lib{arguments.name}.a"),
        "bytes": manifest["bytes"],
        "state_bytes": manifest["state_bytes"],
        "dense_bytes": sum(4 * int(np.prod(t.dims)) for t in dense.graph.initializer),
        "cpu_ns": {str(engine): times for engine, times in cpu.items()},
        "wall_ns": {str(engine): times for engine, times in wall.items()},
    }
    print_report(report)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
