"""Sparse points of what posed pictures show, where their source has none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .matching import LONGEST, features, matches, neighbours
from .posed import PosedPicture

NEIGHBOURS = 5  # pictures that each is matched with: those that look most alike
APART = 0.02  # radians between two rays, below which their crossing is too far off
WITHIN = 1.5 / LONGEST  # of a picture's longest side, from where a point should be


def sparse_points(pictures: Sequence[PosedPicture]) -> np.ndarray:
    """Points (N, 3) in the world that two pictures show at places that agree with their cameras."""
    found = [features(p) for p in pictures]
    parts = [np.zeros((0, 3))]
    for a, b in neighbours(pictures, NEIGHBOURS):
        first, second = matches(found[a][1], found[b][1])
        parts.append(triangulated(pictures[a], found[a][0][first], pictures[b], found[b][0][second]))
    return np.concatenate(parts)


def triangulated(a: PosedPicture, in_a: np.ndarray, b: PosedPicture, in_b: np.ndarray) -> np.ndarray:
    """The points (N, 3) that are seen at places (M, 2) in two pictures; what does not fit both cameras is left out.

    A point lies in the middle between its two rays where they are closest.
    """
    from_a, from_b = directions(a, in_a), directions(b, in_b)
    origin_a, origin_b = a.world_from_camera[:3, 3], b.world_from_camera[:3, 3]
    across = np.cross(from_a, from_b)
    sine = np.square(across).sum(1)
    baseline = origin_b - origin_a
    with np.errstate(divide="ignore", invalid="ignore"):
        along_a = (np.cross(baseline, from_b) * across).sum(1) / sine
        along_b = (np.cross(baseline, from_a) * across).sum(1) / sine
    good = (sine > APART**2) & (along_a > 0) & (along_b > 0)
    points = (origin_a + along_a[good, None] * from_a[good] + origin_b + along_b[good, None] * from_b[good]) / 2
    fits = (_misses(a, points, in_a[good]) < WITHIN) & (_misses(b, points, in_b[good]) < WITHIN)
    return points[fits]


def directions(p: PosedPicture, places: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 3) in the world through places (N, 2) in a picture."""
    x, y = (places - (p.cx, p.cy)).T
    local = np.column_stack([x / p.fx, -y / p.fy, -np.ones(len(places))]) @ p.world_from_camera[:3, :3].T
    return local / np.linalg.norm(local, axis=1, keepdims=True)


def _misses(p: PosedPicture, points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How far points (N, 3) are from their places (N, 2) in a picture, in its longest side; inf behind the camera."""
    x, y, z = ((points - p.world_from_camera[:3, 3]) @ p.world_from_camera[:3, :3]).T
    ahead = z < 0
    z = np.where(ahead, z, -1.0)
    off = np.column_stack([p.cx - p.fx * x / z, p.cy + p.fy * y / z]) - places
    return np.where(ahead, np.linalg.norm(off, axis=1), np.inf) / max(p.rgba_srgb.shape[:2])
