"""Instructions of a run at every level on machines that need not be here, counted by qemu's user mode.

What a compiler can be judged by without the hardware: how many instructions each multiply-add takes that a level keeps.
It is no time: an instruction of V does the work of up to sixteen others, and caches are not in it. A count is exact and
the same on every machine. Writes one Markdown file per network, with a table per target, to
tests/bench/runs/<date>-qemu-user/; needs qemu-user with plugins, and cross compilers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "tests/bench"
MODEL_ZOO = ROOT / "target/release/model-zoo"
BUILD = ROOT / "build/instruction_counts"
PLUGIN = BUILD / "count_instructions.so"
CONDENSEC = Path(os.environ.get("CONDENSEC", ROOT / "target/release/condensec"))


@dataclass(frozen=True)
class Machine:
    """A target with what runs its programs."""

    target: str
    cpu: str
    c_compiler: str
    emulator: str


MACHINES = [
    Machine("aarch64", "generic", "aarch64-linux-gnu-gcc", "qemu-aarch64"),
    Machine("armv7a", "generic", "arm-linux-gnueabihf-gcc", "qemu-arm"),
    Machine("riscv64", "rv64gc", "riscv64-linux-gnu-gcc", "qemu-riscv64 -cpu rv64"),
    Machine("riscv64", "rv64gcv", "riscv64-linux-gnu-gcc", "qemu-riscv64 -cpu rv64,v=true,vlen=128,vext_spec=v1.0"),
]


@dataclass(frozen=True)
class Level:
    """What the manifest tells of a level."""

    name: str
    density: float
    macs: int


def main() -> None:
    """Counts and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["mobilenet-v2", "resnet18"], help="of the model zoo")
    parser.add_argument("--densities", default="0.05,0.1,0.2,0.3,0.5,1", help="of the levels")
    parser.add_argument("--block", default="4x1", help="blocks of the masks")
    parser.add_argument("--output", type=Path, default=BENCH / f"runs/{date.today()}-qemu-user", help="folder")
    arguments = parser.parse_args()
    if shutil.which(MACHINES[0].emulator) is None:
        print("skipped: instruction counts (no qemu-user; see tests/setup.sh)")
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    run(["cc", "-O2", "-shared", "-fPIC", "-o", PLUGIN, BENCH / "count_instructions.c"])
    for network in arguments.networks:
        model = BUILD / f"{network}.onnx"
        masks = ["--densities", arguments.densities, "--block", arguments.block]
        run([MODEL_ZOO, network, *masks, "-o", model])
        with open(arguments.output / f"{network.replace('-', '_')}.md", "w") as file:
            print(f"# Instructions of a run of {network}, masks of {arguments.block}\n", file=file)
            print(f"{date.today()}, {version(CONDENSEC)}, {version(MACHINES[0].emulator)}.", file=file)
            for machine in MACHINES:
                write_table(machine, model, file)
        print(f"{network}: see {os.path.relpath(file.name)}")


def write_table(machine: Machine, model: Path, file: TextIO) -> None:
    """The table of a machine, two columns for each back end that compiles for it."""
    print(f"\n## {machine.target} {machine.cpu}\n", file=file)
    if shutil.which(machine.c_compiler) is None:
        print(f"Skipped: no {machine.c_compiler}.", file=file)
        return
    counts = {}
    levels: list[Level] = []
    for backend in backends_for(machine):
        library = BUILD / f"{machine.target}-{machine.cpu}-{backend}"
        levels = compile_library(model, machine, backend, library)
        counts[backend] = count_levels(machine, library, len(levels))
    header = ["level", "density", "kept MACs"]
    for backend in counts:
        header += [f"{backend}: instructions", "per MAC"]
    print("| " + " | ".join(header) + " |", file=file)
    print("|---" * len(header) + "|", file=file)
    for i, level in enumerate(levels):
        row = [level.name, f"{level.density:.2f}", f"{level.macs / 1e6:.1f} M"]
        for per_level in counts.values():
            row += [f"{per_level[i] / 1e6:.1f} M", f"{per_level[i] / level.macs:.3f}"]
        print("| " + " | ".join(row) + " |", file=file)


def backends_for(machine: Machine) -> list[str]:
    """Back ends of this build that compile for `machine`, the preferred one first."""
    targets = json.loads(run([CONDENSEC, "targets", "--json"]))
    return next(target["backends"] for target in targets if target["name"] == machine.target)


def compile_library(model: Path, machine: Machine, backend: str, folder: Path) -> list[Level]:
    """Compiles `model` and links it with the program."""
    where = ["--target", machine.target, "--cpu", machine.cpu, "--backend", backend]
    run([CONDENSEC, model, "--name", "network", *where, "-o", folder])
    program = [BENCH / "run_levels.c", folder / "libnetwork.a", "-lm", "-o", folder / "run_levels"]
    run([machine.c_compiler, "-O2", "-static", f"-I{folder}", *program])
    manifest = json.loads((folder / "network.json").read_text())
    return [Level(level["name"], level["density"], level["macs"]) for level in manifest["levels"]]


def count_levels(machine: Machine, library: Path, n_levels: int) -> list[int]:
    """Instructions of one run at each level: of a program with it, less those of one without any."""

    def count(*arguments: str) -> int:
        emulator = [*machine.emulator.split(), "-plugin", str(PLUGIN)]
        done = subprocess.run([*emulator, library / "run_levels", *arguments], capture_output=True, text=True)
        found = re.search(r"instructions (\d+)", done.stderr)
        if done.returncode != 0 or found is None:
            raise SystemExit(f"{library.name}: {done.returncode}: {done.stderr}")
        return int(found[1])

    nothing = count()
    return [count(str(level)) - nothing for level in range(n_levels)]


def version(command: str | Path) -> str:
    """The first line of what `command` says about itself."""
    return run([command, "--version"]).splitlines()[0]


def run(command: list[str | Path]) -> str:
    """What a command prints that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
