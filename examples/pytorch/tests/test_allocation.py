"""How layers share a level's density."""

from __future__ import annotations

import math

import pytest
from condense_torch import Supernet, erdos_renyi, uniform
from condense_torch.allocation import Allocation
from networks import ConvNet

SHAPES = [[48, 16, 3, 3], [48, 48, 3, 3], [96, 48, 1, 1], [192, 96, 3, 3]]
DENSITIES = [0.01, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0]
ALLOCATIONS = [uniform, erdos_renyi]


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("density", DENSITIES)
def test_shares_add_up_to_the_density(allocation: Allocation, density: float) -> None:
    sizes = [math.prod(shape) for shape in SHAPES]
    shares = allocation(SHAPES, density)
    assert all(0 < share <= 1 for share in shares)
    kept = sum(share * size for share, size in zip(shares, sizes, strict=True))
    assert kept == pytest.approx(density * sum(sizes))


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_no_share_falls_where_the_density_rises(allocation: Allocation) -> None:
    of_densities = [allocation(SHAPES, density) for density in DENSITIES]
    for lower, upper in zip(of_densities, of_densities[1:], strict=False):
        assert all(a <= b for a, b in zip(lower, upper, strict=True))


def test_erdos_renyi_goes_by_the_sum_of_dimensions_over_their_product() -> None:
    shares = erdos_renyi(SHAPES, 0.05)
    links = [sum(shape) / math.prod(shape) for shape in SHAPES]
    ratios = [share / link for share, link in zip(shares, links, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * len(SHAPES))


def test_small_layers_fill_up_and_the_others_share_what_is_left() -> None:
    shares = erdos_renyi(SHAPES, 0.3)
    assert shares[0] == shares[2] == 1.0
    assert shares[3] < shares[1] < 1.0


def test_a_supernet_keeps_the_density_over_all_layers() -> None:
    supernet = Supernet(ConvNet(), [0.2, 0.5, 1.0], allocation=erdos_renyi)
    assert [supernet.density(level) for level in range(3)] == pytest.approx([0.2, 0.5, 1.0], abs=0.02)
    dense_shares = {float((mask.level <= 0).float().mean()) for _, mask in supernet.masks()}
    assert len(dense_shares) > 1
