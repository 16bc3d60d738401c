"""Every point against every triangle."""

from __future__ import annotations

import numpy as np

from .closest_tree import TriangleTree

_AT_ONCE = 4_000_000


def closest_triangles(points: np.ndarray, tree: TriangleTree) -> tuple[np.ndarray, np.ndarray]:
    triangles = tree.triangles
    distance, face = np.empty(len(points)), np.empty(len(points), np.int64)
    step = max(1, _AT_ONCE // len(triangles))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        squared = squared_distances(points[part, None], triangles[None])
        face[part] = squared.argmin(axis=1)
        distance[part] = np.sqrt(squared.min(axis=1))
    return distance, tree.order[face]


def squared_distances(p: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """To the plane where the foot falls inside the triangle, else to the nearest of the three sides."""
    a, b, c = np.moveaxis(triangles, -2, 0)
    normal = np.cross(b - a, c - a)
    area = (normal * normal).sum(-1)
    inside = area > 0
    nearest = np.inf
    for start, end in ((a, b), (b, c), (c, a)):
        side = end - start
        length = (side * side).sum(-1)
        share = np.clip(((p - start) * side).sum(-1) / np.where(length > 0, length, 1), 0, 1)
        away = p - start - share[..., None] * side
        nearest = np.minimum(nearest, (away * away).sum(-1))
        inside = inside & ((np.cross(side, p - start) * normal).sum(-1) >= 0)
    height = ((p - a) * normal).sum(-1) ** 2 / np.where(area > 0, area, 1)
    return np.where(inside, height, nearest)
