"""The lines of a triangle's box, or the triangles over a point, in one loop."""

from __future__ import annotations

import numpy as np
from numba import prange

from .dispatch import compiled, inlined


@inlined
def _left_of(x, y, ax, ay, bx, by):  # noqa: ANN001, ANN202
    """Left of a → b; the sum is taken from the lesser end, so that both of an edge's triangles get the same."""
    turned = ax > bx or (ax == bx and ay > by)
    if turned:
        ax, ay, bx, by = bx, by, ax, ay
    return ((bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0.0) != turned


@inlined
def _crossing(x, y, t):  # noqa: ANN001, ANN202
    """+1 where the line at (x, y) enters the solid going up, −1 where it leaves, 0 where it misses; and the height."""
    ab = _left_of(x, y, t[0, 0], t[0, 1], t[1, 0], t[1, 1])
    bc = _left_of(x, y, t[1, 0], t[1, 1], t[2, 0], t[2, 1])
    ca = _left_of(x, y, t[2, 0], t[2, 1], t[0, 0], t[0, 1])
    sign, height = 0, 0.0
    if ab == bc and bc == ca:
        ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
        vx, vy, vz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        if nz != 0.0:
            sign = -1 if ab else 1
            height = t[0, 2] - ((x - t[0, 0]) * nx + (y - t[0, 1]) * ny) / nz
            low, high = min(t[0, 2], t[1, 2], t[2, 2]), max(t[0, 2], t[1, 2], t[2, 2])
            height = min(max(height, low), high)
    return sign, height


def column_crossings(triangles: np.ndarray, nx: int, ny: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = np.zeros(len(triangles), np.int64)
    nothing = np.empty(0, np.int64), np.empty(0), np.empty(0, np.int8)
    _cross(triangles, nx, ny, count, *nothing)
    first, total = np.cumsum(count) - count, int(count.sum())
    found = np.empty(total, np.int64), np.empty(total), np.empty(total, np.int8)
    _cross(triangles, nx, ny, first, *found)
    return found


@compiled
def _cross(triangles, nx, ny, place, column, height, step):  # noqa: ANN001, ANN202
    """Put each triangle's crossings from its `place` on, which moves; where there is no room they are counted."""
    for f in prange(len(triangles)):
        t = triangles[f]
        x0 = max(int(np.ceil(min(t[0, 0], t[1, 0], t[2, 0]))), 0)
        x1 = min(int(np.floor(max(t[0, 0], t[1, 0], t[2, 0]))), nx - 1)
        y0 = max(int(np.ceil(min(t[0, 1], t[1, 1], t[2, 1]))), 0)
        y1 = min(int(np.floor(max(t[0, 1], t[1, 1], t[2, 1]))), ny - 1)
        at = place[f]
        for x in range(x0, x1 + 1):
            for y in range(y0, y1 + 1):
                sign, z = _crossing(float(x), float(y), t)
                if sign != 0:
                    if len(column):
                        column[at], height[at], step[at] = x * ny + y, z, sign
                    at += 1
        place[f] = at


@compiled
def inside_another(points, own, vertices, faces, group):  # noqa: ANN001, ANN201
    inside = np.zeros(len(points), np.bool_)
    for i in prange(len(points)):
        triangle = np.empty((3, 3))
        winding, current = 0, -1
        for f in range(len(faces)):
            if group[f] != current:
                if winding != 0:
                    break
                current = group[f]
            if current != own[i]:
                for c in range(3):
                    for axis in range(3):
                        triangle[c, axis] = vertices[faces[f, c], axis]
                sign, height = _crossing(points[i, 0], points[i, 1], triangle)
                if height < points[i, 2]:
                    winding += sign
        inside[i] = winding != 0
    return inside
