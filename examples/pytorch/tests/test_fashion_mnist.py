"""The Fashion-MNIST program from end to end, on a handful of made-up images."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import supernet as reference
import torch
from condense_torch import Processes
from fashion_mnist.data import augment, load, read_idx

FOLDER = Path(__file__).parent.parent


def write_idx(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.tobytes()))


def write_data(folder: Path) -> None:
    random = np.random.default_rng(0)
    for part, n in (("train", 256), ("t10k", 100)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", random.integers(256, size=(n, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", random.integers(10, size=n, dtype=np.uint8))


def test_idx_files_are_read_as_written(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "values.gz", values)
    np.testing.assert_array_equal(read_idx(tmp_path / "values.gz"), values)


def test_augmented_images_are_shifted_and_mirrored() -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 10, 5] = 255
    seen = set()
    for seed in range(400):
        changed = augment(image, torch.Generator().manual_seed(seed))
        (row, column), = changed[0].nonzero().tolist()
        seen.add((row, column))
    columns = [*range(3, 8), *range(20, 25)]  # 5 or its mirror image 22, two to either side
    assert seen == {(row, column) for row in range(8, 13) for column in columns}


def test_processes_divide_an_epoch(tmp_path: Path) -> None:
    write_data(tmp_path)
    labels = [y for _, y in load(tmp_path, 64, 1, Processes()).train(3)]
    parts = [[y for _, y in load(tmp_path, 32, 1, Processes(rank, 2)).train(3)] for rank in (0, 1)]
    for whole, first, second in zip(labels, *parts, strict=True):
        assert torch.equal(whole, torch.cat([first, second]))


def test_the_program_from_end_to_end(tmp_path: Path) -> None:
    write_data(tmp_path)
    arguments = ["--data", tmp_path, "--run", tmp_path / "run", "--epochs", "1", "--densities", "0.1", "1.0"]

    def run(command: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-B", "-m", "fashion_mnist", command, *arguments]
        return subprocess.run(program, cwd=FOLDER, capture_output=True, text=True)

    refused = run("supernet")
    assert refused.returncode == 1 and "dense is not trained to its end" in refused.stderr
    for command in ("dense", "supernet", "separate", "report"):
        done = run(command)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("| L") == 2
    results = json.loads((tmp_path / "run/results.json").read_text())
    model = onnx.load(tmp_path / "run/supernet.onnx")
    assert reference.problems(model) == []
    with np.load(tmp_path / "run/test.npz") as test:
        for level, found in reference.run_levels(model, {"input": test["x"]}):
            n_correct = int((found["output"].argmax(axis=1) == test["y"]).sum())
            # One image may lie on the border between two classes.
            assert abs(n_correct / len(test["y"]) - results["levels"][level]["top1"]) <= 1 / len(test["y"])
