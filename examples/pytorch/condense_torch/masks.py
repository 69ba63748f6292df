"""Nested block masks from one ranking of a layer's weights.

A weight is cut into blocks, by default 4 output channels of one column, and the blocks are ranked
once by a score. A level keeps a prefix of the ranking, so every level's mask contains the one
below it, whatever the densities. The ranking is stored as the level data that condensec reads: per
block the lowest level at which it is active.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A weight's score, element by element and of its shape; a block's score is the sum of its elements'.
Score = Callable[[Tensor], Tensor]


def magnitude(weight: Tensor) -> Tensor:
    """The square of each weight, so that a block's score is the square of its L2 norm."""
    return weight.detach().square()


@dataclass(frozen=True)
class Block:
    """Size of a mask block: `rows` output channels by `columns` input channels, at one kernel position."""

    rows: int = 4
    columns: int = 1

    def sizes(self, n_dims: int) -> tuple[int, ...]:
        """The size along each dimension of a weight [out, in, *kernel]."""
        return (self.rows, self.columns, *[1] * (n_dims - 2))


class Switch:
    """The level that is on. All modules of a supernet share one, so switching is one assignment."""

    def __init__(self, level: int):
        self.level = level


def block_scores(scores: Tensor, block: Block) -> Tensor:
    """Sums the elements' scores over each block: [out, in, *kernel] -> ceil(dim / block) per dimension."""
    rows, columns = scores.shape[:2]
    # F.pad counts dimensions from the last one.
    edge = [0] * (2 * (scores.dim() - 2)) + [0, -columns % block.columns, 0, -rows % block.rows]
    padded = F.pad(scores, edge)
    cut = padded.reshape(
        padded.shape[0] // block.rows, block.rows, padded.shape[1] // block.columns, block.columns, *scores.shape[2:]
    )
    return cut.sum(dim=(1, 3))


def rank_levels(scores: Tensor, densities: Sequence[float]) -> Tensor:
    """The lowest level at which each block is active, uint8; `len(densities)` where it never is.

    `densities` are ascending shares of the blocks. Equal scores go by position, so the result is
    the same on every machine. No level is left without a block.
    """
    order = scores.flatten().argsort(descending=True, stable=True)
    levels = torch.full_like(order, len(densities), dtype=torch.uint8)
    for level in reversed(range(len(densities))):
        levels[order[: max(1, round(densities[level] * len(order)))]] = level
    return levels.reshape(scores.shape)


class LevelMask(nn.Module):
    """Masks a weight at the level that is on: a parametrization for `torch.nn.utils.parametrize`.

    The level data is a buffer, so it is saved with the weights; it never changes in training. A
    weight that a level drops is not touched by that level's gradient and goes on learning at the
    levels that keep it.
    """

    level: Tensor

    def __init__(self, weight: Tensor, densities: Sequence[float], block: Block, score: Score, switch: Switch):
        super().__init__()
        self.block = block
        self.switch = switch
        self.register_buffer("level", rank_levels(block_scores(score(weight), block), densities))

    def active(self, shape: torch.Size, level: int) -> Tensor:
        """Where a weight of `shape` is active, as booleans."""
        rows = (self.level <= level).repeat_interleave(self.block.rows, dim=0)
        both = rows.repeat_interleave(self.block.columns, dim=1) if self.block.columns > 1 else rows
        return both[: shape[0], : shape[1]]

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.active(weight.shape, self.switch.level)
