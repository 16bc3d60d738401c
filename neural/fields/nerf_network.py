"""The network of Mildenhall et al. 2020 (NeRF) and the encoding of its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..training.precision import has_fast_bfloat16


@dataclass(frozen=True)
class Architecture:
    """What a network is built of; the paper's (figure 7) unless something else is said."""

    width: int = 256
    depth: int = 8
    skips: tuple[int, ...] = (5,)  # the layers, from 0, that get the place again
    frequencies: int = 10  # of places
    directions: int = 4  # frequencies of directions
    # krrish94/nerf-pytorch, of which there are published weights, leaves out the ReLU after the first layer, and has
    # one after the bottleneck.
    moved_relu: bool = False

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Architecture:
        """What `asdict` gave; ValueError, TypeError or KeyError where it is anything else."""
        made = cls(**{**values, "skips": tuple(values["skips"])})
        sizes = (made.width, made.depth, made.frequencies, made.directions, *made.skips)
        if not all(isinstance(size, int) and 0 <= size <= 4096 for size in sizes) or made.depth > 64:
            raise ValueError(f"a network of {sizes} is none of the paper's form")
        return made


def encode(x: Tensor, frequencies: int) -> Tensor:
    """γ of x (N, 3): (N, 3 + 6 · frequencies) (section 5.1, equation 4).

    As in the authors' code x itself comes first, and there is no π: then sin and cos of 2ᵏ x for k = 0, 1, …
    """
    angles = x[:, None, :] * (2.0 ** torch.arange(frequencies, device=x.device))[:, None]
    waves = torch.stack((angles.sin(), angles.cos()), 2)  # (N, frequencies, 2, 3)
    return torch.cat((x, waves.flatten(1)), 1)


def positive(raw: Tensor) -> Tensor:
    """The density of a network's first output: its ReLU, whose gradient is e^x where x < 0 in place of 0.

    Where a picture is mostly background, densities fall below zero everywhere at the begin, and by the ReLU's own
    gradient would stay there (the authors' code crops pictures at the begin for that).
    """
    density: Tensor = _Positive.apply(raw)
    return density


class _Positive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        x, = ctx.saved_tensors
        return gradient * x.clamp(max=0).exp()


class RadianceNetwork(nn.Module):
    """Density from the place, colour from place and direction (section 3, figure 7).

    One layer reads the direction, as in the figure and the authors' code. Weights begin as there: Glorot's uniform
    distribution, zero biases. Products are made in bfloat16 where that is faster, densities and colours are float32.
    """

    def __init__(self, architecture: Architecture = Architecture()):
        super().__init__()
        a = self.architecture = architecture
        place, direction = 3 + 6 * a.frequencies, 3 + 6 * a.directions
        sizes = [place, *(a.width + place * (n in a.skips) for n in range(1, a.depth))]
        self.trunk = nn.ModuleList(nn.Linear(size, a.width) for size in sizes)
        self.sigma = nn.Linear(a.width, 1)
        self.bottleneck = nn.Linear(a.width, a.width)
        self.directed = nn.Linear(a.width + direction, a.width // 2)
        self.rgb = nn.Linear(a.width // 2, 3)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def density(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The density (N,) before `positive` at places (N, 3), and the features (N, width) that colour is made of."""
        with _halved(places):
            x = encoded = _shortened(encode(places, self.architecture.frequencies))
            for number, layer in enumerate(self.trunk):
                if number in self.architecture.skips:
                    x = torch.cat((encoded, x), 1)
                x = layer(x)
                if number or not self.architecture.moved_relu:
                    x = x.relu_()
            raw: Tensor = self.sigma(x)
            return raw[:, 0].float(), x

    def color(self, features: Tensor, directions: Tensor, ray: Tensor) -> Tensor:
        """The colours (N, 3) in [0, 1] of features (N, width), seen along the unit directions (R, 3)[ray (N,)]."""
        with _halved(directions):
            encoded = _shortened(encode(directions, self.architecture.directions))
            x = self.bottleneck(features)
            if self.architecture.moved_relu:
                x = x.relu_()
            x = self.directed(torch.cat((x, encoded[ray]), 1)).relu_()
            color: Tensor = self.rgb(x)
            return color.float().sigmoid()


def _halved(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, torch.bfloat16, enabled=has_fast_bfloat16(like.device))


def _shortened(encoded: Tensor) -> Tensor:
    """In the precision that layers compute in, once for all that read it."""
    return encoded.bfloat16() if has_fast_bfloat16(encoded.device) else encoded


class Networks(nn.Module):
    """The coarse one that says where to look and the fine one that is seen, and the colour behind all."""

    def __init__(self, coarse: Architecture = Architecture(), fine: Architecture = Architecture()):
        super().__init__()
        self.coarse, self.fine = RadianceNetwork(coarse), RadianceNetwork(fine)
        self.background = nn.Parameter(torch.full((3,), 0.5))
