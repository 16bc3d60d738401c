"""Which way is out at the points of a whole object's surface, noisy as a network predicts them.

Seen from far away, in any direction, the outside of a surface comes first. So what of the points is seen from many
directions says which way each faces, and what is seen from none lies within and is dropped. (A scan of a part has no
such points: there `oriented_points` hands normals on from one to the next.)
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

DIRECTIONS = 64
NEAR = 16  # points that a normal is taken from
GRAIN, BEHIND = 1.5, 1.0  # mean spacings: how wide a point's shadow is, and how deep the layer that is seen through it


def outward(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points (N, 3) of those given (M, 3) that lie at the outside, and their unit normals (N, 3), outward."""
    distance, near = cKDTree(points).query(points, k=min(NEAR, len(points)))
    spacing = max(float(np.median(distance[:, min(3, distance.shape[1] - 1)])), 1e-6)
    directions = _sphere(DIRECTIONS)
    seen = np.stack([_first(points, direction, spacing) for direction in directions], axis=1)
    outside = seen.any(axis=1)
    local = points[near] - points[near].mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", local, local))[1][:, :, 0]
    facing = ((seen @ directions) * normals).sum(axis=1, keepdims=True)
    return points[outside], (np.where(facing < 0, -normals, normals))[outside]


def _first(points: np.ndarray, direction: np.ndarray, spacing: float) -> np.ndarray:
    """Which points (N,) bool nothing stands before, seen from far away in a direction."""
    across = np.linalg.svd(direction[None])[2][1:]
    pixel = np.floor(points @ across.T / (GRAIN * spacing)).astype(np.int64)
    pixel -= pixel.min(axis=0) - 1
    height = points @ direction
    highest = np.full(pixel.max(axis=0) + 2, -np.inf)
    np.maximum.at(highest, tuple(pixel.T), height)
    around = np.max([highest[pixel[:, 0] + x, pixel[:, 1] + y] for x, y in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))],
                    axis=0)
    return height >= around - BEHIND * spacing


def _sphere(count: int) -> np.ndarray:
    """Directions (N, 3) spread evenly, along a spiral."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - z * z)
    return np.stack((across * np.cos(turn), across * np.sin(turn), z), axis=1)
