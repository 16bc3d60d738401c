"""What the methods that predict meshes see of a picture: maps that know both the outline and the whole.

Down to 1/32 of the picture's side and up again, where finer maps are met anew (Ronneberger et al. 2015, U-Net).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from . import view

GROUPS = 8  # of channels, that are normalised together


class Residual(nn.Module):
    """x + two convolutions of x, each behind a normalisation that knows no batch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            nn.GroupNorm(GROUPS, channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(GROUPS, channels), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class UNet(nn.Module):
    """Pictures (B, 6, S, S) to maps: one of the way down, S/4 wide, and those of the way up, S/8 and S/4 wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = width, 2 * width, width
        sizes = width, 2 * width, 4 * width, 5 * width
        # Four pixels side by side become channels: few numbers in many places are slow on a CPU.
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * view.CHANNELS, width, 4, stride=2, padding=1),
                                  Residual(width))
        self.down = nn.ModuleList(nn.Sequential(
            nn.GroupNorm(GROUPS, before), nn.ReLU(), nn.Conv2d(before, after, 3, stride=2, padding=1), Residual(after))
            for before, after in zip(sizes, sizes[1:], strict=False))
        self.whole = nn.Sequential(nn.Linear(sizes[3], sizes[3]), nn.ReLU(), nn.Linear(sizes[3], sizes[3]))
        self.up = nn.ModuleList(nn.Conv2d(before, after, 1) for after, before in zip(sizes, sizes[1:], strict=False))
        self.across = nn.ModuleList(nn.Conv2d(size, size, 1) for size in sizes[:3])
        self.after = nn.ModuleList(map(Residual, sizes[:3]))

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.stem(images)]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        x = maps[3] + self.whole(maps[3].mean(dim=(2, 3)))[..., None, None]
        risen = []
        for level in (2, 1, 0):
            x = F.interpolate(self.up[level](x), scale_factor=2, mode="nearest")
            x = self.after[level](x + self.across[level](maps[level]))
            risen.append(x)
        return [maps[0], *risen[1:]]
