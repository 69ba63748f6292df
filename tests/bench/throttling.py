"""A real model on a core that is throttled while it runs: latency over time with and without the governor.

The program is examples/rust/camera.rs. A program of higher priority takes its core away 4,000 times a second
(throttle.c), so that it gets a share of the core that changes every few seconds, as a lower clock would give it. A
made-up cpufreq tree tells the frequency that such a share stands for. Runs over the same shares: the highest level, L0,
the governor with that frequency, the same with runs that mix levels, and both with run times alone. Needs root.

    python tests/bench/throttling.py mobilenet_v2.onnx --plot throttling.png

Runs take turns. Prints, of each: max/min and coefficient of variation of the latency, frames later than the deadline, mean
density. Frames during which the share changed are left out of the first two: they have no latency of their own. Max
and min are the 99th and the first percentile, as a machine has other things to do; how much they differ at one level
and one share is printed, too: nothing can be steadier.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import machine

ROOT = Path(__file__).resolve().parents[2]
# Short against a run, long against what a change of programs costs.
PERIOD_US = 250
TOP_KHZ = 2_000_000
# Of a run, until the governor has seen a few frames.
FIRST_MS = 300


@dataclass
class Run:
    """What one run of the camera did."""

    name: str
    start_ms: np.ndarray
    ms: np.ndarray
    level: np.ndarray
    share: np.ndarray
    is_steady: np.ndarray

    def and_of(self, other: Run | None) -> Run:
        """Frames of both."""
        if other is None:
            return self
        join = lambda key: np.concatenate([getattr(other, key), getattr(self, key)])
        return Run(self.name, *map(join, ("start_ms", "ms", "level", "share", "is_steady")))


def build(binary: str, model: Path, work: Path) -> tuple[Path, dict]:
    """The camera with `model`, and the model's profile; beside them the throttle."""
    run(["cc", "-O2", "-Wall", "-Wextra", Path(__file__).with_name("throttle.c"), "-o", work / "throttle"])
    run([binary, model, "--cpu", "native", "--name", "net", "-o", work])
    profile = work / "net.profile.json"
    run([binary, "profile", work, "--frequencies", str(TOP_KHZ), "-o", profile, "--emit", "json,rust"])
    runtime = ROOT / "runtime" / "src" / "lib.rs"
    rlib = work / "libcondensec_runtime.rlib"
    common = ["rustc", "--edition", "2024", "-O"]
    run([*common, "--cfg", 'feature="std"', "--crate-type", "rlib", "--crate-name", "condensec_runtime", runtime, "-o", rlib])
    variables = {"MODEL_RS": str(work / "net.rs"), "MODEL_PROFILE_RS": str(work / "net_profile.rs")}
    camera = work / "camera"
    source = ROOT / "examples" / "rust" / "camera.rs"
    command = [*common, "-L", work, "--extern", f"condensec_runtime={rlib}", source, "-o", camera]
    run(command, env={**os.environ, **variables})
    return camera, json.loads(profile.read_text())


def run(command: list, **options) -> None:
    """Runs a command that must succeed."""
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if ran.returncode != 0:
        sys.exit(f"{command}\n{ran.stderr}")


class Clock:
    """A cpufreq tree of one core, as far as the runtime reads it."""

    def __init__(self, root: Path) -> None:
        self.policy = root / "devices/system/cpu/cpu0/cpufreq"
        self.policy.mkdir(parents=True)
        for name in ("cpuinfo_max_freq", "scaling_max_freq"):
            (self.policy / name).write_text(f"{TOP_KHZ}\n")
        for name in ("cpuinfo_min_freq", "scaling_min_freq"):
            (self.policy / name).write_text(f"{TOP_KHZ // 10}\n")
        self.set(1.0)

    def set(self, share: float) -> None:
        """Tells the frequency that stands for a share of the core."""
        file = self.policy / "scaling_cur_freq"
        fresh = file.with_suffix(".new")
        fresh.write_text(f"{int(TOP_KHZ * share)}\n")
        fresh.replace(file)


def measure(name: str, camera: Path, options: list, shares: list[float], seconds: float, core: int, work: Path) -> Run:
    """One run of the camera under the given shares, each for as many seconds."""
    shutil.rmtree(work / f"sys-{name}", ignore_errors=True)
    clock = Clock(work / f"sys-{name}")
    log = work / f"{name}.csv"
    total = seconds * len(shares)
    tree = ["--sysfs", work / f"sys-{name}"] if "--clock" in options else ["--sysfs", work / "none"]
    options = [option for option in options if option != "--clock"]
    command = ["taskset", "-c", core, camera, "--seconds", total, "--log", log, *tree, *options]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    begin = time.perf_counter()
    changes = []
    for share in shares:
        clock.set(share)
        changes.append((time.perf_counter() - begin) * 1e3)
        if share < 1:
            run([work / "throttle", core, share, seconds, PERIOD_US])
        else:
            time.sleep(seconds)
    process.wait()
    with log.open() as file:
        rows = [(float(start), float(ms), float(level)) for start, ms, _, level in csv.reader(file)]
    start, ms, level = (np.array(column) for column in zip(*rows))
    # The program starts a little later than the clock of the shares, so a frame within a tenth of a second of a change
    # may belong to either share; so may the first ones, which find nothing in the caches.
    is_steady = start > FIRST_MS
    for change in changes:
        is_steady &= ~((start < change + 100) & (start + ms > change - 100))
    share = np.array(shares)[np.searchsorted(changes, start, side="right").clip(1) - 1]
    return Run(name, start, ms, level, share, is_steady)


