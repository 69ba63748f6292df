"""The sandwich step: which levels, who teaches whom."""

from __future__ import annotations

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from condense_torch import Supernet, sandwich_levels, sandwich_step
from networks import Perceptron, bars
from torch import Tensor


@pytest.mark.parametrize(
    ("n_levels", "n_middle", "n_drawn"), [(1, 2, 1), (2, 2, 2), (3, 2, 3), (6, 0, 2), (6, 2, 4), (6, 9, 6)]
)
def test_both_ends_and_some_between(n_levels: int, n_middle: int, n_drawn: int) -> None:
    seen = set()
    densities = [(level + 1) / n_levels for level in range(n_levels)]
    for seed in range(50):
        levels = sandwich_levels(densities, n_middle, random.Random(seed))
        assert levels[0] == n_levels - 1 and levels[-1] == 0
        assert len(levels) == len(set(levels)) == n_drawn
        seen |= set(levels)
    assert seen == set(range(n_levels)) or n_middle == 0


def test_levels_between_are_drawn_by_the_inverse_of_their_density() -> None:
    choice = random.Random(0)
    drawn = [sandwich_levels([0.1, 0.2, 0.8, 1.0], 1, choice)[1] for _ in range(2000)]
    # 1 / 0.2 to 1 / 0.8.
    assert drawn.count(1) / drawn.count(2) == pytest.approx(4, rel=0.2)


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(Perceptron(), [0.25, 0.5, 1.0])


def inputs() -> tuple[Tensor, Tensor]:
    return bars(16, seed=0)


def gradients(supernet: Supernet) -> list[Tensor]:
    found = [p.grad for p in supernet.parameters() if p.grad is not None]
    supernet.zero_grad()
    return found


def test_the_highest_level_learns_labels_and_the_others_its_outputs(supernet: Supernet) -> None:
    x, y = inputs()
    losses = sandwich_step(supernet, x, y, [2, 0])
    found = gradients(supernet)

    teacher = copy.deepcopy(supernet)
    teacher.set_level(2)
    target = teacher(x).softmax(dim=1).detach()
    label_loss = F.cross_entropy(teacher(x), y)
    label_loss.backward()
    student = copy.deepcopy(supernet)
    student.set_level(0)
    match = -(target * student(x).log_softmax(dim=1)).sum(dim=1).mean()
    match.backward()
    assert losses == pytest.approx({2: label_loss.item(), 0: match.item()}, rel=1e-6)
    for sum_, labels, outputs in zip(found, gradients(teacher), gradients(student), strict=True):
        torch.testing.assert_close(sum_, labels + outputs)


def test_one_level_is_ordinary_training(supernet: Supernet) -> None:
    x, y = inputs()
    sandwich_step(supernet, x, y, [2])
    found = gradients(supernet)
    F.cross_entropy(supernet(x), y).backward()
    for ours, ordinary in zip(found, gradients(supernet), strict=True):
        assert torch.equal(ours, ordinary)


def test_bf16_gives_f32_gradients_close_to_those_of_f32(supernet: Supernet) -> None:
    x, y = inputs()
    sandwich_step(supernet, x, y, [2, 1, 0], bf16=True)
    rough = gradients(supernet)
    assert all(gradient.dtype == torch.float32 for gradient in rough)
    sandwich_step(supernet, x, y, [2, 1, 0])
    exact = torch.cat([gradient.flatten() for gradient in gradients(supernet)])
    error = torch.cat([gradient.flatten() for gradient in rough]) - exact
    # 0.05 to 0.14 over seeds: 8 bits of mantissa, and the gradients are small differences.
    assert 0 < error.norm() < 0.2 * exact.norm()
