"""Time, share of peak, memory and agreement of a compiled supernet beside other inference engines.

    python tests/bench/compare_engines.py resnet50 --masks 4x1,1x1 --rounds 15 --json FILE

Makes the supernets of a network of the model zoo (or takes an ONNX file), compiles them, and lets every level of every
library and every peer that is installed take turns on the same cores: ONNX Runtime, MNN and LiteRT with the dense
network, DeepSparse also with the weights of the sparse levels. On one thread times are CPU times, on several wall
times. Missing peers are listed as skipped; `setup_peers.sh` installs them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import machine
import report
import thread_pool
from engines.remote import EngineError, Remote
from fma_peak import FmaPeak
from footprint import footprint
from library import Library
from supernets import ROOT, Build, Supernet
from turns import Entrant, measure

DENSE_PEERS = ("onnxruntime", "mnn", "litert", "deepsparse")
SPARSE_PEERS = ("deepsparse",)
INPUT_SEED = 1


class Comparison:
    """All that takes part, and the worker processes that run it."""

    def __init__(self, work: Path, cores: list[int], stack: ExitStack) -> None:
        self._work = work
        self._cores = cores
        self._stack = stack
        self.inputs_file = work / "inputs.npz"
        self.entrants: list[Entrant] = []
        self.versions: dict[str, str] = {}
        self.skipped: list[str] = []

    def make_inputs(self, ports: list[dict[str, Any]]) -> dict[str, np.ndarray]:
        """Gaussian noise for every input."""
        noise = np.random.default_rng(INPUT_SEED)
        inputs = {port["name"]: noise.standard_normal(port["shape"]).astype(np.float32) for port in ports}
        np.savez(self.inputs_file, **inputs)
        return inputs

    def add_ours(self, build: Build) -> None:
        """Every level of a library."""
        self._attempt(f"condensec {build.title}", lambda: self._add_levels(build))

    def add_peer(self, engine: str, dense: Path, macs: int, sparse: list[tuple[Build, int]]) -> None:
        """An engine with the dense network and with levels of supernets."""
        self._attempt(engine, lambda: self._add_peer(engine, dense, macs, sparse))

    def check_outputs(self, references: dict[tuple[str, str], np.ndarray]) -> None:
        """Records how far every entrant's output is from the reference of its masks and level."""
        path = self._work / "output.npy"
        for entrant in self.entrants:
            try:
                entrant.remote.call("output", key=entrant.key, path=str(path))
            except EngineError as error:
                print(f"no output of {entrant.title}: {error}", file=sys.stderr)
                continue
            expected = references[entrant.masks, entrant.level]
            entrant.error = float(np.abs(np.load(path) - expected).max() / np.abs(expected).max())

    def _attempt(self, name: str, add: Any) -> None:
        try:
            add()
        except EngineError as error:
            self.skipped.append(f"{name} ({error})")

    def _start(self, engine: str, log: str) -> Remote:
        remote = Remote(engine, len(self._cores), self._cores, self._work / f"{log}.log")
        self._stack.callback(remote.close)
        remote.call("inputs", path=str(self.inputs_file))
        return remote

    def _add_levels(self, build: Build) -> None:
        remote = self._start("condensec", build.folder.name)
        added = []
        for level in build.manifest["levels"]:
            remote.call("load", key=level["name"], source=str(build.folder), level=level["level"])
            density, macs = level["density"], level["macs"]
            name = f"condensec {build.label}"
            added.append(Entrant(name, True, build.source.masks, level["name"], density, macs, remote, level["name"]))
        self.entrants += added

    def _add_peer(self, engine: str, dense: Path, macs: int, sparse: list[tuple[Build, int]]) -> None:
        remote = self._start(engine, engine)
        self.versions[engine] = remote.version

        def add(key: str, source: Path, masks: str, level: str, density: float, macs: int) -> None:
            prepared = remote.call("prepare", source=str(source))
            remote.call("load", key=key, source=prepared, level=0)
            self.entrants.append(Entrant(engine, False, masks, level, density, macs, remote, key))

        add("dense", dense, "dense", "dense", 1.0, macs)
        for build, index in sparse:
            level, masks = build.manifest["levels"][index], build.source.masks
            source = build.source.level_file(index)
            add(f"{masks} {level['name']}", source, masks, level["name"], level["density"], level["macs"])


def footprints(build: Build, engines: list[str], inputs: Path, cores: list[int]) -> list[dict[str, Any]]:
    """All levels of one supernet ready at once, by engine."""
    levels = [level["level"] for level in build.manifest["levels"]]
    result = []
    for engine in engines:
        sources = [build.folder if engine == "condensec" else build.source.level_file(level) for level in levels]
        try:
            result.append(footprint(engine, sources, levels, inputs, cores))
        except EngineError as error:
            print(f"no footprint of {engine}: {error}", file=sys.stderr)
    return result


