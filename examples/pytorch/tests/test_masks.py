"""Masks: blocks, ranking, nesting."""

from __future__ import annotations

import pytest
import torch
from condense_torch import Block
from condense_torch.masks import LevelMask, Switch, block_scores, magnitude, rank_levels


def test_a_blocks_score_is_the_sum_of_its_elements_at_ragged_edges_too() -> None:
    scores = torch.arange(15.0).reshape(5, 3)
    found = block_scores(scores, Block(rows=2, columns=2))
    assert found.tolist() == [[0 + 1 + 3 + 4, 2 + 5], [6 + 7 + 9 + 10, 8 + 11], [12 + 13, 14]]


def test_kernel_positions_are_ranked_apart() -> None:
    weight = torch.zeros(4, 1, 1, 2)
    weight[:, 0, 0, 1] = 1
    assert block_scores(magnitude(weight), Block()).tolist() == [[[[0, 4]]]]


def test_levels_are_prefixes_of_one_ranking() -> None:
    scores = torch.tensor([5.0, 1, 4, 2, 3])
    assert rank_levels(scores, [0.2, 0.4, 0.8]).tolist() == [0, 3, 1, 2, 2]


def test_equal_scores_go_by_position_and_no_level_is_empty() -> None:
    assert rank_levels(torch.ones(4), [0.01, 0.5, 1.0]).tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (6, 5), (7, 4, 3)])
def test_a_level_keeps_the_blocks_of_the_largest_norm(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    switch = Switch(0)
    mask = LevelMask(weight, [0.25, 0.5, 1.0], Block(), magnitude, switch)
    norms = [weight[row : row + 4].square().sum(dim=0) for row in range(0, shape[0], 4)]
    below = torch.zeros(shape, dtype=torch.bool)
    for switch.level, density in enumerate([0.25, 0.5, 1.0]):
        kept = mask(weight) != 0
        assert (kept | ~below).all(), "not nested"
        n_blocks = sum(norm.numel() for norm in norms)
        threshold = torch.stack(norms).flatten().sort(descending=True).values[round(density * n_blocks) - 1]
        for index, norm in enumerate(norms):
            rows = kept[4 * index : 4 * index + 4]
            assert (rows == (norm >= threshold)).all()
        below = kept
    assert below.all()
