"""The cells of a lattice that a surface may cross, with the values at their corners: all that a mesher needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Some cells of a lattice, in any order; each corner that several share is one point."""

    points: Tensor  # (P, 3) int32 lattice coordinates of the corners
    values: Tensor  # (P,) float32 at the points, negative inside, not NaN
    corners: Tensor  # (N, 8) int32 into `points`: corner c of a cell is (c & 1, c >> 1 & 1, c >> 2 & 1) from its first
    world_from_lattice: np.ndarray  # (4, 4) float64
