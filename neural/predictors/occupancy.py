"""From the probabilities of a frustum grid's voxels to a closed surface."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage
from torch import Tensor

from ...formats.mesh import Mesh
from ..meshing.cubify import cubify

CRUMB = 0.02  # of the largest part's voxels, which a part must have to be kept
UNSEEN, COVERED = 0.02, 0.5  # shares of a voxel's pixels up to which it is empty, and from which something is there
SURE = 0.7  # of the likeliest voxel behind such pixels, at least


def soft_iou(probability: Tensor, truth: Tensor) -> Tensor:
    """Σ pq / Σ (p + q − pq) of each grid (B, D, H, W), averaged: a loss alone, no figure."""
    both = (probability * truth).sum(dim=(1, 2, 3))
    return (both / (probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3)) - both).clamp(min=1e-6)).mean()


def cubes(filled: np.ndarray) -> Mesh:
    """The cubes of a frustum grid (D, H, W) bool: places x, y **up** and z toward the camera, each from −1 to 1."""
    return cubify(filled[::-1, ::-1].transpose(2, 1, 0).astype(np.float32), 0.5, align="corner")


def behind_outline(probability: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The probabilities (D, H, W) of a frustum grid, knowing the share (H, W) of each voxel's pixels that see it.

    What no pixel sees is empty, and behind a pixel that shows the object there is some of it: where the network is
    sure of no slice, as with thin things, those count that it deems the likeliest.
    """
    most = probability.max(axis=0)
    raised = probability * np.where(alpha >= COVERED, np.maximum(SURE / np.maximum(most, 1e-6), 1), 1)
    return np.where(alpha > UNSEEN, raised, 0)


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

    Then, and only then, the surface is a manifold (Latecki, "3D Well-Composed Pictures", 1997).
    """
    filled = filled.copy()
    while sum(_join(filled, probability, block) for block in _BLOCKS):
        pass
    return filled


# Squares of four voxels across each axis, and cubes of eight: the last corner lies across from the first, and so on.
_BLOCKS = [[corner for corner in product((0, 1), repeat=3) if not axis or not corner[axis - 1]] for axis in range(4)]


def _join(filled: np.ndarray, probability: np.ndarray, block: list[tuple[int, ...]]) -> int:
    """In each block where two voxels that lie across are filled alone, or empty alone, fill the likeliest; how many."""
    sides = np.max(block, axis=0)
    corners = np.stack([filled[tuple(slice(at, length - side + at) for at, side, length
                                     in zip(corner, sides, filled.shape, strict=True))] for corner in block])
    touching = np.zeros(corners.shape[1:], bool)
    for alone in (corners, ~corners):
        pair = (alone & alone[::-1]).any(axis=0)
        touching |= pair & (alone.sum(axis=0) == 2)
    joined = 0
    for place in np.argwhere(touching):
        around = [tuple(place + corner) for corner in block]
        empty = [at for at in around if not filled[at]]
        if 2 in (len(empty), len(around) - len(empty)):  # still: a block beside it may have joined them
            filled[max(empty, key=lambda at: probability[at])] = True
            joined += 1
    return joined
