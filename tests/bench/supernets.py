"""The files of a comparison: supernets, single levels as ordinary ONNX files, compiled libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import supernet  # noqa: E402

MODEL_ZOO = ROOT / "target/release/model-zoo"


class Supernet:
    """An ONNX file with level data."""

    def __init__(self, name: str, masks: str, path: Path, folder: Path) -> None:
        """`masks` tells supernets of one network apart, e.g. `4x1`; what is made of it goes to `folder`."""
        self.name = name
        self.masks = masks
        self.path = path
        self._folder = folder

    @classmethod
    def from_zoo(cls, network: str, block: str, densities: str, folder: Path) -> Supernet:
        """A network of the model zoo with seeded weights and masks."""
        name = network.replace("-", "_")
        path = folder / f"{name}_{block}.onnx"
        run([MODEL_ZOO, network, "--densities", densities, "--block", block, "-o", path])
        return cls(name, block, path, folder)

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The file's content."""
        return onnx.load(self.path)

    @property
    def level_names(self) -> list[str]:
        """Names of the levels, L0 first."""
        return supernet.level_names(self.model)

    def level_file(self, level: int) -> Path:
        """The level as an ordinary ONNX file, its zeros stored, for engines that know no levels."""
        path = self._folder / f"{self.path.stem}_L{level}.onnx"
        if not path.exists() or path.stat().st_mtime < self.path.stat().st_mtime:
            onnx.save(supernet.materialize_level(self.model, level), path)
        return path

    def references(self, inputs: dict[str, Any]) -> list[Any]:
        """What the first output must be at every level, by ONNX Runtime without optimisations."""
        return [next(iter(outputs.values())) for _, outputs in supernet.run_levels(self.model, inputs)]


class Build:
    """A supernet as condensec compiled it with certain options."""

    def __init__(self, source: Supernet, label: str, options: list[str], condensec: Path, folder: Path) -> None:
        self.source = source
        self.label = label
        self.folder = folder / f"{source.path.stem}_{label}"
        command = [condensec, source.path, "--name", source.name, "--emit", "shared", "-o", self.folder, *options]
        self.compile = run(command)
        self.manifest: dict[str, Any] = json.loads((self.folder / f"{source.name}.json").read_text())
        self.archive = archive_sizes(self.folder / f"lib{source.name}.a")

    @property
    def title(self) -> str:
        """What tells this library from the others of a comparison."""
        return f"{self.source.masks} {self.label}"

    def dense_macs(self) -> int:
        """Multiply-adds of the network with all weights, kept or not."""
        top = [layer["per_level"][-1] for layer in self.manifest["layers"]]
        return sum(round(level["macs"] / level["density"]) for level in top if level["density"] > 0)

    def stored_share(self) -> float:
        """Bytes of weights, indices and tables over those of one dense copy of all weights."""
        stored = sum(self.manifest["bytes"][kind] for kind in ("weights", "indices", "tables"))
        graph = self.source.model.graph
        dense = sum(len(tensor.raw_data) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
        return stored / dense

    def report(self) -> dict[str, Any]:
        """What the raw results say of it."""
        manifest = self.manifest
        return {
            "masks": self.source.masks,
            "build": self.label,
            "target": {key: manifest[key] for key in ("target", "cpu", "features", "backend")},
            "compile": self.compile,
            "archive": self.archive,
            "bytes": manifest["bytes"],
            "stored_share_of_dense": self.stored_share(),
            "state_bytes": manifest["state_bytes"],
        }


def run(command: list[Any]) -> dict[str, Any]:
    """Runs a command; its wall and CPU time and its largest memory."""
    words = [str(word) for word in command]
    begin = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words)}: exit code {process.returncode}")
    return {
        "command": [Path(words[0]).name, *(word.removeprefix(f"{ROOT}/") for word in words[1:])],
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
    undefined, defined = set(), set()
    for line in subprocess.run(["nm", archive], capture_output=True, text=True).stdout.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] in "Uw":
            undefined.add(fields[1])
        elif len(fields) == 3 and fields[1].isupper():
            defined.add(fields[2])
    return {"bytes": sizes, "undefined": sorted(undefined - defined)}
