"""The FMA peak of the core, sampled while a benchmark runs.

A share of peak compares machines and kernels where milliseconds cannot. The clock moves with load and neighbours, so
the peak is sampled between the turns of the very run whose times it judges; the best sample is the peak.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np

import native

VECTOR_BITS = (128, 256, 512)
SECONDS_PER_SAMPLE = 0.002


class FmaPeak:
    """Samples of GFLOP/s by width of the vectors, for the widths that this core has."""

    def __init__(self) -> None:
        self._gflops = native.load("fma_peak.c").fma_gflops
        self._gflops.restype = ctypes.c_double
        self._gflops.argtypes = [ctypes.c_int, ctypes.c_double]
        self.samples: dict[int, list[float]] = {bits: [] for bits in VECTOR_BITS if self._gflops(bits, 0.0) > 0}

    def sample(self) -> None:
        """One more sample of each width."""
        for bits, samples in self.samples.items():
            samples.append(self._gflops(bits, SECONDS_PER_SAMPLE))

    def best(self) -> float | None:
        """GFLOP/s of the fastest width; None where no width is known."""
        return max((max(samples) for samples in self.samples.values() if samples), default=None)

    def share(self, macs: float, seconds: float) -> float | None:
        """Share of the peak that `macs` multiply-adds in `seconds` are."""
        peak = self.best()
        return None if peak is None else 2e-9 * macs / seconds / peak

    def summary(self) -> list[dict[str, float]]:
        """Best and median by width, for a report."""
        return [
            {"vector_bits": bits, "max_gflops": max(samples), "median_gflops": float(np.median(samples))}
            for bits, samples in self.samples.items()
            if samples
        ]

    def lines(self) -> Iterator[str]:
        """The summary as text."""
        for entry in self.summary():
            yield (
                f"FMA peak, {entry['vector_bits']}-bit: {entry['max_gflops']:.1f} GFLOP/s "
                f"(median {entry['median_gflops']:.1f})"
            )
