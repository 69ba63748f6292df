"""A residual network for Fashion-MNIST: 16.8 M multiply-adds, 0.65 M weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# Few: at 28x28 they cost training more time than their multiply-adds say.
STEM_CHANNELS = 16
# Of the three stages; each halves the image. Multiples of 16 fill vector registers.
CHANNELS = (32, 96, 192)


class Residual(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, round a 1x1 shortcut of stride 2."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut_norm(self.shortcut(x)))


class FashionNet(nn.Module):
    """[N, 1, 28, 28] image -> [N, 10] logits. Says nothing of levels: `Supernet` puts them in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, STEM_CHANNELS, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(STEM_CHANNELS)
        widths = (STEM_CHANNELS, *CHANNELS)
        self.stages = nn.Sequential(*(Residual(n_in, n_out) for n_in, n_out in zip(widths, widths[1:], strict=False)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(CHANNELS[-1], 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        logits: Tensor = self.classifier(self.pool(self.stages(x)).flatten(1))
        return logits
