"""One training step of a supernet: the sandwich rule with in-place distillation.

Of all levels a step trains the highest, the sparsest and a few at random between (Yu and Huang,
"Universally Slimmable Networks", 2019): the two ends bound the others. Those between are drawn by the
inverse of their density, for the fewer weights a level has, the longer it takes to learn. The highest level
learns the labels; the others learn its outputs of the same step. With one level this is ordinary
training, so a network trained on its own differs in nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from condense_torch.supernet import Supernet

Loss = Callable[[Tensor, Tensor], Tensor]


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy with the teacher's class probabilities, [N, classes] both."""
    return F.cross_entropy(logits.float(), teacher.float().softmax(dim=1))


def sandwich_levels(densities: Sequence[float], n_middle: int, choice: random.Random) -> list[int]:
    """The levels of one step: the highest first, then up to `n_middle` between, then L0."""
    top = len(densities) - 1
    # u^(1/w), u uniform, orders a weighted draw without replacement (Efraimidis and Spirakis, 2006).
    middle = sorted(range(1, top), key=lambda level: choice.random() ** densities[level], reverse=True)
    return [top, *middle[:n_middle], *([0] if top else [])]


def sandwich_step(
    supernet: Supernet,
    x: Tensor,
    y: Tensor,
    levels: list[int],
    *,
    task_loss: Loss = F.cross_entropy,
    match_loss: Loss = distillation,
    bf16: bool = False,
) -> dict[int, float]:
    """Adds the gradients of `levels`, the teacher first; returns each one's loss.

    Backward passes follow forward passes level by level, so one level's activations are in memory
    at a time. `bf16` runs forward passes in autocast; weights and gradients stay f32.
    """
    losses: dict[int, float] = {}
    target: Tensor | None = None
    for level in levels:
        supernet.set_level(level)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            logits = supernet(x)
        logits = logits.float()
        loss = task_loss(logits, y) if target is None else match_loss(logits, target)
        loss.backward()  # type: ignore[no-untyped-call]
        losses[level] = loss.item()
        if target is None:
            target = logits.detach()
    return losses
