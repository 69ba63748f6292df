"""Trains the digits supernet and writes the files that the rest of this folder uses.

scikit-learn's handwritten digits (8x8) are brought to 32x32; a small convolutional network is
trained dense; its 4x1 weight blocks are ranked once; then all levels are trained together over
the one set of weights (sandwich steps: the highest level learns the labels, the sparsest and
one other level learn the highest one's outputs), each with its own batch norm.

    python train.py               # a few minutes on one core
    python train.py --hold-out 250    # for tuning: never looks at the test images, writes nothing

Written to --output: `digits_supernet.onnx`, `digits_test.npz`, `digits_levels.json` (what PyTorch
measured, for `verify.py` to compare with) and `digits_train_log.csv`.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from export import to_onnx
from network import Digits

# Kept share of the weights of each maskable layer, L0 first.
DENSITIES = [0.05, 0.1, 0.2, 0.5, 1.0]
LEVEL_NAMES = ["d05", "d10", "d20", "d50", "full"]

N_TEST = 500
# The split does not follow --seed: one committed test set serves every network trained here.
SPLIT_SEED = 0
SIZE = 32
# Pixels are rounded to so many grey steps: twice the scan's 16, and the test file stays small.
GREY_STEPS = 32
# Round numbers near the mean (0.305) and deviation (0.324) of all pixels.
PIXEL_MEAN = 0.3125
PIXEL_DEVIATION = 0.3125

BATCH = 64
DENSE_RATE = 0.1
# Half the dense rate: the highest level must not forget while L0 learns.
SANDWICH_RATE = 0.05
WEIGHT_DECAY = 5e-4
NORM_MOMENTUM = 0.1

Step = Callable[[Digits, Tensor, Tensor], float]


def upsample(images: np.ndarray, size: int) -> np.ndarray:
    """Bilinear resize of square images [n, s, s] to [n, size, size] (half-pixel centres)."""
    n_in = images.shape[-1]
    centre = np.clip((np.arange(size) + 0.5) * n_in / size - 0.5, 0, n_in - 1)
    low = np.floor(centre).astype(int)
    high = np.minimum(low + 1, n_in - 1)
    matrix = np.zeros((size, n_in))
    np.add.at(matrix, (np.arange(size), low), 1 - (centre - low))
    np.add.at(matrix, (np.arange(size), high), centre - low)
    return matrix @ images @ matrix.T


def load_data() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 digits: normalised f32 [n, 1, 32, 32] and their labels, int64 [n]."""
    digits = load_digits()
    unit = upsample(digits.images, SIZE) / 16
    unit = np.round(unit * GREY_STEPS) / GREY_STEPS
    x = ((unit - PIXEL_MEAN) / PIXEL_DEVIATION).astype(np.float32)
    return x[:, None], digits.target.astype(np.int64)


def augment(x: Tensor) -> Tensor:
    """Turns (+-0.2 rad), scales (+-12 %) and shifts (+-2 pixels) each image [n, 1, 32, 32]."""
    n = len(x)
    angle = (torch.rand(n) - 0.5) * 0.4
    scale = 1 + (torch.rand(n) - 0.5) * 0.25
    shift = (torch.rand(n, 2) - 0.5) * 0.25
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented batches; an incomplete last one is left out."""
    order = torch.randperm(len(x))
    for start in range(0, len(x) - BATCH + 1, BATCH):
        pick = order[start : start + BATCH]
        yield augment(x[pick]), y[pick]


def dense_step(net: Digits, x: Tensor, y: Tensor) -> float:
    """Adds the gradient of the highest level alone; returns its loss."""
    net.set_level(net.n_levels - 1)
    loss = F.cross_entropy(net(x), y)
    loss.backward()
    return loss.item()


def sandwich_step(net: Digits, x: Tensor, y: Tensor) -> float:
    """Adds the gradients of three levels; returns their mean loss.

    The highest level learns the labels; L0 and a random level between learn its outputs.
    """
    net.set_level(net.n_levels - 1)
    logits = net(x)
    loss = F.cross_entropy(logits, y)
    loss.backward()
    total = loss.item()
    target = logits.detach().softmax(dim=1)
    for level in (0, random.randrange(1, net.n_levels - 1)):
        net.set_level(level)
        loss = -(target * net(x).log_softmax(dim=1)).sum(dim=1).mean()
        loss.backward()
        total += loss.item()
    return total / 3


def optimizer(net: Digits, rate: float) -> torch.optim.SGD:
    """SGD with momentum; only the weights of convolutions and classifier decay."""
    named = list(net.named_parameters())
    decayed = [p for name, p in named if name.endswith(".weight")]
    others = [p for name, p in named if not name.endswith(".weight")]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others}]
    return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)


@torch.no_grad()
def recalibrate(net: Digits, x: Tensor) -> None:
    """Sets every level's batch-norm statistics to those of `x`, one batch per level."""
    net.train()
    for norm in net.norms():
        norm.momentum = 1.0
    for level in range(net.n_levels):
        net.set_level(level)
        net(x)
    for norm in net.norms():
        norm.momentum = NORM_MOMENTUM


