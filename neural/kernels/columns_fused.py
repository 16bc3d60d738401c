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


@compiled
def column_steps(triangles, nx, ny, nz):  # noqa: ANN001, ANN201
    steps = np.zeros((nx, ny, nz), np.int16)
    bands = min(nx, 16)
    for band in prange(bands):  # each thread has columns of its own
        first, last = band * nx // bands, (band + 1) * nx // bands - 1
        for f in range(len(triangles)):
            t = triangles[f]
            x0 = max(int(np.ceil(min(t[0, 0], t[1, 0], t[2, 0]))), first)
            x1 = min(int(np.floor(max(t[0, 0], t[1, 0], t[2, 0]))), last)
            y0 = max(int(np.ceil(min(t[0, 1], t[1, 1], t[2, 1]))), 0)
            y1 = min(int(np.floor(max(t[0, 1], t[1, 1], t[2, 1]))), ny - 1)
            for x in range(x0, x1 + 1):
                for y in range(y0, y1 + 1):
                    sign, height = _crossing(float(x), float(y), t)
                    z = max(int(np.ceil(height)), 0)
                    if sign != 0 and z < nz:
                        steps[x, y, z] += sign
    return steps


@compiled
def inside_another(points, own, triangles, group):  # noqa: ANN001, ANN201
    inside = np.zeros(len(points), np.bool_)
    for i in prange(len(points)):
        winding, current = 0, -1
        for f in range(len(triangles)):
            if group[f] != current:
                if winding != 0:
                    break
                current = group[f]
            if current != own[i]:
                sign, height = _crossing(points[i, 0], points[i, 1], triangles[f])
                if height < points[i, 2]:
                    winding += sign
        inside[i] = winding != 0
    return inside
