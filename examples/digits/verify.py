"""Checks the committed digits supernet level by level and prints the README's table.

Each level is written out as ordinary ONNX (masked weights, that level's batch norm) and run by
ONNX Runtime on the test images. It must name as many images correctly as PyTorch did; the file as
it stands must be the highest level, bit for bit. Exit code 1 where either fails. Needs no PyTorch.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1] / "tests" / "python"))

import supernet  # noqa: E402  (found through the path above)


def main() -> int:
    """The command line; see the module's documentation."""
    parser = argparse.ArgumentParser(description="Checks the digits supernet level by level.")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="where train.py wrote its files")
    folder = parser.parse_args().folder

    model = onnx.load(folder / "digits_supernet.onnx")
    onnx.checker.check_model(model, full_check=True)
    expected = json.loads((folder / "digits_levels.json").read_text())
    with np.load(folder / "digits_test.npz") as test:
        x, y = test["x"], test["y"]

    failures = supernet.problems(model)
    names = supernet.level_names(model)
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}; trained with torch {expected['torch']}")
    print()
    print("| level | name | density | correct | top-1 | PyTorch |")
    print("|---|---|---|---|---|---|")
    for level, outputs in supernet.run_levels(model, {"image": x}):
        logits = outputs["logits"]
        n_correct = int((logits.argmax(axis=1) == y).sum())
        theirs = expected["levels"][level]["correct"]
        density = supernet.density(model, level)
        print(
            f"| L{level} | {names[level]} | {density:.4f} | {n_correct} of {len(y)}"
            f" | {n_correct / len(y):.4f} | {theirs / expected['samples']:.4f} |"
        )
        if n_correct != theirs:
            failures.append(f"L{level}: {n_correct} correct, PyTorch had {theirs}")
        if abs(density - expected["levels"][level]["density"]) > 1e-6:
            failures.append(f"L{level}: density {density}, PyTorch had {expected['levels'][level]['density']}")
    if not np.array_equal(supernet.run_model(model, {"image": x})["logits"], logits):
        failures.append("the plain file and the highest level give different outputs")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
