"""The level surface of values on a lattice as triangles: marching cubes with the table of isosurface_table.py.

Vertices come in the order of their edges' lower corners and axes, behind them the centres of loops in the order of
the cells, and faces in the order of the cells. A vertex divides its edge linearly; an infinite value pulls it to the
other end.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .dispatch import body


def grid_surface(values: Tensor, level: float, world_from_grid: np.ndarray) -> tuple[Tensor, Tensor]:
    """Vertices (V, 3) float32 in the world and faces (F, 3) int32 where a grid (X, Y, Z) float32 crosses `level`.

    What is below the level is inside. world_from_grid: 4×4, takes corner indices to the world.
    """
    return body("isosurface", values.device).grid_surface(values.contiguous(), float(level), world_from_grid[:3])


def cells_surface(points: Tensor, values: Tensor, corners: Tensor, world_from_lattice: np.ndarray
                  ) -> tuple[Tensor, Tensor]:
    """The same where the values (P,) float32 at lattice points (P, 3) int32 cross 0 in cells of `corners` (N, 8).

    corners: int32 into the points. Cells that share a corner name the same point.
    """
    return body("isosurface", values.device).cells_surface(
        points.contiguous(), values.contiguous(), corners.contiguous(), world_from_lattice[:3])
