"""Fashion-MNIST from its four files, augmented, in batches that a seed fixes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from condense_torch.processes import Processes
from condense_torch.statistics import Batch
from condense_torch.trainer import Data

# Of the training images' pixels, in [0, 1].
PIXEL_MEAN = 0.2860
PIXEL_DEVIATION = 0.3530
# Pixels by which an image is shifted at most, in both directions.
SHIFT = 2
TEST_BATCH = 500
CALIBRATION_BATCHES = 20
CALIBRATION_BATCH = 500


def read_idx(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The array of bytes in a gzipped IDX file."""
    data = gzip.decompress(path.read_bytes())
    # Two zero bytes, the type (8: unsigned bytes), the number of dimensions, the dimensions.
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def normalise(images: Tensor) -> Tensor:
    """Bytes [N, 28, 28] -> f32 [N, 1, 28, 28], channels last in memory: it is the faster layout here."""
    x = (images.float() / 255 - PIXEL_MEAN) / PIXEL_DEVIATION
    return x[:, None].contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors half of the images [N, 28, 28] and shifts all of them, black moving in."""
    n, height, width = images.shape
    padded = torch.nn.functional.pad(images, [SHIFT] * 4)
    top = torch.randint(2 * SHIFT + 1, (n, 1), generator=generator)
    left = torch.randint(2 * SHIFT + 1, (n, 1), generator=generator)
    mirrored = torch.rand((n, 1), generator=generator) < 0.5
    columns = torch.arange(width).expand(n, width)
    columns = torch.where(mirrored, columns.flip(1), columns) + left
    rows = torch.arange(height) + top
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


@dataclass(frozen=True)
class TrainingEpoch:
    """One process's share of one epoch: all images in random order, an incomplete last batch left out."""

    images: Tensor
    labels: Tensor
    batch: int
    seed: int
    processes: Processes

    def __len__(self) -> int:
        return len(self.images) // (self.batch * self.processes.size)

    def __iter__(self) -> Iterator[Batch]:
        # The order is the same in all processes, each takes its part of every batch.
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(self.seed))
        generator = torch.Generator().manual_seed(self.seed * 1000 + self.processes.rank)
        stride = self.batch * self.processes.size
        for start in range(0, len(self) * stride, stride):
            begin = start + self.batch * self.processes.rank
            pick = order[begin : begin + self.batch]
            yield normalise(augment(self.images[pick], generator)), self.labels[pick]


def load(folder: Path, batch: int, seed: int, processes: Processes) -> Data:
    """Training and test images; `batch` is each process's part of a step's images."""

    def read(part: str) -> tuple[Tensor, Tensor]:
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
        return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))

    images, labels = read("train")
    test_images, test_labels = read("t10k")
    calibration = TrainingEpoch(images, labels, CALIBRATION_BATCH, seed, processes)

    def calibrate() -> Iterator[Tensor]:
        return (x for x, _ in islice(calibration, CALIBRATION_BATCHES))

    def test() -> Iterator[Batch]:
        for x, y in zip(torch.split(test_images, TEST_BATCH), torch.split(test_labels, TEST_BATCH), strict=True):
            yield normalise(x), y

    return Data(
        train=lambda epoch: TrainingEpoch(images, labels, batch, seed * 10_000 + epoch, processes),
        calibration=calibrate,
        test=test,
    )
