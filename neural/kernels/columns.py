"""Winding numbers of a surface along vertical lines: what is inside a mesh.

A line's crossings are counted with the sign of the triangle's normal. Whether it passes an edge on one side or the
other is decided by the edge alone, not by the triangle, and ties are broken as if the line stood a hair to the left
of the edge: so a closed surface is closed for every line.
"""

from __future__ import annotations

import numpy as np
import torch

from .dispatch import body


class Columns:
    """Winding numbers at the points of a lattice, in memory proportional to the surface.

    `triangles` (F, 3, 3) are in the lattice's units; it has X, Y, Z points. 1 is inside one closed surface, 0 outside.
    Open surfaces leave wrong columns below their holes.
    """

    def __init__(self, triangles: np.ndarray, size: tuple[int, int, int]) -> None:
        column, height, step = body("columns", torch.device("cpu")).column_crossings(
            np.ascontiguousarray(triangles, np.float64), size[0], size[1])
        self.size = size
        # From the lowest point at or above a crossing on, the winding number is another.
        place = column * (size[2] + 1) + np.clip(np.ceil(height), 0, size[2]).astype(np.int64)
        order = np.argsort(place, kind="stable")
        self._place = place[order]
        self._before = np.append(0, np.cumsum(step[order], dtype=np.int32))

    def windings(self, points: np.ndarray) -> np.ndarray:
        """(N,) int32 at lattice points (N, 3); 0 beyond the lattice."""
        within = np.logical_and.reduce((points >= 0) & (points < self.size), axis=1)
        x, y, z = np.where(within[:, None], points, 0).astype(np.int64).T
        column = (x * self.size[1] + y) * (self.size[2] + 1)
        upto = np.searchsorted(self._place, column + z, "right")
        return np.where(within, self._before[upto] - self._before[np.searchsorted(self._place, column)], 0)

    def grid(self) -> np.ndarray:
        """All of them (X, Y, Z) int16."""
        steps = np.zeros((self.size[0], self.size[1], self.size[2] + 1), np.int16)
        np.add.at(steps.reshape(-1), self._place, np.diff(self._before).astype(np.int16))
        return np.cumsum(steps[..., :-1], axis=2, dtype=np.int16)


def column_windings(triangles: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Winding numbers (X, Y, Z) int16 at all points (i, j, k) of a lattice; see `Columns`."""
    return Columns(triangles, size).grid()


def inside_another(points: np.ndarray, own: np.ndarray, vertices: np.ndarray, faces: np.ndarray, group: np.ndarray
                   ) -> np.ndarray:
    """Which points (N, 3) lie inside the closed surface of a group of faces (F, 3) other than their `own` (N,).

    group: (F,) ascending.
    """
    return body("columns", torch.device("cpu")).inside_another(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(own, np.int32),
        np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32),
        np.ascontiguousarray(group, np.int32))
