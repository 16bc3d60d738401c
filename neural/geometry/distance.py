"""What a solid is to everything that samples, combines or extracts it: a signed distance as a function of space."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor


class Distance(Protocol):
    """Negative inside, zero on the surface, positive outside; in metres where it is a true distance."""

    @property
    def box(self) -> np.ndarray:
        """World-aligned lower and upper corner (2, 3) float64 around the whole surface, no margin."""

    @property
    def lipschitz(self) -> float:
        """A bound of the gradient's length in and around the box: |f(a) − f(b)| ≤ lipschitz · |a − b|.

        1 for an exact distance; infinite where no bound is known.
        """

    def __call__(self, points: Tensor) -> Tensor:
        """Values (N,) float32 at world points (N, 3) float32, on the points' device."""
