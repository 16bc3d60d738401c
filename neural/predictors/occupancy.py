"""From the probabilities of a frustum grid's voxels to a closed surface."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from scipy import ndimage
from torch import Tensor

from ...formats.mesh import Mesh
from ..meshing.cubify import cubify

CRUMB = 0.05  # of the largest part's voxels, which a part must have to be kept


def soft_iou(probability: Tensor, truth: Tensor) -> Tensor:
    """Σ pq / Σ (p + q − pq) of each grid (B, D, H, W), averaged: a loss alone, no figure."""
    both = (probability * truth).sum(dim=(1, 2, 3))
    return (both / (probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3)) - both).clamp(min=1e-6)).mean()


def cubes(filled: np.ndarray) -> Mesh:
    """The cubes of a frustum grid (D, H, W) bool: places x, y **up** and z toward the camera, each from −1 to 1."""
    return cubify(filled[::-1, ::-1].transpose(2, 1, 0).astype(np.float32), 0.5, align="corner")


def solid(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Which voxels (D, H, W) of a grid are filled, so that their surface is a closed manifold without hollows.

    Crumbs are dropped. Where no voxel is likely enough it is the middle, at half the size (Mesh R-CNN's code).
    """
    filled = without_crumbs(probability >= threshold)
    if not filled.any():
        filled[tuple(slice(side // 4, side - side // 4) for side in filled.shape)] = True
    return ndimage.binary_fill_holes(well_composed(filled, probability))


def without_crumbs(filled: np.ndarray) -> np.ndarray:
    """What is left when parts with less than `CRUMB` of the largest one's voxels go."""
    label, count = ndimage.label(filled)
    size = np.bincount(label.ravel(), minlength=count + 1)
    size[0] = 0
    return (size >= max(CRUMB * size.max(), 1))[label]


def well_composed(filled: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Fill voxels, the likeliest that join them, until none touch along an edge or at a corner alone.

    Then, and only then, the surface is a manifold (Latecki, "3D Well-Composed Pictures", 1997). Two that lie
    across in a block of eight may take a round to touch along an edge, and one more to be joined.
    """
    filled = filled.copy()
    while True:
        before = filled.copy()
        for axes in combinations(range(3), 2):
            _join(filled, probability, [corner for corner in product((0, 1), repeat=3) if not any(
                corner[axis] for axis in range(3) if axis not in axes)])
        _join(filled, probability, list(product((0, 1), repeat=3)))
        if (filled == before).all():
            return filled


def _join(filled: np.ndarray, probability: np.ndarray, block: list[tuple[int, ...]]) -> None:
    """In each block of voxels where two that lie across are filled alone, or empty alone, fill the likeliest."""
    sides = np.max(block, axis=0)
    views = [tuple(slice(at, length - side + at) for at, side, length in zip(corner, sides, filled.shape, strict=True))
             for corner in block]
    corners = np.stack([filled[view] for view in views])
    count = corners.sum(axis=0)
    for first in range(len(block) // 2):  # the last corner lies across from the first, and so on
        same = corners[first] == corners[-1 - first]
        critical = same & ((corners[first] & (count == 2)) | (~corners[first] & (count == len(block) - 2)))
        for place in np.argwhere(critical):
            empty = [tuple(place + corner) for corner in block if not filled[tuple(place + corner)]]
            filled[max(empty, key=lambda at: probability[at])] = True
