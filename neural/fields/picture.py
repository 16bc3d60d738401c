"""Pictures as networks that give a colour for a place: compositional pattern-producing networks.

Places are in units of the picture's longest side, as in the papers, or of 512 pixels where it has fewer: x to the
right and y down from the upper left corner, pixel centres at (i + 0.5) units. `extent` is the picture's width and
height in these units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

Kind = Literal["relu", "fourier", "siren"]
OMEGA = 30.0  # SIREN's frequency
FREQUENCIES = 256  # of the Fourier features
UNIT = 512  # pixels that the unit of places has at least
CHUNK = 2**15  # places that are evaluated at once


def extent_of(width: int, height: int) -> tuple[float, float]:
    """Of a picture of so many pixels.

    The frequencies of the papers suit pictures of 512² pixels. In the whole unit, a picture of 64² would be one of
    noise between its pixels: trained on every second pixel and row, the others come out 4 dB better so.
    """
    unit = max(width, height, UNIT)
    return width / unit, height / unit


def pixel_centres(width: int, height: int, extent: tuple[float, float]) -> Tensor:
    """Where the pixels of a picture of any size lie in the extent, row by row: (H·W, 2) float32."""
    x = (torch.arange(width, dtype=torch.float64) + 0.5) * extent[0] / width
    y = (torch.arange(height, dtype=torch.float64) + 0.5) * extent[1] / height
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2).float()


class Exact(nn.Sequential):
    """Layers that compute in float32 under autocast too: places need more digits than bfloat16 has."""

    def forward(self, places: Tensor) -> Tensor:
        with torch.autocast(places.device.type, enabled=False):
            return super().forward(places)


class FourierFeatures(nn.Module):
    """sin and cos of 2π B v for places v, where B is drawn once from N(0, σ²) (Tancik et al. 2020, section 6)."""

    frequencies: Tensor  # (2, frequencies)

    def __init__(self, sigma: float, frequencies: int = FREQUENCIES):
        super().__init__()
        self.register_buffer("frequencies", sigma * torch.randn(2, frequencies))

    def forward(self, places: Tensor) -> Tensor:
        angle = 2 * math.pi * places @ self.frequencies
        return torch.cat((angle.sin(), angle.cos()), 1)


class Centred(nn.Module):
    """Places about the middle of the picture, in halves of the unit: [−1, 1] along a longest side of one unit."""

    extent: Tensor  # (2,)

    def __init__(self, extent: tuple[float, float]):
        super().__init__()
        self.register_buffer("extent", torch.tensor(extent))

    def forward(self, places: Tensor) -> Tensor:
        return 2 * places - self.extent


class Sine(nn.Module):
    """sin(ω x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(OMEGA * x)


class Signed(nn.Module):
    """From [−1, 1], which a SIREN's output fills at best, to the [0, 1] of colours."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 + 0.5 * x


def make_network(kind: Kind, channels: int, extent: tuple[float, float], *, width: int, layers: int, sigma: float,
                 seed: int) -> nn.Sequential:
    """A network from places (N, 2) to colours (N, channels), with `layers` hidden layers of `width`.

    relu is the bare coordinates and ReLU, which learns low frequencies first and hardly others (Rahaman et al. 2019).
    fourier puts Gaussian Fourier features of bandwidth `sigma` before that (Tancik et al. 2020); both end in a sigmoid.
    siren is sines of frequency ω = 30 (Sitzmann et al. 2020). The weights depend on the seed alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = [2 * FREQUENCIES if kind == "fourier" else 2, *[width] * layers]
        hidden: list[nn.Module] = []
        for inputs, outputs in zip(sizes, sizes[1:], strict=False):
            hidden += [nn.Linear(inputs, outputs), Sine() if kind == "siren" else nn.ReLU()]
        if kind == "fourier":
            first = Exact(FourierFeatures(sigma))
        else:
            first, hidden = Exact(Centred(extent), *hidden[:2]), hidden[2:]
        network = nn.Sequential(first, *hidden, nn.Linear(width, channels),
                                Signed() if kind == "siren" else nn.Sigmoid())
        if kind == "siren":
            initialise_sines([m for m in network.modules() if isinstance(m, nn.Linear)])
    return network


def initialise_sines(layers: list[nn.Linear]) -> None:
    """Weights with which every layer of a SIREN keeps the distribution of its inputs (Sitzmann et al. 2020, section
    3.2 and supplement 1.5): U(−1/n, 1/n) in the first layer of n inputs, U(−√(6/n)/ω, √(6/n)/ω) in the others.

    Biases stay as `nn.Linear` draws them, as in the authors' code.
    """
    for number, layer in enumerate(layers):
        bound = math.sqrt(6 / layer.in_features) / OMEGA if number else 1 / layer.in_features
        nn.init.uniform_(layer.weight, -bound, bound)


@torch.no_grad()
def sample(colour: Callable[[Tensor], Tensor], width: int, height: int, extent: tuple[float, float], *,
           samples: int = 1, device: torch.device, on_progress: Callable[[float], None] = lambda fraction: None
           ) -> np.ndarray:
    """The picture at a size, (height, width, C) float32: the mean of `samples`² places in each pixel, clipped to
    [0, 1]. A pixel with one sample shows its centre."""
    rows = max(CHUNK // (width * samples**2), 1)
    centres = pixel_centres(width * samples, samples, (extent[0], extent[1] / height)).to(device)
    below = torch.tensor([0.0, extent[1] / height], device=device)
    parts = []
    for top in range(0, height, rows):
        places = [centres + row * below for row in range(top, min(top + rows, height))]
        seen = colour(torch.cat(places)).clip(0, 1)
        parts.append(seen.view(len(places), samples, width, samples, -1).mean((1, 3)).cpu().numpy())
        on_progress(min(top + rows, height) / height)
    return np.concatenate(parts)
