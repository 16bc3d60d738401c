"""Solids made of solids: union, difference, intersection, offset and wall of signed distances.

The smooth forms are a quadratic polynomial minimum. Minimum and maximum of distances bound the true distance from below,
so their gradients are no longer than the longest of the parts' (Hart 1996, Sphere tracing, section 4); what needs the
true distance, an offset or a wall, takes it from the combined surface anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .distance import Distance

# The polynomial minimum of this width and a circle of radius 1 pass the corner of a right angle at the same distance.
_WIDTH = 4 * (1 - 2**-0.5)


@dataclass(frozen=True)
class Union:
    """What lies in any part; `blend` (m) is the radius within which the parts flow into each other, 0 is sharp."""

    parts: Sequence[Distance]
    blend: float = 0.0

    @property
    def box(self) -> np.ndarray:
        boxes = np.stack([part.box for part in self.parts])
        bulge = (len(self.parts) - 1) * _WIDTH * self.blend / 4
        return np.stack((boxes[:, 0].min(axis=0) - bulge, boxes[:, 1].max(axis=0) + bulge))

    @property
    def lipschitz(self) -> float:
        return max(part.lipschitz for part in self.parts)

    def __call__(self, points: Tensor) -> Tensor:
        value = self.parts[0](points)
        for part in self.parts[1:]:
            value = smooth_minimum(value, part(points), self.blend)
        return value


@dataclass(frozen=True)
class Complement:
    """What does not lie in the solid; its box is the solid's, where its surface is."""

    solid: Distance

    @property
    def box(self) -> np.ndarray:
        return self.solid.box

    @property
    def lipschitz(self) -> float:
        return self.solid.lipschitz

    def __call__(self, points: Tensor) -> Tensor:
        return -self.solid(points)


@dataclass(frozen=True)
class Intersection:
    """What lies in every part, by De Morgan's law; a blend rounds the edges away."""

    parts: Sequence[Distance]
    blend: float = 0.0

    @property
    def box(self) -> np.ndarray:
        solids = [part.box for part in self.parts if not isinstance(part, Complement)]
        low, high = np.max([box[0] for box in solids], axis=0), np.min([box[1] for box in solids], axis=0)
        return np.stack((low, np.maximum(low, high)))

    @property
    def lipschitz(self) -> float:
        return max(part.lipschitz for part in self.parts)

    def __call__(self, points: Tensor) -> Tensor:
        return -Union([Complement(part) for part in self.parts], self.blend)(points)


def difference(first: Distance, others: Sequence[Distance], blend: float = 0.0) -> Distance:
    """What lies in the first solid and in none of the others."""
    return Intersection([first, *(Complement(other) for other in others)], blend)


@dataclass(frozen=True)
class Offset:
    """The solid grown by `by` metres, or shrunk where it is negative. Exact where the solid's distance is."""

    solid: Distance
    by: float

    @property
    def box(self) -> np.ndarray:
        low, high = self.solid.box
        return np.stack((low - max(self.by, 0), high + max(self.by, 0)))

    @property
    def lipschitz(self) -> float:
        return self.solid.lipschitz

    def __call__(self, points: Tensor) -> Tensor:
        return self.solid(points) - self.by


@dataclass(frozen=True)
class Wall:
    """What remains of a solid that is hollowed to a wall `thickness` metres thick; its outer surface stays."""

    solid: Distance
    thickness: float

    @property
    def box(self) -> np.ndarray:
        return self.solid.box

    @property
    def lipschitz(self) -> float:
        return self.solid.lipschitz

    def __call__(self, points: Tensor) -> Tensor:
        half = self.thickness / 2
        return (self.solid(points) + half).abs() - half


@dataclass(frozen=True)
class Sheet:
    """A surface, closed or not, made a solid `thickness` metres thick. `surface` may be a distance without a sign."""

    surface: Distance
    thickness: float

    @property
    def box(self) -> np.ndarray:
        low, high = self.surface.box
        return np.stack((low - self.thickness / 2, high + self.thickness / 2))

    @property
    def lipschitz(self) -> float:
        return self.surface.lipschitz

    def __call__(self, points: Tensor) -> Tensor:
        return self.surface(points).abs() - self.thickness / 2


def smooth_minimum(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """min(a, b), less where they are near each other: an inner right angle is rounded like a fillet of this radius."""
    if radius < 1e-20:  # a smaller one is nothing in float32
        return torch.minimum(a, b)
    width = _WIDTH * radius
    near = (width - (a - b).abs()).clamp(min=0) / width
    return torch.minimum(a, b) - near * near * (width / 4)
