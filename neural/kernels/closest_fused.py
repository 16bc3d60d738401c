"""The tree of boxes searched nearest child first, from a bound that the point before gives."""

from __future__ import annotations

import numpy as np
from numba import prange

from .closest_tree import TriangleTree, morton
from .dispatch import compiled, inlined

# Points in a row, near each other, that one thread walks.
_ROW = 64


def closest_triangles(points: np.ndarray, tree: TriangleTree) -> tuple[np.ndarray, np.ndarray]:
    near = np.argsort(morton(points), kind="stable")  # neighbours walk the same branches
    distance, face = np.empty(len(points)), np.empty(len(points), np.int64)
    _search(points, near, tree.triangles, tree.bounds, tree.low, tree.high, distance, face)
    return distance, tree.order[face]


@inlined
def _box_distance(p, low, high):  # noqa: ANN001, ANN202
    total = 0.0
    for axis in range(3):
        away = max(low[axis] - p[axis], 0.0, p[axis] - high[axis])
        total += away * away
    return total


@inlined
def _segment_distance(px, py, pz, dx, dy, dz):  # noqa: ANN001, ANN202
    """Squared distance from p to the segment from the origin to d."""
    length = dx * dx + dy * dy + dz * dz
    share = min(max((px * dx + py * dy + pz * dz) / length, 0.0), 1.0) if length > 0.0 else 0.0
    x, y, z = px - share * dx, py - share * dy, pz - share * dz
    return x * x + y * y + z * z


@inlined
def _triangle_distance(p, t):  # noqa: ANN001, ANN202
    """Squared distance: to the plane where the foot falls inside the triangle, else to the nearest of the sides."""
    ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    vx, vy, vz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    px, py, pz = p[0] - t[0, 0], p[1] - t[0, 1], p[2] - t[0, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    area = nx * nx + ny * ny + nz * nz
    if area > 0.0:
        # Barycentric coordinates of the foot, times the area.
        v = (py * vz - pz * vy) * nx + (pz * vx - px * vz) * ny + (px * vy - py * vx) * nz
        w = (uy * pz - uz * py) * nx + (uz * px - ux * pz) * ny + (ux * py - uy * px) * nz
        if v >= 0.0 and w >= 0.0 and v + w <= area:
            height = px * nx + py * ny + pz * nz
            return height * height / area
    return min(_segment_distance(px, py, pz, ux, uy, uz), _segment_distance(px, py, pz, vx, vy, vz),
               _segment_distance(px - ux, py - uy, pz - uz, vx - ux, vy - uy, vz - uz))


@compiled
def _search(points, near, triangles, bounds, low, high, distance, face):  # noqa: ANN001, ANN202
    first_leaf = len(bounds) - 2
    for row in prange((len(points) + _ROW - 1) // _ROW):
        stack = np.empty(64, np.int64)
        found = 0
        for i in near[row * _ROW:(row + 1) * _ROW]:
            p = points[i]
            nearest = _triangle_distance(p, triangles[found])  # near already, if the point before was
            stack[0], size = 0, 1
            while size:
                size -= 1
                node = stack[size]
                if _box_distance(p, low[node], high[node]) >= nearest:
                    continue
                if node >= first_leaf:
                    leaf = node - first_leaf
                    for k in range(bounds[leaf], bounds[leaf + 1]):
                        squared = _triangle_distance(p, triangles[k])
                        if squared < nearest:
                            nearest, found = squared, k
                    continue
                left, right = 2 * node + 1, 2 * node + 2
                if _box_distance(p, low[left], high[left]) < _box_distance(p, low[right], high[right]):
                    left, right = right, left
                stack[size], stack[size + 1] = left, right  # the nearer one comes off first
                size += 2
            distance[i], face[i] = np.sqrt(nearest), found
