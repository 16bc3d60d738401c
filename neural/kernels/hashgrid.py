"""Features of points on a pyramid of lattices whose fine levels share rows by a hash (Müller et al. 2022, section 3).

Level l divides the unit cube in `resolutions[l]` cells a side. A corner has a row of its own where the level has rows
enough, else the row that its hash names, which it may share with others. A point's features at a level are those of
the eight corners around it, interpolated trilinearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from . import dispatch

WIDTH = 2  # features of a row
PRIMES = (1, 2654435761, 805459861)  # a hash is the exclusive or of the indices' products with these


@dataclass(frozen=True)
class Levels:
    """The lattices, and where the rows of each stand in one table."""

    resolutions: tuple[int, ...]  # cells a side, coarse to fine
    most: int  # rows of a level, a power of two

    @property
    def starts(self) -> np.ndarray:
        """First row of each level and, last, the number of all rows (L + 1,) int64."""
        sizes = [min((r + 1) ** 3, self.most) for r in self.resolutions]
        return np.concatenate(([0], np.cumsum(sizes)))

    def hashed(self, level: int) -> bool:
        """Whether corners of this level share rows."""
        return (self.resolutions[level] + 1) ** 3 > self.most


def encode(points: Tensor, table: Tensor, levels: Levels) -> Tensor:
    """Features (N, 2 · L) float32 of points (N, 3) in [0, 1]³, from the rows (R, 2) of all levels.

    Differentiable with respect to the table alone.
    """
    return dispatch.body("hashgrid", table.device).encode(points.detach(), table, levels)
