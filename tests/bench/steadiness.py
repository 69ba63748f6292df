"""How steady the governor keeps the time of a run: every built-in trace, networks of the model zoo, 16 levels and 5.

    .venv/bin/python tests/bench/steadiness.py [--measure] [--networks resnet50,mobilenet-v2]

Levels are spaced evenly in predicted latency, on a logarithmic scale (`ratio`, as `nest --spacing latency-ratio`: neighbours
differ by the same factor, which bounds what is lost when one level just does not fit) and on a linear one (`linear`, as
`nest --spacing latency`). Two policies: the governor with whole levels, and with runs that mix levels (`mixed`). L0 is as much faster than the dense level as the clock's range is wide. The deadline is `--deadline top`.

Proportions between levels are the cost model's, since the figures are of the governor and not of a machine; the dense
level takes what the README's table says, for the longer a run is, the more changes of the clock fall into one. With
--measure all times are this machine's.

Needs a release build of condensec and of the examples: `make steadiness`. Raw results go to
tests/bench/runs/<date>-<machine>/.
"""

from __future__ import annotations

import argparse
import bisect
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import governor_size
import machine

ROOT = Path(__file__).resolve().parents[2]
CONDENSEC = ROOT / "target/release/condensec"
MODEL_ZOO = ROOT / "target/release/model-zoo"
TRACES = ["governor-steps", "migration", "neighbour", "thermal"]
# Of the clock, as the levels are made to cover it.
RANGES = {"resnet50": 4.0, "mobilenet-v2": 2.5, "resnet18": 4.0, "ds-cnn": 2.0}
# Where the cost model is asked; latency is nearly linear between two of them.
TRIALS = [0.05 * step for step in range(1, 21)]
# Of the dense level at the highest frequency.
DENSE_MS = {"resnet50": 78.3, "mobilenet-v2": 6.6, "resnet18": 34.1, "ds-cnn": 0.063}


def run(*command: str | Path) -> str:
    """What a command prints."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def zoo(network: str, densities: list[float], folder: Path) -> Path:
    """A network of the zoo with these levels."""
    path = folder / f"{network.replace('-', '_')}.onnx"
    text = ",".join(f"{density:.6f}" for density in densities)
    run(MODEL_ZOO, network, "--densities", text, "--block", "4x1", "-o", path)
    return path


def predicted(path: Path, folder: Path, khz: float = 1e6) -> dict[str, Any]:
    """The profile by the cost model, of a machine with this clock."""
    options = ["--predict", "--frequencies", str(round(khz)), "-o", folder / "profile.json", "--json"]
    return json.loads(run(CONDENSEC, "profile", path, *options))


def interpolate(xs: list[float], ys: list[float], x: float) -> float:
    """The value at `x` of the line through the points."""
    right = min(max(bisect.bisect_left(xs, x), 1), len(xs) - 1)
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + (ys[right] - ys[right - 1]) * min(max(share, 0.0), 1.0)


def spaced_densities(trial: dict[str, Any], n_levels: int, spacing: str, clock_range: float) -> list[float]:
    """Densities of levels whose predicted times are evenly spaced from 1 / `clock_range` to 1 of the dense level's."""
    cycles = [level["cycles"] for level in trial["levels"]]
    densities = [level["density"] for level in trial["levels"]]
    shares = [step / (n_levels - 1) for step in range(n_levels)]
    low = 1 / clock_range
    times = [low ** (1 - share) if spacing == "ratio" else low + (1 - low) * share for share in shares]
    return [interpolate(cycles, densities, time * cycles[-1]) for time in times[:-1]] + [1.0]


def profile(network: str, densities: list[float], folder: Path, is_measured: bool) -> Path:
    """The profile of a network."""
    path = zoo(network, densities, folder)
    if is_measured:
        run(CONDENSEC, "profile", path, "-o", folder / "profile.json")
    else:
        dense = predicted(path, folder)["levels"][-1]
        predicted(path, folder, dense["cycles"] / DENSE_MS[network])
    return folder / "profile.json"