@torch.no_grad()
def n_correct(net: Digits, x: Tensor, y: Tensor) -> list[int]:
    """Correctly named images at every level, L0 first."""
    net.eval()
    counts = []
    for level in range(net.n_levels):
        net.set_level(level)
        counts.append(int((net(x).argmax(dim=1) == y).sum()))
    return counts


class Log:
    """A line per epoch on stderr, kept for the CSV file; accuracies are for watching only."""

    def __init__(self, x: Tensor, y: Tensor):
        self.x, self.y = x, y
        self.rows: list[list[str]] = [["phase", "epoch", "loss", *(f"top1_{name}" for name in LEVEL_NAMES)]]
        self.start = time.monotonic()

    def line(self, phase: str, epoch: int, loss: float | None, net: Digits, levels: slice) -> None:
        accuracies = [f"{n / len(self.y):.4f}" for n in n_correct(net, self.x, self.y)]
        known = range(net.n_levels)[levels]
        shown = [text if k in known else "" for k, text in enumerate(accuracies)]
        self.rows.append([phase, str(epoch), "" if loss is None else f"{loss:.4f}", *shown])
        loss_text = "      " if loss is None else f"{loss:.4f}"
        accuracy_text = " ".join(f"{text:>6}" for text in shown)
        seconds = time.monotonic() - self.start
        print(f"{phase:>12} {epoch:>3}  loss {loss_text}  top1 {accuracy_text}  {seconds:5.0f} s", file=sys.stderr)


def train_phase(net: Digits, step: Step, epochs: int, rate: float, x: Tensor, y: Tensor, log: Log) -> None:
    """Runs the epochs of one phase: rate up over the first tenth, then down to zero along a cosine."""
    optimize = optimizer(net, rate)
    n_batches = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimize, rate, total_steps=epochs * n_batches, pct_start=0.1)
    # The dense phase leaves the other levels' batch norm untouched, so they mean nothing yet.
    levels = slice(-1, None) if step is dense_step else slice(None)
    for epoch in range(1, epochs + 1):
        net.train()
        total = 0.0
        for images, labels in batches(x, y):
            optimize.zero_grad()
            total += step(net, images, labels)
            optimize.step()
            schedule.step()
        log.line(step.__name__.removesuffix("_step"), epoch, total / n_batches, net, levels)


def train(arguments: argparse.Namespace, x: Tensor, y: Tensor, log: Log) -> Digits:
    """Dense training, ranking, sandwich training, statistics: the supernet."""
    net = Digits(len(DENSITIES))
    train_phase(net, dense_step, arguments.dense_epochs, DENSE_RATE, x, y, log)
    for conv in net.maskable_convs():
        conv.rank_blocks(DENSITIES)
    for norm in net.norms():
        norm.copy_top_row_down()
    recalibrate(net, x)
    log.line("ranked", 0, None, net, slice(None))
    train_phase(net, sandwich_step, arguments.sandwich_epochs, SANDWICH_RATE, x, y, log)
    recalibrate(net, x)
    log.line("recalibrated", 0, None, net, slice(None))
    return net


def write_files(output: Path, net: Digits, seed: int, x_test: np.ndarray, y_test: np.ndarray, log: Log) -> None:
    """The supernet, its test set, PyTorch's results and the log."""
    output.mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(net, LEVEL_NAMES), output / "digits_supernet.onnx")
    np.savez_compressed(output / "digits_test.npz", x=x_test, y=y_test)
    correct = n_correct(net, torch.from_numpy(x_test), torch.from_numpy(y_test))
    levels = [
        {"level": k, "name": LEVEL_NAMES[k], "density": round(net.density(k), 6), "correct": correct[k]}
        for k in range(net.n_levels)
    ]
    # "1.13.1+cpu" and the like: the build's suffix says nothing about the numbers.
    results = {"torch": torch.__version__.split("+")[0], "seed": seed, "samples": len(y_test), "levels": levels}
    (output / "digits_levels.json").write_text(json.dumps(results, indent=2) + "\n")
    with open(output / "digits_train_log.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(log.rows)


def main() -> None:
    """The command line; see the module's documentation."""
    parser = argparse.ArgumentParser(description="Trains the digits supernet.")
    parser.add_argument("--seed", type=int, default=1, help="of weights, batches and levels (default 1)")
    parser.add_argument("--dense-epochs", type=int, default=25)
    parser.add_argument("--sandwich-epochs", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1, help="sums, and so results, may depend on it (default 1)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR")
    parser.add_argument(
        "--hold-out",
        type=int,
        default=0,
        metavar="N",
        help="leave N training images out, report on them instead of the test images, write nothing",
    )
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)

    x, y = load_data()
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=N_TEST, random_state=SPLIT_SEED, stratify=y)
    x_report, y_report = x_test, y_test
    if arguments.hold_out:
        x_train, x_report, y_train, y_report = train_test_split(
            x_train, y_train, test_size=arguments.hold_out, random_state=SPLIT_SEED, stratify=y_train
        )
    log = Log(torch.from_numpy(x_report), torch.from_numpy(y_report))
    net = train(arguments, torch.from_numpy(x_train), torch.from_numpy(y_train), log)
    if not arguments.hold_out:
        write_files(arguments.output, net, arguments.seed, x_test, y_test, log)


if __name__ == "__main__":
    main()
