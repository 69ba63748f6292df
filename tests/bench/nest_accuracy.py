"""Accuracy of supernets that `condensec nest` makes, step by step of the recipe.

CIFAR-10 networks of ../shared/assets; calibration images come from the training part, accuracy is that of compiled
code on the test part. Every step adds to the one before it:

    magnitude   blocks ranked by their squares
    obs         ranked by the optimal brain surgeon
    statistics  + scale and bias per level and channel
    repair      + shared weights fitted to all levels
    grouping    + rows of a block chosen by likeness (blocks of several rows only): the default of `nest`
    allocation  + `condensec plan`: layers choose from finer levels, at equal multiply-adds
    separate    the recipe up to grouping, one model per density: the bound that sharing must approach

Prints a Markdown table of the accuracy in percent, and writes all results as JSON.

    python tests/bench/nest_accuracy.py --models resnet20 --blocks 4x1,1x1 --seeds 1
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import machine

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT.parent / "shared" / "assets"
DENSITIES = [0.2, 0.3, 0.4, 0.5, 0.7, 1.0]
N_CALIBRATION = 1024
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

STEPS = {
    "magnitude": None,
    "obs": ["--exact-top", "--no-statistics", "--no-grouping"],
    "statistics": ["--exact-top", "--no-grouping"],
    "repair": ["--no-grouping"],
    "grouping": [],
    "allocation": [],
    "separate": [],
}
# What layers may choose from; the levels' own densities are among them.
FINE_DENSITIES = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0]
N_PLANNING = 512


def images(name: str) -> np.ndarray:
    """The 5,000 images of one file, `[N, 3, 32, 32]`, as the networks were trained on them."""
    # One picture holds all images on top of each other.
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(ASSETS / "data" / "cifar10" / f"{name}.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(5000, 32, 32, 3)
    normal = (pixels.astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))


def labels(name: str) -> np.ndarray:
    """Their classes."""
    return np.fromfile(ASSETS / "data" / "cifar10" / f"{name}.labels", np.uint8).astype(np.int64)


def condensec(binary: str, *arguments: object) -> dict:
    """Runs condensec and returns what it prints as JSON."""
    command = [binary, *map(str, arguments), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{ran.stderr}")
    return json.loads(ran.stdout)


def nest(binary: str, model: Path, step: str, block: str, densities: list[float], folder: Path, seed: int) -> Path:
    """A supernet with these levels."""
    supernet = folder / "supernet.onnx"
    arguments = ["nest", model, "--block", block, "-o", supernet]
    arguments += ["--sparsity", ",".join(f"{round(1 - d, 6):g}" for d in densities)]
    flags = STEPS[step]
    arguments += ["--no-grouping"] if flags is None else [*flags, "--calibrate", folder / f"train{seed}.npz"]
    condensec(binary, *arguments)
    return supernet


def plan(binary: str, supernet: Path, densities: list[float], folder: Path, seed: int) -> Path:
    """Operating points of a supernet with the multiply-adds that its uniform levels have at `densities`."""
    levels = condensec(binary, "inspect", supernet)["levels"]
    budgets = [level["macs"] for level in levels if round(level["density"], 2) in densities[:-1]]
    assert len(budgets) == len(densities) - 1, levels
    planned = folder / "planned.onnx"
    arguments = ["--data", folder / f"train{seed}.npz", "--samples", N_PLANNING]
    condensec(binary, "plan", supernet, *arguments, "--macs", ",".join(map(str, budgets)), "-o", planned)
    return planned


def levels_of(binary: str, model: Path, step: str, block: str, densities: list[float], folder: Path, seed: int):
    """Accuracy and multiply-adds of every level of one supernet."""
    start = time.monotonic()
    if step == "allocation":
        supernet = nest(binary, model, step, block, FINE_DENSITIES, folder, seed)
        supernet = plan(binary, supernet, densities, folder, seed)
    else:
        supernet = nest(binary, model, step, block, densities, folder, seed)
    seconds = time.monotonic() - start
    found = condensec(binary, "eval", supernet, "--data", folder / "test.npz", "--cpu", "native")
    # Planned supernets have a lowest level more, which nobody asked for.
    levels = found["levels"][-len(densities) :]
    return [
        {"density": d, "top1": level["top1"], "macs": level["macs"], "ms": level["min_ms"], "nest_seconds": seconds}
        for d, level in zip(densities, levels, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--condensec", default=str(ROOT / "target" / "release" / "condensec"))
    parser.add_argument("--models", default="resnet20,resnet56")
    parser.add_argument("--blocks", default="4x1,1x1")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--seeds", type=int, default=3, help="draws of the calibration images")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if not (ASSETS / "data" / "cifar10").exists():
        print(f"skipped: nest_accuracy: {ASSETS} is not there")
        return

    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        test = ["test-0", "test-1"]
        x, y = np.concatenate([images(t) for t in test]), np.concatenate([labels(t) for t in test])
        np.savez(folder / "test.npz", x=x, y=y)
        train = np.concatenate([images(f"train-{i}") for i in range(3)])
        for seed in range(options.seeds):
            drawn = np.random.default_rng(seed).permutation(len(train))[:N_CALIBRATION]
            np.savez(folder / f"train{seed}.npz", x=train[drawn])
        del x, train
        for model in options.models.split(","):
            onnx = ASSETS / "models" / f"{model}_cifar10.onnx"
            for block in options.blocks.split(","):
                print(f"\n{model}, blocks {block}, top-1 in percent by density\n")
                print("| recipe | " + " | ".join(f"{d:g}" for d in reversed(DENSITIES)) + " |")
                print("|---|" + "---|" * len(DENSITIES), flush=True)
                for step in options.steps.split(","):
                    if step == "grouping" and block.split("x")[0] == "1":
                        continue
                    for seed in range(1 if step == "magnitude" else options.seeds):
                        if step == "separate":
                            models = [[density] for density in DENSITIES]
                        else:
                            models = [DENSITIES]
                        levels = []
                        for densities in models:
                            levels += levels_of(options.condensec, onnx, step, block, densities, folder, seed)
                        for level in levels:
                            results.append({"model": model, "block": block, "recipe": step, "seed": seed, **level})
                        accuracies = [f"{100 * level['top1']:.2f}" for level in reversed(levels)]
                        print(f"| {step}, seed {seed} | " + " | ".join(accuracies) + " |", flush=True)
    if options.output:
        where = {"date": time.strftime("%Y-%m-%d"), "machine": machine.cpu_model()}
        options.output.write_text(json.dumps({**where, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