def row(simulation: dict[str, Any], name: str) -> dict[str, float]:
    """What a table shows of a policy."""
    policies = {policy["name"]: policy for policy in simulation["policies"]}
    governor, fixed, oracle, reactive = (policies[name] for name in (name, "fixed-top", "oracle", "reactive"))
    return {
        "max/min": governor["max_over_min"],
        "fixed": fixed["max_over_min"],
        "reactive": reactive["max_over_min"],
        "cv": governor["cv"],
        "cv/fixed": governor["cv"] / fixed["cv"],
        "missed": governor["miss_rate"],
        "reactive missed": reactive["miss_rate"],
        "fixed missed": fixed["miss_rate"],
        "impossible": governor["impossible_rate"],
        "surprises": governor["surprise_rate"],
        "with surprises": governor["max_over_min_all"],
        "density": governor["mean_density"],
        "of oracle": governor["mean_density"] / oracle["mean_density"],
        "reactive density": reactive["mean_density"],
        "switches": governor["switches"],
        "ns": simulation["decision_ns"],
    }


def wanted(n_levels: int) -> dict[str, tuple[str, float]]:
    """What the figures should be."""
    if n_levels < 16:
        return {"max/min": ("<=", 1.6)}
    return {
        "max/min": ("<=", 1.2),
        "cv/fixed": ("<=", 0.2),
        "missed": ("<=", 0.02),
        "of oracle": (">=", 0.97),
        "ns": ("<=", 1000.0),
    }


def misses(figures: dict[str, float], n_levels: int) -> list[str]:
    """The figures that are not as they should be."""
    found = []
    for key, (relation, bound) in wanted(n_levels).items():
        is_met = figures[key] <= bound if relation == "<=" else figures[key] >= bound
        if not is_met:
            found.append(f"{key} {figures[key]:.3f}, wanted {relation} {bound}")
    return found


def main() -> None:
    """Everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet50,mobilenet-v2")
    parser.add_argument("--measure", action="store_true", help="times of this machine instead of the cost model's")
    parser.add_argument("--output", type=Path, help="folder for the results")
    args = parser.parse_args()
    name = f"{datetime.date.today()}-{machine.slug()}"
    output = args.output or ROOT / "tests/bench/runs" / name
    output.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    raw: list[dict[str, Any]] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    n_missed = 0
    for network in args.networks.split(","):
        clock_range = RANGES[network]
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            trial = predicted(zoo(network, TRIALS, folder), folder)
            for n_levels, spacing in [(16, "ratio"), (16, "linear"), (5, "ratio"), (5, "linear")]:
                densities = spaced_densities(trial, n_levels, spacing, clock_range)
                path = profile(network, densities, folder, args.measure)
                source = json.loads(path.read_text())["source"]
                say(f"{network}, {n_levels} levels, {spacing} spacing, {source} times, clock {clock_range:g}:1")
                say(
                    "  trace          policy    max/min  fixed  reactive | cv      /fixed | missed  reactive  fixed  | "
                    "density  /oracle | switches   ns | surprises  max/min with them"
                )
                for trace in TRACES:
                    options = ["--trace", trace, "--range", f"{clock_range:g}", "--json"]
                    simulation = json.loads(run(CONDENSEC, "simulate", path, *options))
                    for policy in ("governor", "mixed"):
                        f = row(simulation, policy)
                        say(
                            f"  {trace:14} {policy:8} {f['max/min']:8.3f} {f['fixed']:6.2f} {f['reactive']:9.2f} | "
                            f"{f['cv']:.4f} {f['cv/fixed']:6.3f} | {f['missed']:6.2%} {f['reactive missed']:8.2%} "
                            f"{f['fixed missed']:7.1%} | {f['density']:7.4f} {f['of oracle']:8.4f} | "
                            f"{f['switches']:8.0f} {f['ns']:4.0f} | {f['surprises']:9.2%} {f['with surprises']:8.2f}"
                        )
                        for missed in misses(f, n_levels):
                            n_missed += 1
                            say(f"    missed: {missed}")
                    raw.append({"network": network, "levels": n_levels, "spacing": spacing, **simulation})
                say()
    for line in governor_size.report():
        say(line)
    say(f"{n_missed} figures are not as wanted")
    document = {
        "machine": machine.describe([]),
        "command": ["steadiness.py", *sys.argv[1:]],
        "simulations": raw,
    }
    (output / "steadiness.txt").write_text("\n".join(lines) + "\n")
    (output / "steadiness.json").write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
