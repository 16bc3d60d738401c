"""Whether cameras belong to their pictures: how far what matches in two of them is from its epipolar lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np

from .posed import PosedPicture

LONGEST = 640  # pixels: larger pictures are reduced for this
VIEWS = 16  # are compared with each other, evenly from all
FEATURES = 800
RATIO = 0.75  # of the best match's distance to the second best's (Lowe 2004, section 7.1)
WITHIN = 1.5  # pixels from the epipolar line of the fundamental matrix that fits the matches best
FEWEST = 24  # matches on which two pictures agree


def epipolar_errors(pictures: Sequence[PosedPicture]) -> np.ndarray:
    """Sampson distances (M,) of matching points from where the cameras have them, as a share of the longest side.

    SIFT features that match both ways, and of them those on which some fundamental matrix agrees, so that pairs of
    pictures that do not overlap say nothing and the cameras have no part in the choice. Empty where nothing matches.
    """
    chosen = [pictures[n] for n in np.unique(np.linspace(0, len(pictures) - 1, VIEWS).round().astype(int))]
    found = [_features(p) for p in chosen]
    errors = [np.zeros(0)]
    for a, b in combinations(range(len(chosen)), 2):
        first, second = _matches(found[a], found[b])
        if len(first):
            longest = max(*chosen[a].rgba_srgb.shape[:2], *chosen[b].rgba_srgb.shape[:2])
            errors.append(_sampson(first, second, _fundamental(chosen[a], chosen[b])) / longest)
    return np.concatenate(errors)


def _features(picture: PosedPicture) -> tuple[np.ndarray, np.ndarray | None]:
    """Places (N, 2) in the picture's own pixels, corner of the first at 0, and descriptors."""
    rgba = picture.rgba_srgb
    grey = (255 * (rgba[..., :3].mean(-1) + 0.5 * (1 - rgba[..., 3])).clip(0, 1)).astype(np.uint8)
    scale = min(1.0, LONGEST / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    points, descriptors = cv2.SIFT.create(FEATURES).detectAndCompute(grey, None)
    places = (np.array([p.pt for p in points], np.float64).reshape(-1, 2) + 0.5) / scale
    return places, descriptors


def _matches(a: tuple, b: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Places (M, 2) in both that belong together; M is 0 where too few do."""
    none = np.zeros((0, 2)), np.zeros((0, 2))
    if min(len(a[0]), len(b[0])) < FEWEST:
        return none
    product = -2 * a[1] @ b[1].T + np.square(a[1]).sum(1)[:, None] + np.square(b[1]).sum(1)
    best = product.argmin(1)
    two = np.sqrt(np.maximum(np.partition(product, 1, axis=1)[:, :2], 0))
    kept = (two[:, 0] < RATIO * two[:, 1]) & (product.argmin(0)[best] == np.arange(len(best)))
    first, second = a[0][kept], b[0][best[kept]]
    if len(first) < FEWEST:
        return none
    _, agree = cv2.findFundamentalMat(first, second, cv2.USAC_DEFAULT, WITHIN, 0.999, 2000)
    if agree is None or agree.sum() < FEWEST:
        return none
    return first[agree[:, 0] > 0], second[agree[:, 0] > 0]


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
