"""Sparse points of what posed pictures show, where their source has none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .matching import LONGEST, features, matches
from .posed import PosedPicture

NEIGHBOURS = 5  # pictures that each is matched with: those that look most alike
APART = 0.02  # radians between two rays, below which their crossing is too far off
WITHIN = 1.5 / LONGEST  # of a picture's longest side, from where a point should be


def sparse_points(pictures: Sequence[PosedPicture]) -> np.ndarray:
    """Points (N, 3) in the world that two pictures show at places that agree with their cameras."""
    found = [features(p) for p in pictures]
    parts = [np.zeros((0, 3))]
    for a, b in _pairs(pictures):
        first, second = matches(found[a][1], found[b][1])
        parts.append(triangulated(pictures[a], found[a][0][first], pictures[b], found[b][0][second]))
    return np.concatenate(parts)


def triangulated(a: PosedPicture, in_a: np.ndarray, b: PosedPicture, in_b: np.ndarray) -> np.ndarray:
    """The points (N, 3) that are seen at places (M, 2) in two pictures; what does not fit both cameras is left out.

    A point lies in the middle between its two rays where they are closest.
    """
    from_a, from_b = _directions(a, in_a), _directions(b, in_b)
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


def _pairs(pictures: Sequence[PosedPicture]) -> list[tuple[int, int]]:
    """Each picture with those next to it whose cameras look the same way."""
    places = np.array([p.world_from_camera[:3, 3] for p in pictures])
    ahead = np.array([-p.world_from_camera[:3, 2] for p in pictures])
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    cost = apart / max(np.median(apart), 1e-12) + 2 * (1 - ahead @ ahead.T)
    np.fill_diagonal(cost, np.inf)
    nearest = np.argsort(cost, axis=1)[:, :min(NEIGHBOURS, len(pictures) - 1)]
    return sorted({(min(a, b), max(a, b)) for a, row in enumerate(nearest.tolist()) for b in row})


def _directions(p: PosedPicture, places: np.ndarray) -> np.ndarray:
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
