"""The convolutional network of the digits example, as a supernet.

One set of weights serves every level: a `LevelConv` multiplies its weight by the mask of the
level that is switched on, and a `LevelNorm` keeps one row of batch-norm parameters and statistics
per level, because a layer that has lost most of its inputs has other means and deviations.
`train.py` trains it, `export.py` writes it as ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Rows of a mask block: 4 output channels share each kept or dropped weight column.
BLOCK_ROWS = 4


class LevelConv(nn.Module):
    """A convolution without bias, "same" padding, whose weight may be masked per level.

    `block_level` is the level data: [out / 4, in, k, k], uint8, `v` = active at every level >= v.
    A convolution that is not maskable stays dense at every level.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, maskable: bool = True):
        super().__init__()
        assert not maskable or n_out % BLOCK_ROWS == 0
        self.weight = nn.Parameter(torch.empty(n_out, n_in, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.stride = stride
        self.padding = kernel // 2
        self.maskable = maskable
        self.level = 0
        if maskable:
            grid = torch.zeros(n_out // BLOCK_ROWS, n_in, kernel, kernel, dtype=torch.uint8)
            self.register_buffer("block_level", grid)

    @torch.no_grad()
    def rank_blocks(self, densities: list[float]) -> None:
        """Ranks the blocks by their L2 norm; a level keeps a prefix of the ranking, L0 the shortest.

        Prefixes of one ranking are nested, so every level's mask contains the one below it. Weighting
        the norm by the loss's curvature (diagonal Fisher) was tried and gained nothing here.
        """
        n_out = self.weight.shape[0]
        blocks = self.weight.reshape(n_out // BLOCK_ROWS, BLOCK_ROWS, *self.weight.shape[1:])
        order = np.argsort(-blocks.square().sum(dim=1).flatten().numpy(), kind="stable")
        level = torch.full((len(order),), len(densities), dtype=torch.uint8)
        for k in reversed(range(len(densities))):
            level[order[: round(densities[k] * len(order))]] = k
        self.block_level.copy_(level.reshape(self.block_level.shape))

    def masked_weight(self) -> Tensor:
        """The weight at the level that is switched on, zero where it is not active."""
        if not self.maskable:
            return self.weight
        mask = (self.block_level <= self.level).to(self.weight.dtype)
        return self.weight * mask.repeat_interleave(BLOCK_ROWS, dim=0)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.masked_weight(), stride=self.stride, padding=self.padding)


class LevelNorm(nn.Module):
    """Batch norm with one row of parameters and statistics per level, each [levels, channels]."""

    EPSILON = 1e-5

    def __init__(self, n_levels: int, n_channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_levels, n_channels))
        self.bias = nn.Parameter(torch.zeros(n_levels, n_channels))
        self.register_buffer("mean", torch.zeros(n_levels, n_channels))
        self.register_buffer("var", torch.ones(n_levels, n_channels))
        self.momentum = 0.1
        self.level = 0

    def forward(self, x: Tensor) -> Tensor:
        k = self.level
        return F.batch_norm(
            x, self.mean[k], self.var[k], self.scale[k], self.bias[k], self.training, self.momentum, self.EPSILON
        )

    @torch.no_grad()
    def copy_top_row_down(self) -> None:
        """Starts every level from the parameters and statistics of the highest one."""
        for rows in (self.scale, self.bias, self.mean, self.var):
            rows[:-1] = rows[-1].clone()


class ConvNorm(nn.Module):
    """Convolution and batch norm; the ReLU is left to the caller (it comes after a residual add)."""

    def __init__(self, n_levels: int, n_in: int, n_out: int, kernel: int, stride: int = 1, maskable: bool = True):
        super().__init__()
        self.conv = LevelConv(n_in, n_out, kernel, stride, maskable)
        self.norm = LevelNorm(n_levels, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Residual(nn.Module):
    """relu(x + point(relu(wide(x)))): a 3x3 and a 1x1 convolution round an identity."""

    def __init__(self, n_levels: int, n_channels: int):
        super().__init__()
        self.wide = ConvNorm(n_levels, n_channels, n_channels, 3)
        self.point = ConvNorm(n_levels, n_channels, n_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.point(F.relu(self.wide(x))))


class Digits(nn.Module):
    """[N, 1, 32, 32] image -> [N, 10] logits; 83,866 weights and biases besides batch norm.

    stem 3x3 (dense) -> down1 3x3/2 -> block1 -> down2 3x3/2 -> block2 -> head 1x1 -> mean over the
    image -> classifier (dense). First and last layer are small and the most easily hurt.
    """

    def __init__(self, n_levels: int):
        super().__init__()
        self.n_levels = n_levels
        self.stem = ConvNorm(n_levels, 1, 16, 3, maskable=False)
        self.down1 = ConvNorm(n_levels, 16, 32, 3, stride=2)
        self.block1 = Residual(n_levels, 32)
        self.down2 = ConvNorm(n_levels, 32, 64, 3, stride=2)
        self.block2 = Residual(n_levels, 64)
        self.head = ConvNorm(n_levels, 64, 128, 1)
        self.classifier = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = self.block1(F.relu(self.down1(x)))
        x = self.block2(F.relu(self.down2(x)))
        x = F.relu(self.head(x))
        return self.classifier(x.mean(dim=(2, 3)))

    def set_level(self, level: int) -> None:
        """Switches every layer; the weights stay where they are."""
        for module in self.modules():
            if isinstance(module, (LevelConv, LevelNorm)):
                module.level = level

    def maskable_convs(self) -> Iterator[LevelConv]:
        """The convolutions that have a mask, in the order of the network."""
        return (m for m in self.modules() if isinstance(m, LevelConv) and m.maskable)

    def norms(self) -> Iterator[LevelNorm]:
        """Every batch norm, in the order of the network."""
        return (m for m in self.modules() if isinstance(m, LevelNorm))

    def density(self, level: int) -> float:
        """Kept weights / all weights of the maskable layers, a fraction in [0, 1]."""
        kept = sum(int((c.block_level <= level).sum()) for c in self.maskable_convs())
        return kept / sum(c.block_level.numel() for c in self.maskable_convs())
