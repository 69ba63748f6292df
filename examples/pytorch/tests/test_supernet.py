"""The supernet: what is masked, what a level means, what levels share."""

from __future__ import annotations

import copy

import pytest
import torch
from condense_torch import Block, Supernet, recalibrate
from networks import ConvNet, bars
from torch import nn

DENSITIES = [0.1, 0.5, 1.0]


@pytest.fixture
def network() -> ConvNet:
    torch.manual_seed(0)
    network = ConvNet()
    network.train()(bars(64, seed=0)[0])  # Gives batch norm other statistics than 0 and 1.
    return network.eval()


def test_first_depthwise_and_last_layer_stay_dense(network: ConvNet) -> None:
    names = [name for name, _ in Supernet(network, DENSITIES).masks()]
    assert names == ["wide.weight", "point.weight", "hidden.weight"]


def test_the_caller_may_name_the_layers_and_the_block(network: ConvNet) -> None:
    supernet = Supernet(network, [0.5, 1.0], block=Block(2, 3), maskable=lambda _: ["wide"])
    (name, mask), = supernet.masks()
    assert (name, tuple(mask.level.shape)) == ("wide.weight", (6, 3, 3, 3))


def test_densities_are_kept_to_a_block(network: ConvNet) -> None:
    supernet = Supernet(network, [1.0, 0.1, 0.5])
    assert [supernet.density(k) for k in range(3)] == pytest.approx(DENSITIES, abs=0.01)


def test_the_highest_level_is_the_network_bit_for_bit(network: ConvNet) -> None:
    x, _ = bars(8, seed=3)
    expected = network(x)
    supernet = Supernet(copy.deepcopy(network), DENSITIES).eval()
    assert torch.equal(supernet(x), expected)
    supernet.set_level(0)
    assert not torch.allclose(supernet(x), expected)


@pytest.mark.parametrize("level", range(3))
def test_a_plain_copy_is_the_level_and_leaves_the_supernet_alone(network: ConvNet, level: int) -> None:
    supernet = Supernet(network, DENSITIES)
    recalibrate(supernet, lambda: [bars(64, seed=0)[0]])
    x, _ = bars(8, seed=3)
    supernet.eval().set_level(level)
    before = supernet(x)
    plain = supernet.to_plain(level)
    assert type(plain.get_submodule("wide")) is nn.Conv2d
    assert type(plain.get_submodule("wide_norm")) is nn.BatchNorm2d
    assert set(plain.state_dict()) == set(ConvNet().state_dict())
    assert torch.equal(plain(x), before)
    assert torch.equal(supernet(x), before)


def test_a_level_trains_its_own_weights_and_its_own_batch_norm(network: ConvNet) -> None:
    supernet = Supernet(network, DENSITIES).train()
    supernet.set_level(0)
    means = network.wide_norm.running_mean.clone()
    x, y = bars(32, seed=4)
    nn.functional.cross_entropy(supernet(x), y).backward()
    mask = dict(supernet.masks())["wide.weight"]
    gradient = network.wide.get_parameter("parametrizations.weight.original").grad
    assert gradient is not None
    dropped = ~mask.active(gradient.shape, 0)
    assert (gradient[dropped] == 0).all() and (gradient[~dropped] != 0).any()
    rows = network.wide_norm.weight.grad
    assert rows is not None and (rows[1:] == 0).all() and (rows[0] != 0).any()
    assert torch.equal(network.wide_norm.running_mean[1:], means[1:])
    assert not torch.equal(network.wide_norm.running_mean[0], means[0])


def test_recalibration_gives_each_level_the_statistics_of_the_inputs(network: ConvNet) -> None:
    supernet = Supernet(network, DENSITIES)
    x, _ = bars(64, seed=5)
    recalibrate(supernet, lambda: x.split(32))
    for level in range(3):
        supernet.set_level(level)
        seen: list[torch.Tensor] = []
        hook = network.wide.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        with torch.no_grad():
            supernet.train()
            for norm in (norm for _, norm in supernet.norms()):
                norm.momentum = 0.0
            for part in x.split(32):
                supernet(part)
        hook.remove()
        mean = torch.cat(seen).mean(dim=(0, 2, 3))
        variance = torch.stack([part.var(dim=(0, 2, 3)) for part in seen]).mean(dim=0)
        torch.testing.assert_close(network.wide_norm.running_mean[level], mean)
        torch.testing.assert_close(network.wide_norm.running_var[level], variance)


def test_weight_decay_is_for_weights(network: ConvNet) -> None:
    supernet = Supernet(network, DENSITIES)
    assert sum(p.numel() for p in supernet.decayed_parameters()) == sum(
        module.weight.numel() for module in ConvNet().modules() if isinstance(module, (nn.Conv2d, nn.Linear))
    )


@pytest.mark.parametrize("densities", [[], [0.5, 0.5], [0.0, 1.0], [0.5, 1.5]])
def test_densities_that_mean_nothing(densities: list[float]) -> None:
    with pytest.raises(ValueError, match="densities"):
        Supernet(ConvNet(), densities)


def test_a_network_with_nothing_to_mask() -> None:
    with pytest.raises(ValueError, match="no layer to mask"):
        Supernet(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2)), DENSITIES)


def test_a_level_out_of_range(network: ConvNet) -> None:
    with pytest.raises(ValueError, match="level 3 of a supernet with 3 levels"):
        Supernet(network, DENSITIES).set_level(3)