def switch_cost(build: Build) -> dict[str, float]:
    """Nanoseconds of a switch."""
    ns = Library(build.folder).switch_ns()
    return {"min_ns": float(ns.min()), "median_ns": float(np.median(ns))}


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A compiled supernet beside other inference engines.")
    parser.add_argument("network", help="a network of model-zoo, or a supernet's ONNX file")
    parser.add_argument("--masks", default="4x1", metavar="BLOCK,..", help="blocks of the masks (default: %(default)s)")
    parser.add_argument("--densities", default="0.05,0.1,0.2,0.3,0.5,1.0", help="of the levels (default: %(default)s)")
    parser.add_argument(
        "--build",
        action="append",
        metavar="LABEL=OPTIONS",
        help="a way to compile, may be repeated, e.g. 'v3=--cpu x86-64-v3' (default: native, without options)",
    )
    parser.add_argument("--peers", default=",".join(DENSE_PEERS), metavar="NAME,..", help="(default: %(default)s)")
    parser.add_argument(
        "--sparse-peers-below",
        type=float,
        default=0.25,
        metavar="DENSITY",
        help="levels whose masked weights DeepSparse gets, too (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of every engine (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of every engine (default: %(default)s)")
    parser.add_argument("--core", type=int, action="append", help="core to use, one per thread; the last by default")
    parser.add_argument("--footprint", action="store_true", help="also measure memory and load times of all levels")
    parser.add_argument("--condensec", type=Path, default=ROOT / "target/release/condensec")
    parser.add_argument("--work", type=Path, default=ROOT / "build/figures", help="folder for models and libraries")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write raw results")
    arguments = parser.parse_args()
    arguments.cores = arguments.core or machine.last_cores(arguments.threads)
    if len(arguments.cores) != arguments.threads:
        parser.error(f"{arguments.threads} threads want as many --core")
    arguments.builds = [build.partition("=")[::2] for build in arguments.build or ["native="]]
    arguments.peers = [peer for peer in arguments.peers.split(",") if peer]
    if unknown := set(arguments.peers) - set(DENSE_PEERS):
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(DENSE_PEERS)}")
    return arguments


def main() -> None:
    """The command line; see the module's documentation."""
    arguments = parse_arguments()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if arguments.network.endswith(".onnx"):
        path = Path(arguments.network)
        supernets = [Supernet(path.stem.replace("-", "_"), "own", path.resolve(), work)]
    else:
        blocks = arguments.masks.split(",")
        supernets = [Supernet.from_zoo(arguments.network, block, arguments.densities, work) for block in blocks]
    builds = [
        Build(source, label, options.split(), arguments.condensec, work)
        for source in supernets
        for label, options in arguments.builds
    ]
    first = builds[0]
    top = len(first.manifest["levels"]) - 1
    if arguments.threads > 1:
        thread_pool.build()
    os.sched_setaffinity(0, set(arguments.cores))

    with ExitStack() as stack:
        comparison = Comparison(work, arguments.cores, stack)
        inputs = comparison.make_inputs(first.manifest["inputs"])
        for build in builds:
            comparison.add_ours(build)
        for peer in arguments.peers:
            sparse = [
                (build, level["level"])
                for build in builds[:: len(arguments.builds)]  # once per supernet
                for level in build.manifest["levels"]
                if peer in SPARSE_PEERS and level["density"] < arguments.sparse_peers_below
            ]
            comparison.add_peer(peer, first.source.level_file(top), first.dense_macs(), sparse)
        references = {
            (source.masks, name): output
            for source in supernets
            for name, output in zip(source.level_names, source.references(inputs), strict=True)
        }
        references["dense", "dense"] = references[first.source.masks, first.source.level_names[top]]
        comparison.check_outputs(references)
        peak = FmaPeak()
        measure(comparison.entrants, arguments.rounds, peak)

    clock = "cpu" if arguments.threads == 1 else "wall"
    rows = report.rows(comparison.entrants, clock, peak, arguments.threads)
    version = subprocess.run([arguments.condensec, "--version"], capture_output=True, text=True).stdout.split()[-1]
    condensec = [{**build.report(), "switch": switch_cost(build)} for build in builds]
    held = []
    if arguments.footprint:
        engines = ["condensec", *comparison.versions]
        held = footprints(first, engines, comparison.inputs_file, arguments.cores)
    results = {
        "network": first.source.name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "machine": machine.describe(arguments.cores),
        "versions": {"condensec": version, **comparison.versions, "python": platform.python_version()},
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "clock": clock,
        "fma_peak": peak.summary(),
        "rows": rows,
        "skipped": comparison.skipped,
        "builds": condensec,
        "footprints": held,
        "cpu_ns": {entrant.title: entrant.cpu_ns for entrant in comparison.entrants},
        "wall_ns": {entrant.title: entrant.wall_ns for entrant in comparison.entrants},
    }
    print("\n".join(report.table(results)))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
