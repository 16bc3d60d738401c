"""Winding numbers of a surface along vertical lines: what is inside a mesh.

A line's crossings are counted with the sign of the triangle's normal. Whether it passes an edge on one side or the
other is decided by the edge alone, not by the triangle, and ties are broken as if the line stood a hair to the left
of the edge: so a closed surface is closed for every line.
"""

from __future__ import annotations

import numpy as np
import torch

from .dispatch import body


def column_windings(triangles: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Winding numbers (X, Y, Z) int16 at the points (i, j, k) of a lattice, `triangles` (F, 3, 3) in its units.

    1 is inside one closed surface, 0 outside. Open surfaces leave wrong columns below their holes.
    """
    steps = body("columns", torch.device("cpu")).column_steps(np.ascontiguousarray(triangles, np.float64), *size)
    return np.cumsum(steps, axis=2, dtype=np.int16, out=steps)


def inside_another(points: np.ndarray, own: np.ndarray, triangles: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Which points (N, 3) lie inside the closed surface of a group of triangles other than their `own` (N,).

    group: (F,) ascending.
    """
    return body("columns", torch.device("cpu")).inside_another(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(own, np.int64),
        np.ascontiguousarray(triangles, np.float64), np.ascontiguousarray(group, np.int64))
