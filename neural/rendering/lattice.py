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

    With a shell, the outer cells hold all the rest of space, contracted as `kernels.density` says: world
    positions are then those of the box within the shell alone.
    """

    lower: np.ndarray  # (3,) float64 world position of corner (0, 0, 0), metres
    voxel: float  # side of a voxel, metres
    cells: tuple[int, int, int]
    shell: float = 0.0  # thickness of the contracted cells on each side, in half sides of the box within: 2 / n or 0

    @classmethod
    def over(cls, box: np.ndarray, resolution: int, shell: float = 0.0) -> Lattice:
        """The lattice with `resolution` cells along the longest side of `box` (2, 3), and centred on it."""
        lower, upper = np.asarray(box, np.float64)
        voxel = float((upper - lower).max()) / resolution
        cells = np.maximum(np.ceil((upper - lower) / voxel - 1e-6), 1).astype(int)
        if shell:  # The box within ends between cells on all axes.
            part = round(2 / shell)
            cells = (part + 2) * -(-cells // part)
        x, y, z = cells.tolist()
        return cls((lower + upper - cells * voxel) / 2, voxel, (x, y, z), shell)

    @property
    def within(self) -> Lattice:
        """The lattice without its shell."""
        if self.shell == 0:
            return self
        depth = np.array(self.cells) // (round(2 / self.shell) + 2)
        x, y, z = (self.cells - 2 * depth).tolist()
        return Lattice(self.lower + self.voxel * depth, self.voxel, (x, y, z))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Lattice:
        """What `to_json` has made; ValueError, KeyError or TypeError where it is none."""
        lower, voxel = np.array([float(x) for x in values["lower"]]), float(values["voxel"])
        x, y, z = (int(side) for side in values["cells"])
        if lower.shape != (3,) or not np.isfinite(lower).all() or not 0 < voxel < math.inf:
            raise ValueError(f"a lattice begins at {lower.tolist()} with voxels of {voxel} m")
        if min(x, y, z) < 1 or x * y * z > MOST_CELLS:
            raise ValueError(f"a lattice has {x} × {y} × {z} cells")
        shell = float(values["shell"])
        part = round(2 / shell) if 0 < shell <= 1 else 0
        if shell and (not part or shell != 2 / part or any(side % (part + 2) for side in (x, y, z))):
            raise ValueError(f"a lattice of {x} × {y} × {z} cells has a shell of {shell}")
        return cls(lower, voxel, (x, y, z), shell)

    def to_json(self) -> dict[str, Any]:
        return {"lower": self.lower.tolist(), "voxel": self.voxel, "cells": list(self.cells), "shell": self.shell}

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

    def outward(self, points: np.ndarray) -> np.ndarray:
        """How far points (N, 3) of the world are from the middle, in half sides of the box within the shell: (N,)."""
        lower, upper = self.within.box
        return (np.abs(points - (lower + upper) / 2) / ((upper - lower) / 2)).max(1)

    def places(self, index: np.ndarray) -> np.ndarray:
        """What world positions (N, 3) float64 are held at `index` (N, 3) in corner indices, those in a shell too."""
        size = np.array(self.cells)
        m = (np.abs(index - size / 2) / size).max(1, keepdims=True) * (2 * (1 + self.shell))
        n = np.where(m > 1, self.shell / np.maximum(1 + self.shell - m, 1e-9), 1.0)
        return self.lower + self.voxel * (size / 2 + (index - size / 2) * n / np.maximum(m, 1))

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
