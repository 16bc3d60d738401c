"""Whether cameras belong to their pictures: how far what matches in two of them is from its epipolar lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from .matching import features, rigid_matches
from .posed import PosedPicture

VIEWS = 16  # are compared with each other, evenly from all
FEATURES = 800
FEWEST = 24  # matches on which two pictures agree


def epipolar_errors(pictures: Sequence[PosedPicture]) -> np.ndarray:
    """Sampson distances (M,) of matching points from where the cameras have them, as a share of the longest side.

    SIFT features that match both ways, and of them those on which some fundamental matrix agrees, so that pairs of
    pictures that do not overlap say nothing and the cameras have no part in the choice. Empty where nothing matches.
    """
    chosen = [pictures[n] for n in np.unique(np.linspace(0, len(pictures) - 1, VIEWS).round().astype(int))]
    found = [features(p, FEATURES) for p in chosen]
    errors = [np.zeros(0)]
    for a, b in combinations(range(len(chosen)), 2):
        first, second = rigid_matches(found[a], found[b], FEWEST)
        errors.append(sampson_distances(chosen[a], found[a][0][first], chosen[b], found[b][0][second]))
    return np.concatenate(errors)


def sampson_distances(a: PosedPicture, in_a: np.ndarray, b: PosedPicture, in_b: np.ndarray) -> np.ndarray:
    """How far places (M, 2) in two pictures that belong together are from where the cameras have them, (M,).

    As a share of the pictures' longest side, to first order (Sampson 1982).
    """
    longest = max(*a.rgba_srgb.shape[:2], *b.rgba_srgb.shape[:2])
    return _sampson(in_a, in_b, _fundamental(a, b)) / longest


def _fundamental(a: PosedPicture, b: PosedPicture) -> np.ndarray:
    """F with x_bᵀ F x_a = 0 for pixels (x, y, 1)."""
    b_from_a = np.linalg.inv(b.world_from_camera) @ a.world_from_camera
    x, y, z = b_from_a[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return _rays(b).T @ cross @ b_from_a[:3, :3] @ _rays(a)


def _rays(p: PosedPicture) -> np.ndarray:
    """Camera-space rays (x, y, −1) from pixels (x, y, 1)."""
    return np.array([[1 / p.fx, 0, -p.cx / p.fx], [0, -1 / p.fy, p.cy / p.fy], [0, 0, -1]])


def _sampson(a: np.ndarray, b: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Distances (M,) in pixels of a match from the nearest pair of points that the matrix allows, to first order."""
    a, b = np.column_stack([a, np.ones(len(a))]), np.column_stack([b, np.ones(len(b))])
    at_b, at_a = a @ f.T, b @ f
    slope = np.square(at_b[:, :2]).sum(1) + np.square(at_a[:, :2]).sum(1)
    return np.abs((b * at_b).sum(1)) / np.sqrt(np.maximum(slope, 1e-30))
