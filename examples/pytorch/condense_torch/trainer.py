"""The training loop: epochs of sandwich steps, with checkpoint, log and progress.

A run lives in a folder. It can be stopped at any time and goes on from its last whole epoch, with
the same numbers as if it had not been stopped: what is drawn at random depends on seed and epoch only.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from condense_torch.log import Log
from condense_torch.processes import Processes
from condense_torch.sandwich import sandwich_levels, sandwich_step
from condense_torch.statistics import Batch, accuracies, average_statistics, recalibrate
from condense_torch.supernet import Supernet


class Batches(Sized, Iterable[Batch], Protocol):
    """One epoch of one process's share of the data."""


@dataclass(frozen=True)
class Data:
    """What to train and to measure on.

    `train(epoch)` is drawn anew each epoch and has as many batches as in any other; its batches
    are of equal size in all processes. `calibration` are inputs for batch norm's statistics.
    """

    train: Callable[[int], Batches]
    calibration: Callable[[], Iterable[Tensor]]
    test: Callable[[], Iterable[Batch]]


@dataclass(frozen=True)
class Options:
    """How to train. The rate rises over the first tenth of the steps and falls to zero along a cosine.

    A supernet made of a trained network wants a rate below the one that trained it: at a high one
    the highest level forgets before the others have learnt from it.
    """

    epochs: int
    rate: float
    weight_decay: float = 5e-4
    momentum: float = 0.9
    n_middle: int = 2
    seed: int = 1
    bf16: bool = False


@dataclass
class Trainer:
    """Trains `supernet` in `folder`, which gets `<name>.pt`, `<name>.csv` and `<name>.png`."""

    supernet: Supernet
    data: Data
    options: Options
    folder: Path
    name: str
    processes: Processes = field(default_factory=Processes)

    def __post_init__(self) -> None:
        options = self.options
        decayed = self.supernet.decayed_parameters()
        ids = {id(p) for p in decayed}
        others = [p for p in self.supernet.parameters() if id(p) not in ids]
        groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(groups, lr=options.rate, momentum=options.momentum, nesterov=True)
        n_steps = options.epochs * len(self.data.train(0))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, options.rate, total_steps=n_steps, pct_start=0.1, cycle_momentum=False
        )
        self.log = Log([f"d{density:g}" for density in self.supernet.densities])
        self.n_epochs_done = 0

    @property
    def checkpoint(self) -> Path:
        """The state after the last whole epoch."""
        return self.folder / f"{self.name}.pt"

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are trained."""
        return self.n_epochs_done == self.options.epochs

    def run(self) -> list[float]:
        """Trains what epochs are left, recalibrates; returns every level's accuracy, L0 first (nothing but in the first process)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self.load()
        self.processes.share_state(self.supernet)
        while not self.is_finished:
            self._epoch()
            if self.is_finished:
                recalibrate(self.supernet, self.data.calibration, self.processes)
                self._measure("recalibrated", {}, bf16=False)
            self.save()
        return self.log.last_accuracies() if self.processes.is_first else []

    def _epoch(self) -> None:
        epoch = self.n_epochs_done
        # Seeded alike in all processes: they train the same levels, and none waits for another.
        choice = random.Random(f"{self.options.seed}/{epoch}")
        self.supernet.train()
        sums = [0.0] * self.supernet.n_levels
        counts = [0] * self.supernet.n_levels
        batches = self.data.train(epoch)
        # None: a bar on a terminal only.
        silent = None if self.processes.is_first else True
        for x, y in tqdm(batches, f"{self.name} {epoch + 1}/{self.options.epochs}", len(batches), False, disable=silent):
            levels = sandwich_levels(self.supernet.densities, self.options.n_middle, choice)
            self.optimizer.zero_grad()
            for level, loss in sandwich_step(self.supernet, x, y, levels, bf16=self.options.bf16).items():
                sums[level] += loss
                counts[level] += 1
            self.processes.average_gradients(self.supernet)
            self.optimizer.step()
            self.schedule.step()
        average_statistics(self.supernet, self.processes)
        self.n_epochs_done += 1
        losses = {k: total / n for k, (total, n) in enumerate(zip(sums, counts, strict=True)) if n}
        self._measure("trained", losses, bf16=self.options.bf16)

    def _measure(self, phase: str, losses: dict[int, float], *, bf16: bool) -> None:
        if not self.processes.is_first:
            return
        self.log.add(phase, self.n_epochs_done, losses, accuracies(self.supernet, self.data.test, bf16=bf16))
        print(f"{time.strftime('%H:%M:%S')} {self.name} {self.log.last_line()}", file=sys.stderr, flush=True)
        self.log.write_csv(self.folder / f"{self.name}.csv")
        self.log.write_plot(self.folder / f"{self.name}.png", self.name)

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        if not self.processes.is_first:
            return
        state = {
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "n_epochs_done": self.n_epochs_done,
            "log": self.log.rows,
            "options": asdict(self.options),
        }
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)

    def load(self) -> None:
        """Takes up the checkpoint, which must be of a run with the same options."""
        state = torch.load(self.checkpoint, weights_only=True)
        if state["options"] != asdict(self.options):
            raise ValueError(f"{self.checkpoint} was made with {state['options']}, not {asdict(self.options)}")
        self.supernet.load_state_dict(state["supernet"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.n_epochs_done = state["n_epochs_done"]
        self.log.rows = state["log"]
