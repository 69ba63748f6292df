"""Engines take turns, so that whatever else the machine does falls on all alike.

In a turn an engine runs at least twice: the first run follows a change of level and finds the caches as another
engine left them, the next ones do not. Turns have another order in every round, so none always follows the same other,
and the FMA peak is sampled between them.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import numpy as np

from engines.remote import Remote
from fma_peak import FmaPeak

MIN_RUNS_PER_TURN = 2
MAX_RUNS_PER_TURN = 200
# Short networks run more often in a turn: a turn is about this long at least.
TURN_NS = 10_000_000
# Between turns, for thread pools that spin before they sleep.
PAUSE_S = 0.005


@dataclass
class Entrant:
    """One network as one engine runs it."""

    engine: str
    is_ours: bool
    masks: str  # of which supernet; "dense" for a network without level data
    level: str
    density: float
    macs: int  # multiply-adds with the kept weights
    remote: Remote = field(repr=False)
    key: str
    error: float | None = None
    n_runs: int = MIN_RUNS_PER_TURN
    cpu_ns: list[list[int]] = field(default_factory=list)
    wall_ns: list[list[int]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """How tables call it."""
        return f"{self.engine} {self.masks}" + (f" {self.level}" if self.masks != "dense" else "")

    def take_turn(self) -> tuple[list[int], list[int]]:
        """CPU and wall nanoseconds of the runs of a turn."""
        times = self.remote.call("time", key=self.key, n_runs=self.n_runs)
        return times["cpu_ns"], times["wall_ns"]


def measure(entrants: list[Entrant], n_rounds: int, peak: FmaPeak) -> None:
    """Fills in the times of all entrants."""
    for entrant in entrants:  # warm-up, and a guess at how long a run takes
        _, wall = entrant.take_turn()
        wanted = -(-TURN_NS // max(min(wall), 1))
        entrant.n_runs = int(np.clip(wanted, MIN_RUNS_PER_TURN, MAX_RUNS_PER_TURN))
    order = list(entrants)
    shuffler = random.Random(1)
    for _ in range(n_rounds):
        shuffler.shuffle(order)
        for entrant in order:
            time.sleep(PAUSE_S)
            peak.sample()
            cpu, wall = entrant.take_turn()
            entrant.cpu_ns.append(cpu)
            entrant.wall_ns.append(wall)
