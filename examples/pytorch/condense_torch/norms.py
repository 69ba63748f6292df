"""Batch norm with parameters and statistics of its own at every level.

A layer that has lost most of its inputs has other means and deviations, so one set of statistics
cannot serve a sparse level and the full network. Each tensor has a leading level dimension, in the
form in which condensec reads it (`<parameter>__levels`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from condense_torch.masks import Switch


class LevelBatchNorm(nn.Module):
    """A BatchNorm1d, 2d or 3d per level: every tensor [levels, channels]."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: _BatchNorm, n_levels: int, switch: Switch):
        """Every level starts from the parameters and statistics of `norm`."""
        super().__init__()
        mean, var = norm.running_mean, norm.running_var
        if mean is None or var is None or not norm.affine:
            raise ValueError("a batch norm without statistics or parameters has nothing to hold per level")
        self.weight = nn.Parameter(norm.weight.detach().repeat(n_levels, 1))
        self.bias = nn.Parameter(norm.bias.detach().repeat(n_levels, 1))
        self.register_buffer("running_mean", mean.repeat(n_levels, 1))
        self.register_buffer("running_var", var.repeat(n_levels, 1))
        self.plain_type = type(norm)
        self.eps = norm.eps
        self.momentum = 0.1 if norm.momentum is None else norm.momentum
        self.switch = switch

    def forward(self, x: Tensor) -> Tensor:
        k = self.switch.level
        mean, var = self.running_mean[k], self.running_var[k]
        return F.batch_norm(x, mean, var, self.weight[k], self.bias[k], self.training, self.momentum, self.eps)

    @torch.no_grad()
    def to_plain(self, level: int) -> _BatchNorm:
        """The ordinary batch norm that `level` stands for."""
        plain = self.plain_type(self.weight.shape[1], eps=self.eps, momentum=self.momentum)
        plain.load_state_dict({name: rows[level] for name, rows in self.rows().items()}, strict=False)
        return plain.train(self.training).to(self.weight.device)

    def rows(self) -> dict[str, Tensor]:
        """What differs from level to level, by the names of an ordinary batch norm."""
        return {name: getattr(self, name).detach() for name in ("weight", "bias", "running_mean", "running_var")}
