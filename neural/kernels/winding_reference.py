"""The exact solid angle of every triangle: van Oosterom and Strackee 1983, The solid angle of a plane triangle."""

from __future__ import annotations

import typing

import numpy as np

if typing.TYPE_CHECKING:
    from .winding import WindingTree

_AT_ONCE = 1_000_000


def winding_numbers(points: np.ndarray, tree: WindingTree, far: float, clear: np.ndarray) -> np.ndarray:
    del far, clear  # everything counts exactly
    triangles = tree.tree.triangles
    step = max(1, _AT_ONCE // len(triangles))
    parts = [solid_angles(points[start:start + step], triangles).sum(axis=1) for start in range(0, len(points), step)]
    return np.concatenate([np.empty(0), *parts]) / (4 * np.pi)


def solid_angles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Of each triangle (F, 3, 3) from each point (N, 3): (N, F), positive where its back is seen."""
    a, b, c = np.moveaxis(triangles[None] - points[:, None, None], 2, 0)
    na, nb, nc = (np.linalg.norm(corner, axis=-1) for corner in (a, b, c))
    volume = (a * np.cross(b, c)).sum(-1)
    cosine = na * nb * nc + (a * b).sum(-1) * nc + (b * c).sum(-1) * na + (c * a).sum(-1) * nb
    return 2 * np.arctan2(volume, cosine)


def winding_slopes(points: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    step = max(1, _AT_ONCE // max(len(boundary), 1))
    parts = [_field(points[start:start + step], boundary) for start in range(0, len(points), step)]
    return np.linalg.norm(np.concatenate([np.empty((0, 3)), *parts]), axis=1) / (4 * np.pi)


def _field(points: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    """∮ dl × r / r³ of straight sides, the limit 0 on their lines."""
    a, b = np.moveaxis(boundary[None] - points[:, None, None], 2, 0)
    na, nb = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
    across = na * nb * (na * nb + (a * b).sum(-1))
    share = np.where(across > 0, (na + nb) / np.where(across > 0, across, 1), 0)
    return (np.cross(a, b) * share[..., None]).sum(axis=1)
