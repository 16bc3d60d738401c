"""The lattice of cubic voxels that fields, hulls and extraction share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_CELLS = 2**28  # of a lattice that a file states, twice as many as any recipe can ask for


@dataclass(frozen=True)
class Lattice:
    """Cubic voxels over a world-aligned box.

    A lattice of (X, Y, Z) cells has (X + 1, Y + 1, Z + 1) corners. Values of a field lie at corners, index
    order x, y, z; corner (i, j, k) is at `lower + voxel · (i, j, k)`. Arrays over cells are named `voxels`
    or `hull`; cell (i, j, k) lies between the corners (i, j, k) and (i + 1, j + 1, k + 1).
    """

    lower: np.ndarray  # (3,) float64 world position of corner (0, 0, 0), metres
    voxel: float  # side of a voxel, metres
    cells: tuple[int, int, int]

    @classmethod
    def over(cls, box: np.ndarray, resolution: int) -> Lattice:
        """The lattice with `resolution` cells along the longest side of `box` (2, 3), and centred on it."""
        lower, upper = np.asarray(box, np.float64)
        voxel = float((upper - lower).max()) / resolution
        cells = np.maximum(np.ceil((upper - lower) / voxel - 1e-6), 1).astype(int)
        return cls((lower + upper - cells * voxel) / 2, voxel, (int(cells[0]), int(cells[1]), int(cells[2])))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Lattice:
        """What `to_json` has made; ValueError, KeyError or TypeError where it is none."""
        lower, voxel = np.array([float(x) for x in values["lower"]]), float(values["voxel"])
        x, y, z = (int(side) for side in values["cells"])
        if lower.shape != (3,) or not np.isfinite(lower).all() or not 0 < voxel < math.inf:
            raise ValueError(f"a lattice begins at {lower.tolist()} with voxels of {voxel} m")
        if min(x, y, z) < 1 or x * y * z > MOST_CELLS:
            raise ValueError(f"a lattice has {x} × {y} × {z} cells")
        return cls(lower, voxel, (x, y, z))

    def to_json(self) -> dict[str, Any]:
        return {"lower": self.lower.tolist(), "voxel": self.voxel, "cells": list(self.cells)}

    @property
    def corners(self) -> tuple[int, int, int]:
        x, y, z = self.cells
        return x + 1, y + 1, z + 1

    @property
    def box(self) -> np.ndarray:
        """(2, 3) lower and upper corner."""
        return np.stack([self.lower, self.lower + self.voxel * np.array(self.cells)])

    @property
    def world_from_grid(self) -> np.ndarray:
        """(4, 4) float64, from corner indices to the world."""
        matrix = np.diag([self.voxel] * 3 + [1.0])
        matrix[:3, 3] = self.lower
        return matrix

    def corner_points(self) -> np.ndarray:
        """World positions of the corners, (X + 1, Y + 1, Z + 1, 3) float32."""
        axes = [self.lower[a] + self.voxel * np.arange(self.corners[a]) for a in range(3)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)

    def resampled(self, voxels: Tensor, lattice: Lattice) -> Tensor:
        """Values of this lattice's cells (X, Y, Z) at the middles of another lattice's cells; the nearest outside."""
        scale, shift = lattice.voxel / self.voxel, (lattice.lower - self.lower) / self.voxel
        for axis in range(3):
            middles = (np.arange(lattice.cells[axis]) + 0.5) * scale + shift[axis]
            index = np.clip(np.floor(middles), 0, self.cells[axis] - 1).astype(np.int64)
            voxels = voxels.index_select(axis, torch.from_numpy(index).to(voxels.device))
        return voxels
