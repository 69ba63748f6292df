"""What is measured over a data set at every level: batch-norm statistics and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from condense_torch.processes import Processes
from condense_torch.supernet import Supernet

Batch = tuple[Tensor, Tensor]


@torch.no_grad()
def recalibrate(
    supernet: Supernet, batches: Callable[[], Iterable[Tensor]], processes: Processes = Processes()
) -> None:
    """Sets every level's batch-norm statistics to the mean over the batches of inputs.

    Running averages lag behind the weights, at the levels a sandwich draws seldom most of all. A
    variance is the mean of the batches' variances: let a batch be large.
    """
    was_training = supernet.training
    norms = [norm for _, norm in supernet.norms()]
    momenta = [norm.momentum for norm in norms]
    supernet.train()
    for level in range(supernet.n_levels):
        supernet.set_level(level)
        for index, x in enumerate(batches()):
            for norm in norms:
                norm.momentum = 1 / (index + 1)
            supernet(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    average_statistics(supernet, processes)
    supernet.train(was_training)


def average_statistics(supernet: Supernet, processes: Processes) -> None:
    """Gives all processes the mean of their batch-norm statistics."""
    processes.average(rows for _, norm in supernet.norms() for rows in (norm.running_mean, norm.running_var))


@torch.no_grad()
def accuracies(supernet: Supernet, batches: Callable[[], Iterable[Batch]], *, bf16: bool = False) -> list[float]:
    """The share of inputs that each level names correctly, L0 first; in autocast if `bf16`."""
    was_training = supernet.training
    supernet.eval()
    shares = []
    for level in range(supernet.n_levels):
        supernet.set_level(level)
        n_correct = n_all = 0
        for x, y in batches():
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                logits = supernet(x)
            n_correct += int((logits.argmax(dim=1) == y).sum())
            n_all += len(y)
        shares.append(n_correct / n_all)
    supernet.train(was_training)
    return shares
