"""What the methods that are no graph of vertices see of a picture: a small residual network.

The papers' encoders (3D-R2N2's six residual stages, Point Set Generation's seven strides) are too wide to be trained
without a GPU. This one has five strides, most of its work where the picture is small, and groups that are normalised
(Wu and He 2018), which does not depend on the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .view import CHANNELS, SIDE

STRIDES = 5
STEEPNESS = 1, 2, 4, 6, 8  # channels of the maps, in widths
CALM = 3  # maps, the largest first, that have no residual block
GROUPS = 4


class Encoder(nn.Module):
    """Pictures (N, 6, S, S) to maps of 1/2, 1/4 … 1/32 of the side, `channels` of each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = [width * steep for steep in STEEPNESS]
        self.strides, self.blocks = nn.ModuleList(), nn.ModuleList()
        for number, channels in enumerate(self.channels):
            before, kernel = (self.channels[number - 1], 3) if number else (CHANNELS, 5)
            self.strides.append(nn.Sequential(
                nn.Conv2d(before, channels, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.GroupNorm(GROUPS, channels), nn.ReLU()))
            self.blocks.append(Residual(channels) if number >= CALM else nn.Identity())

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, x = [], images.contiguous(memory_format=torch.channels_last)
        for stride, block in zip(self.strides, self.blocks, strict=True):
            x = block(stride(x))
            maps.append(x)
        return maps

    @property
    def flat(self) -> int:
        """Numbers of the smallest map of a picture of `SIDE` pixels."""
        return self.channels[-1] * (SIDE >> STRIDES) ** 2


class Residual(nn.Module):
    """Two convolutions beside the identity (He et al. 2016); it begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))
