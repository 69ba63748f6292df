"""Makes a supernet of an ordinary module: one set of weights, nested masks, batch norm per level.

The module is taken as it is: its convolutions and linear layers get a mask through
`torch.nn.utils.parametrize`, its batch norms are replaced by `LevelBatchNorm`, nothing else
changes, so its `forward` need not know of levels. First convolution, depthwise convolutions and
last layer stay dense: they hold few weights and are the most easily hurt.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from condense_torch.allocation import Allocation, uniform
from condense_torch.masks import Block, LevelMask, Score, Switch, magnitude
from condense_torch.norms import LevelBatchNorm

# What condensec reads.
MAX_LEVELS = 64
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def default_maskable(network: nn.Module) -> list[str]:
    """Names of the layers that are masked unless the caller says otherwise.

    First and last go by the order in which the network declares its layers. Transposed convolutions
    and recurrent layers are left dense: their output channels do not lead their weights.
    """
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, LAYERS)]
    first_conv = next((name for name, module in layers if not isinstance(module, nn.Linear)), None)
    ends = {first_conv, layers[-1][0]} if layers else set()
    return [name for name, module in layers if name not in ends and not _is_depthwise(module)]


def _is_depthwise(layer: nn.Module) -> bool:
    return getattr(layer, "groups", 1) > 1 and layer.groups == layer.in_channels


class Supernet(nn.Module):
    """`network` with a level for each density, L0 the sparsest; the highest level is on at first.

    `network` belongs to the supernet afterwards. Its weights should be trained: the masks are made
    here, from the scores of the weights as they are. A density is the share of all weights of masked
    layers that is active; `allocation` says how much of it each layer gets. `maskable` names the layers
    to mask instead of the default ones.
    """

    def __init__(
        self,
        network: nn.Module,
        densities: Sequence[float],
        *,
        block: Block = Block(),
        score: Score = magnitude,
        allocation: Allocation = uniform,
        maskable: Callable[[nn.Module], Sequence[str]] = default_maskable,
    ):
        super().__init__()
        self.densities = sorted(densities)
        if not 1 <= len(set(densities)) == len(densities) <= MAX_LEVELS:
            raise ValueError(f"{len(densities)} densities: expected 1 to {MAX_LEVELS}, each once")
        if not 0 < self.densities[0] <= self.densities[-1] <= 1:
            raise ValueError(f"densities {self.densities} are not all in (0, 1]")
        names = maskable(network)
        if not names:
            raise ValueError("no layer to mask: all are first, depthwise or last")
        self.block = block
        self.switch = Switch(self.n_levels - 1)
        self.network = network
        layers = [network.get_submodule(name) for name in names]
        weights = [layer.get_parameter("weight") for layer in layers]
        shares = [allocation([weight.shape for weight in weights], density) for density in self.densities]
        for number, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
            mask = LevelMask(weight, [of_layer[number] for of_layer in shares], block, score, self.switch)
            parametrize.register_parametrization(layer, "weight", mask)
        norms = [(name, module) for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
        for name, norm in norms:
            network.set_submodule(name, LevelBatchNorm(norm, self.n_levels, self.switch))

    @property
    def n_levels(self) -> int:
        """How many levels there are."""
        return len(self.densities)

    def set_level(self, level: int) -> None:
        """Switches every layer; the weights stay where they are."""
        if not 0 <= level < self.n_levels:
            raise ValueError(f"level {level} of a supernet with {self.n_levels} levels")
        self.switch.level = level

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    def masks(self) -> Iterator[tuple[str, LevelMask]]:
        """The masked weights' names in `network`, with their masks, in the order of the network."""
        for name, module in self.network.named_modules():
            if parametrize.is_parametrized(module, "weight"):
                mask = module.get_submodule("parametrizations.weight.0")
                assert isinstance(mask, LevelMask)
                yield f"{name}.weight", mask

    def norms(self) -> Iterator[tuple[str, LevelBatchNorm]]:
        """The batch norms with their names in `network`, in the order of the network."""
        for name, module in self.network.named_modules():
            if isinstance(module, LevelBatchNorm):
                yield name, module

    def density(self, level: int) -> float:
        """Active / all weights of the masked layers, as the rounding to whole blocks left it."""
        n_active = n_weights = 0
        for name, mask in self.masks():
            active = mask.active(self._weight(name).shape, level)
            n_active += int(active.sum())
            n_weights += active.numel()
        return n_active / n_weights

    def to_plain(self, level: int) -> nn.Module:
        """A copy of `level` as the ordinary module that it stands for, weights masked, nothing shared."""
        plain = copy.deepcopy(self)
        plain.set_level(level)
        for name, _ in list(plain.masks()):
            layer = plain.network.get_submodule(name.removesuffix(".weight"))
            weight = plain._weight(name).detach()
            # Not `remove_parametrizations`: it changes the layer's class, which the copy shares.
            layer.__class__ = parametrize.type_before_parametrizations(layer)
            del layer.parametrizations
            layer.weight = nn.Parameter(weight)
        for name, norm in list(plain.norms()):
            plain.network.set_submodule(name, norm.to_plain(level))
        return plain.network

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Weights of layers: what weight decay is for. Biases and batch norm are not."""
        norms = {id(p) for _, norm in self.norms() for p in norm.parameters()}
        return [p for p in self.parameters() if p.dim() > 1 and id(p) not in norms]

    def _weight(self, name: str) -> Tensor:
        weight = self.network.get_submodule(name.removesuffix(".weight")).weight
        assert isinstance(weight, Tensor)
        return weight
