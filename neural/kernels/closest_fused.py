"""A tree of boxes over the triangles in Morton order, searched nearest child first."""

from __future__ import annotations

import numpy as np
from numba import prange

from .dispatch import compiled, inlined

_LEAF = 4


def closest_triangles(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = triangles.min(axis=1), triangles.max(axis=1)
    order = np.argsort(_morton((lower + upper) / 2), kind="stable")
    depth = max(0, int(np.ceil(np.log2(len(triangles) / _LEAF))))
    # Leaf i of the full binary tree holds the triangles from bounds[i] to bounds[i + 1]; node k has the children
    # 2k + 1 and 2k + 2.
    bounds = np.linspace(0, len(triangles), 2**depth + 1).astype(np.int64)
    low = [np.minimum.reduceat(lower[order], bounds[:-1])]
    high = [np.maximum.reduceat(upper[order], bounds[:-1])]
    while len(low[0]) > 1:
        low.insert(0, low[0].reshape(-1, 2, 3).min(axis=1))
        high.insert(0, high[0].reshape(-1, 2, 3).max(axis=1))
    near = np.argsort(_morton(points), kind="stable")  # neighbours walk the same branches
    squared, place = _search(points[near], triangles[order], bounds, np.concatenate(low), np.concatenate(high))
    distance, face = np.empty(len(points)), np.empty(len(points), np.int64)
    distance[near], face[near] = np.sqrt(squared), order[place]
    return distance, face


def _morton(points: np.ndarray) -> np.ndarray:
    """Order along the Z curve, 16 bits an axis."""
    low = points.min(axis=0, initial=np.inf)
    size = max(float((points.max(axis=0, initial=-np.inf) - low).max(initial=0)), 1e-300)
    code = np.zeros(len(points), np.int64)
    cells = np.minimum((points - low) / size * 65536, 65535).astype(np.int64)
    for bit in range(16):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return code


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
def _search(points, triangles, bounds, low, high):  # noqa: ANN001, ANN202
    first_leaf = len(bounds) - 2
    best = np.empty(len(points))
    face = np.empty(len(points), np.int64)
    for i in prange(len(points)):
        p = points[i]
        nearest, found = np.inf, 0
        stack = np.empty(64, np.int64)
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
        best[i], face[i] = nearest, found
    return best, face
