"""Small networks and data that the tests share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from condense_torch import Data
from torch import Tensor, nn


class ConvNet(nn.Module):
    """First, ordinary, depthwise and 1x1 convolution, batch norms, a linear layer in the middle and one at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 12, 3, padding=1)
        self.wide_norm = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False)
        self.point = nn.Conv2d(12, 18, 1, bias=False)
        self.point_norm = nn.BatchNorm2d(18)
        self.hidden = nn.Linear(18, 16)
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first_norm(self.first(x)))
        x = F.relu(self.wide_norm(self.wide(x)))
        x = F.relu(self.point_norm(self.point(self.depthwise(x))))
        logits: Tensor = self.last(F.relu(self.hidden(x.mean(dim=(2, 3)))))
        return logits


class Perceptron(nn.Module):
    """No batch norm, so a batch's gradient is the mean of its parts' gradients."""

    def __init__(self) -> None:
        super().__init__()
        hidden = [nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()]
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def bars(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 6, 6] with a bright row among four, which is the label, in noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (n,), generator=generator)
    x = torch.randn((n, 1, 6, 6), generator=generator)
    x[torch.arange(n), 0, y] += 2
    return x, y


def bars_data(rank: int = 0, size: int = 1, batch: int = 32) -> Data:
    """Training epochs of 256 images, 256 others to test on; each process takes its part of every batch."""
    x, y = bars(256, seed=1)
    test = bars(256, seed=2)

    def train(epoch: int) -> list[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        picks = [pick.chunk(size)[rank] for pick in torch.split(order, batch)]
        return [(x[pick], y[pick]) for pick in picks]

    return Data(train=train, calibration=lambda: [x], test=lambda: [test])
