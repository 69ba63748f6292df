"""Several processes that train one supernet, as `torchrun` starts them.

Gradients are averaged once per step, after all levels of a sandwich have added theirs.
DistributedDataParallel would do it at each level's backward pass. One process needs none of this
and every function here then does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def from_environment() -> Processes:
        """Joins the group that torchrun's environment describes; alone where there is none."""
        if "RANK" not in os.environ:
            return Processes()
        if not dist.is_initialized():
            dist.init_process_group("gloo")
        return Processes(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share_state(self, module: nn.Module) -> None:
        """Gives all processes the first one's parameters and buffers."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                # gloo takes no other memory format.
                sent = tensor.contiguous()
                dist.broadcast(sent, src=0)
                tensor.copy_(sent)

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each f32 tensor by its mean over all processes, in one message."""
        kept = list(tensors)
        if self.size == 1 or not kept:
            return
        flat = torch.cat([tensor.flatten() for tensor in kept])
        dist.all_reduce(flat)
        flat /= self.size
        means = torch.split(flat, [tensor.numel() for tensor in kept])
        for tensor, mean in zip(kept, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def average_gradients(self, module: nn.Module) -> None:
        """The gradients' mean, in place. All processes have the same parameters with a gradient."""
        self.average(p.grad for p in module.parameters() if p.grad is not None)

    def leave(self) -> None:
        """Leaves the group."""
        if self.size > 1:
            dist.destroy_process_group()
