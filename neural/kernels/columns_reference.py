"""One triangle at a time, all its lines at once."""

from __future__ import annotations

import numpy as np


def column_crossings(triangles: np.ndarray, nx: int, ny: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where lines along z at integer x and y cross: columns x · ny + y (K,) int64, heights (K,), and steps (K,) int8.

    A step is what the winding number changes by there.
    """
    columns, heights, steps = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0, np.int8)]
    for triangle in triangles:
        low = np.maximum(np.ceil(triangle[:, :2].min(axis=0)), 0).astype(int)
        high = np.minimum(np.floor(triangle[:, :2].max(axis=0)), [nx - 1, ny - 1]).astype(int)
        if (low > high).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij")
        sign, height = crossing(x, y, triangle)
        hit = sign != 0
        columns.append(x[hit] * ny + y[hit])
        heights.append(height[hit])
        steps.append(sign[hit].astype(np.int8))
    return np.concatenate(columns), np.concatenate(heights), np.concatenate(steps)


def inside_another(points: np.ndarray, own: np.ndarray, vertices: np.ndarray, faces: np.ndarray, group: np.ndarray
                   ) -> np.ndarray:
    inside = np.zeros(len(points), bool)
    for g in np.unique(group):
        winding = np.zeros(len(points), int)
        for triangle in vertices.astype(np.float64)[faces[group == g]]:
            sign, height = crossing(points[:, 0], points[:, 1], triangle)
            winding += np.where(height < points[:, 2], sign, 0)
        inside |= (winding != 0) & (own != g)
    return inside


def crossing(x: np.ndarray, y: np.ndarray, triangle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """+1 where the line at (x, y) enters the solid going up, −1 where it leaves, 0 where it misses; and the height."""
    a, b, c = triangle
    left = [_left_of(x, y, p, q) for p, q in ((a, b), (b, c), (c, a))]
    sign = np.where(left[0] & left[1] & left[2], -1, np.where(left[0] | left[1] | left[2], 0, 1))
    nx, ny, nz = np.cross(b - a, c - a)
    height = a[2] - ((x - a[0]) * nx + (y - a[1]) * ny) / (nz if nz else 1)
    return np.where(nz == 0, 0, sign), np.clip(height, triangle[:, 2].min(), triangle[:, 2].max())


def _left_of(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Left of a → b; the sum is taken from the lesser end, so that both of an edge's triangles get the same."""
    turned = (a[0], a[1]) > (b[0], b[1])
    p, q = (b, a) if turned else (a, b)
    return ((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) >= 0) != turned
