"""How a level's density is shared out among the layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

# From the shapes of all masked weights and the share of their elements to keep to the share of each.
# For masks to nest, none of the shares may fall where the density rises.
Allocation = Callable[[Sequence[Sequence[int]], float], list[float]]


def uniform(shapes: Sequence[Sequence[int]], density: float) -> list[float]:
    """The same share of every layer."""
    return [density] * len(shapes)


def erdos_renyi(shapes: Sequence[Sequence[int]], density: float) -> list[float]:
    """Shares in proportion to (sum of a weight's dimensions) / (product of them), at most 1.

    Small layers keep more: "Erdős-Rényi-Kernel" of Evci et al., "Rigging the Lottery: Making All Tickets
    Winners", 2020, section 3. At the same number of weights it costs more multiply-adds than `uniform`,
    because a convolution's first layers are its smallest and see the largest images.
    """
    sizes = [math.prod(shape) for shape in shapes]
    links = [sum(shape) for shape in shapes]
    n_kept = density * sum(sizes)
    full: set[int] = set()
    while True:
        # What is left for layers that are not full, by link.
        n_links = sum(n for layer, n in enumerate(links) if layer not in full)
        per_link = (n_kept - sum(sizes[layer] for layer in full)) / n_links if n_links else 0
        overfull = {layer for layer, n in enumerate(links) if layer not in full and n * per_link > sizes[layer]}
        if not overfull:
            return [1.0 if layer in full else n * per_link / sizes[layer] for layer, n in enumerate(links)]
        full |= overfull
