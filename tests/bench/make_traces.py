"""Writes the traces that `condensec simulate` has built in: three minutes of a board's clock and neighbours.

    python3 tests/bench/make_traces.py [FOLDER]

A trace is a CSV file of the moments at which something changes: from `time_ms` on, the clock runs at `frequency_khz`, and
runs take `slowdown` times as long as at that frequency alone. Software can read the first, not the second. The last
row only ends the trace. Frequencies are those of a Cortex-A76 cluster (RK3588); how often things change is as in the
kernel's documentation of the mechanisms named below, how much is drawn by lot from a fixed seed. What varies from one
run to the next (1 %) is not in the traces but added by the simulator.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "compiler/src/cli/simulate/traces"
END_MS = 180_000.0
# Operating points of the big cores.
KHZ = [600_000, 816_000, 1_008_000, 1_200_000, 1_416_000, 1_608_000, 1_800_000, 2_016_000, 2_208_000, 2_400_000]

Row = tuple[float, int, float]


def governor_steps(lot: random.Random) -> Iterator[Row]:
    """Steps of the kernel's frequency governor: other programs come and go, and schedutil picks another point."""
    now, at = 0.0, len(KHZ) - 1
    while now < END_MS:
        yield now, KHZ[at], 1.0
        now += 800 + lot.expovariate(1 / 3500)
        at = lot.choice([other for other in range(len(KHZ)) if other != at])


def thermal(lot: random.Random) -> Iterator[Row]:
    """Thermal saw-tooth: at a trip point step_wise begins to take a point a second, and gives them back slower."""
    now, top = 0.0, len(KHZ) - 1
    while now < END_MS:
        yield now, KHZ[top], 1.0
        now += lot.uniform(5000, 9000)
        lowest = lot.randint(0, 4)
        for at in range(top - 1, lowest - 1, -1):
            yield now, KHZ[at], 1.0
            now += lot.uniform(950, 1050)
        now += lot.uniform(2000, 6000)
        for at in range(lowest + 1, top):
            yield now, KHZ[at], 1.0
            now += lot.uniform(1900, 2100)


def migration(lot: random.Random) -> Iterator[Row]:
    """big.LITTLE: the scheduler moves the program; frequencies are those of a big core of equal speed."""
    little_capacity = 0.42  # of a big core per cycle, `cpu_capacity` in sysfs over the ratio of top frequencies
    little = [round(khz * little_capacity) for khz in (1_416_000, 1_608_000, 1_800_000)]
    big = KHZ[-4:]
    now, is_big = 0.0, True
    while now < END_MS:
        yield now, lot.choice(big if is_big else little), 1.0
        now += 500 + lot.expovariate(1 / (5000 if is_big else 3000))
        is_big = not is_big


def neighbour(lot: random.Random) -> Iterator[Row]:
    """Up to four noisy neighbours on the same memory and power budget, seen by what they cost; rare interrupt storms."""
    step_ms = 200.0
    costs: list[float] = []
    wander, next_change, next_storm = 0.0, 6000.0, 9000.0
    for step in range(math.ceil(END_MS / step_ms)):
        now = step * step_ms
        if now >= next_change:
            if costs and (len(costs) == 4 or lot.random() < 0.5):
                costs.pop(lot.randrange(len(costs)))
            else:
                costs.append(lot.uniform(0.2, 1.0))
            next_change = now + 1500 + lot.expovariate(1 / 4500)
        # Each leaves less of the power budget; bandwidth is shared.
        khz = KHZ[-1 - (len(costs) + 1) // 2]
        wander = 0.9 * wander + lot.gauss(0, 0.002)
        slowdown = (1 + sum(costs)) * (1 + wander)
        yield now + (lot.uniform(0, step_ms / 2) if step else 0.0), khz, slowdown
        if now >= next_storm:
            yield now + 0.6 * step_ms, khz, max(slowdown, min(2.5 * slowdown, 4.0))
            yield now + 0.6 * step_ms + 8, khz, slowdown
            next_storm = now + lot.uniform(15_000, 30_000)


TRACES: dict[str, Callable[[random.Random], Iterator[Row]]] = {
    "governor-steps": governor_steps,
    "migration": migration,
    "neighbour": neighbour,
    "thermal": thermal,
}


def text(name: str) -> str:
    """The CSV file of a trace."""
    make = TRACES[name]
    lines = [f"# {(make.__doc__ or '').strip()}", "# Made by tests/bench/make_traces.py.", "time_ms,frequency_khz,slowdown"]
    khz, slowdown = KHZ[-1], 1.0
    for now, khz, slowdown in make(random.Random(name)):
        if now < END_MS:
            lines.append(f"{now:.1f},{khz},{slowdown:.4g}")
    lines.append(f"{END_MS:.1f},{khz},{slowdown:.4g}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes all traces."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in TRACES:
        (folder / f"{name}.csv").write_text(text(name))


if __name__ == "__main__":
    main()
