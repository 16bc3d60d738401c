"""A picture to a network that can be sampled at any size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param

LONGEST_SIDE = 2048  # px of a picture that is fitted: these networks hold no more


@dataclass(frozen=True)
class Picture(Recipe):
    """A picture to a network from place to colour, sampled at any size."""

    label: ClassVar[str] = "Picture"
    input: ClassVar[str] = "picture"
    output: ClassVar[str] = "picture"
    action: ClassVar[str] = "Fit"
    example: ClassVar[str] = "maquette picture photo.jpg -o larger.png --size 4096"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "draft": {"seconds": 10.0, "width": 128}, "best": {"seconds": 300.0, "width": 512}}

    network: Literal["siren", "fourier", "relu"] = param(
        "siren", "What the network is made of: sines of sines, Fourier features before ReLU, or bare ReLU, which "
                 "blurs: it learns low frequencies alone")
    seconds: float = param(30.0, "Fitting time", unit="s", min=1.0, max=86_400.0)
    size: str = param("", "Size of the result in pixels, as 1024x768 or as its longest side alone; empty is the "
                          "picture's own", pattern="|[1-9][0-9]{0,4}(x[1-9][0-9]{0,4})?")
    image: str = param("", "Image of the Blender file that is fitted; empty is the one that an image editor shows")
    width: int = param(256, "Units in each hidden layer", min=8, max=2048, advanced=True)
    layers: int = param(3, "Hidden layers", min=1, max=16, advanced=True)
    sigma: float = param(10.0, "Bandwidth of the Fourier features, in periods along the longest side: lower blurs, "
                         "higher is noise between the pixels", min=0.1, max=1000.0, advanced=True)

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the result for a picture of this size, in pixels."""
        sides = [int(text) for text in self.size.split("x") if text]
        if len(sides) == 2:
            return sides[0], sides[1]
        scale = sides[0] / max(width, height) if sides else 1.0
        return max(round(width * scale), 1), max(round(height * scale), 1)

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        width, height = summary.get("width", 1024), summary.get("height", 1024)
        fitted = width * height * min(LONGEST_SIDE / max(width, height), 1) ** 2
        out = math.prod(self.size_for(width, height))
        evaluated = fitted + max(out, fitted)  # more places than pixels where the result is smaller
        speed = 2e5 * (256 / self.width) ** 2 * 3 / self.layers  # places/s on two cores
        return Estimate(memory_mb=int(800 + (width * height * 8 + fitted * 80 + out * 40) / 2**20),
                        seconds=self.seconds + 3 + evaluated / speed)