def summary(run: Run, deadline_ms: float, density: list[float]) -> dict:
    """The figures of a run."""
    ms = run.ms[run.is_steady]
    counts = run.start_ms > FIRST_MS
    return {
        "name": run.name,
        "max_over_min": spread(ms),
        "cv": float(ms.std() / ms.mean()),
        "miss_rate": float((run.ms[counts] > deadline_ms).mean()),
        "late_by_5_percent": float((run.ms[counts] > 1.05 * deadline_ms).mean()),
        "mean_density": float(np.interp(run.level[counts], np.arange(len(density)), density).mean()),
        "median_ms": float(np.median(ms)),
        "frames": int(counts.sum()),
    }


def spread(ms: np.ndarray) -> float:
    """Max over min, without the outer percent."""
    return float(np.percentile(ms, 99) / np.percentile(ms, 1))


def noise(run: Run) -> float:
    """The spread of a fixed level at one share, the median over the shares."""
    return float(np.median([spread(run.ms[run.is_steady & (run.share == share)]) for share in np.unique(run.share)]))


def plot(runs: list[Run], shares: list[float], seconds: float, deadline_ms: float, path: Path) -> None:
    """Latency and level over time, in the format of the file's ending."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(9, 7), sharex=True, height_ratios=[1, 3, 2])
    times = np.arange(len(shares) + 1) * seconds
    axes[0].step(times, [*shares, shares[-1]], where="post", color="black")
    axes[0].set(ylabel="share of the core", ylim=(0, 1.05))
    for run in runs:
        axes[1].plot(run.start_ms / 1e3, run.ms, ".", markersize=2, label=run.name)
        axes[2].plot(run.start_ms / 1e3, run.level, label=run.name)
    axes[1].axhline(deadline_ms, color="black", linestyle=":")
    axes[1].set(ylabel="latency, ms", ylim=(0, None))
    axes[1].legend(markerscale=5)
    axes[2].set(ylabel="level", xlabel="s")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="supernet (ONNX)")
    parser.add_argument("--condensec", default=str(ROOT / "target" / "release" / "condensec"))
    parser.add_argument("--shares", default="1,0.7,0.5,0.8,0.55,0.6,1,0.9", help="of the core, one after the other")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each share")
    parser.add_argument("--rounds", type=int, default=4, help="turns of every run")
    parser.add_argument("--room", type=float, default=1.08, help="deadline over the time of the highest level")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--plot", type=Path, help="picture to write, .png or .svg (needs matplotlib)")
    options = parser.parse_args()
    shares = [float(share) for share in options.shares.split(",")]

    core, own = machine.last_cores(2)[::-1]
    os.sched_setaffinity(0, [own])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        camera, profile = build(options.condensec, options.model, work)
        levels = profile["levels"]
        top = levels[-1]
        deadline_ms = options.room * (top["cycles"] / TOP_KHZ * 1e3 + top["memory_us"]) / 1e3
        deadline = ["--deadline-ms", f"{deadline_ms:.4f}"]
        kinds = {
            "fixed-top": ["--level", len(levels) - 1],
            "fixed-L0": ["--level", 0],
            "governor": ["--clock"],
            "mixed": ["--clock", "--mixed"],
            "reactive": [],
            "mixed, reactive": ["--mixed"],
        }
        first: list[Run] = []
        pooled: dict[str, Run] = {}
        for number in range(options.rounds):
            for kind, extra in kinds.items():
                ran = measure(kind, camera, [*deadline, *extra], shares, options.seconds, core, work)
                pooled[kind] = ran.and_of(pooled.get(kind))
                if number == 0:
                    first.append(ran)
        runs = list(pooled.values())
    density = [level["density"] for level in levels]
    results = [summary(run, deadline_ms, density) for run in runs]
    about = {"date": time.strftime("%Y-%m-%d"), **machine.describe([core])}
    print(f"{options.model.name}, {len(levels)} levels, {about['cpu']}, deadline {deadline_ms:.2f} ms, "
          f"shares {options.shares} for {options.seconds:g} s each, {options.rounds} rounds")
    print(f"max/min of the highest level at one share: {noise(runs[0]):.2f}, of L0: {noise(runs[1]):.2f}")
    print(f"{'':15} max/min      cv  missed  by 5 %  mean density  median ms  frames")
    for result in results:
        print(f"{result['name']:15} {result['max_over_min']:7.2f} {result['cv']:7.3f} {result['miss_rate']:7.3f} "
              f"{result['late_by_5_percent']:7.3f} {result['mean_density']:13.3f} {result['median_ms']:10.2f} {result['frames']:7}")
    if options.output:
        report = {**about, "model": options.model.name, "deadline_ms": deadline_ms, "shares": shares, "runs": results}
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    if options.plot:
        plot(first, shares, options.seconds, deadline_ms, options.plot)


if __name__ == "__main__":
    main()
