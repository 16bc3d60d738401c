"""Depth of a posed picture from others, by plane-sweep stereo (Collins 1996) with normalised cross-correlation.

The neighbours are warped onto planes parallel to the picture, even in inverse depth; each pixel's windows are compared
there, the costs are aggregated semi-globally, and the best plane is refined by a parabola.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..kernels import correlation
from ..kernels.semi_global import aggregate
from .posed import PosedPicture

RADIUS = 3  # pixels of a window around its middle one
SMALL, LARGE = 0.03, 0.4  # penalties of `aggregate`, for costs of 0 to 1


@dataclass(frozen=True)
class Swept:
    """What a sweep found of a picture."""

    depth: np.ndarray  # (H, W) float32 along the camera's axis
    cost: np.ndarray  # (H, W) float32, 0 to 1: what the windows there cost to match


def sweep(picture: PosedPicture, neighbours: Sequence[PosedPicture], inverse_depths: np.ndarray) -> Swept:
    """The depth of each pixel, from planes at `inverse_depths` (D,), ascending and even."""
    volume = matching_cost(picture, neighbours, inverse_depths)
    total = aggregate(volume, _grey(picture), SMALL, LARGE)
    best = total.argmin(2)
    at = best.clip(1, len(inverse_depths) - 2)[..., None]
    below, middle, above = (np.take_along_axis(total, at + step, 2)[..., 0] for step in (-1, 0, 1))
    curve = below - 2 * middle + above
    shift = np.where(curve > 1e-9, 0.5 * (below - above) / np.maximum(curve, 1e-9), 0).clip(-0.5, 0.5)
    index = np.where(best == at[..., 0], best + shift, best)
    inverse = inverse_depths[0] + index * (inverse_depths[1] - inverse_depths[0])
    return Swept((1 / inverse).astype(np.float32), np.take_along_axis(volume, best[..., None], 2)[..., 0])


def matching_cost(picture: PosedPicture, neighbours: Sequence[PosedPicture], inverse_depths: np.ndarray) -> np.ndarray:
    """What each pixel's window costs to match on each plane, (H, W, D) float32 in 0 to 1: see `correlation.match`."""
    grey = _grey(picture)
    height, width = grey.shape
    mean, square = _box(grey), _box(grey * grey)
    others = [(_grey(n), _known(n), *_homography(picture, n)) for n in neighbours]
    means, squares, products = np.empty((3, len(others), height, width), np.float32)
    inside = np.empty((len(others), height, width), np.uint8)
    volume = np.empty((height, width, len(inverse_depths)), np.float32)
    for d, inverse in enumerate(inverse_depths):
        for n, (other, known, turned, moved) in enumerate(others):
            matrix = turned + inverse * moved
            warped = cv2.warpPerspective(other, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                         borderMode=cv2.BORDER_REPLICATE)
            cv2.warpPerspective(known, matrix, (width, height), inside[n], cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
            means[n], squares[n], products[n] = _box(warped), _box(warped * warped), _box(grey * warped)
        volume[..., d] = correlation.match(mean, square, means, squares, products, inside)
    return volume


def _homography(a: PosedPicture, b: PosedPicture) -> tuple[np.ndarray, np.ndarray]:
    """T and M with T + M / z taking pixels of `a`, centres at integers, to `b` over the plane at depth z."""
    flip = np.diag([1.0, -1.0, -1.0])
    b_from_a = np.linalg.inv(b.world_from_camera) @ a.world_from_camera
    turn, shift = flip @ b_from_a[:3, :3] @ flip, flip @ b_from_a[:3, 3]
    back = np.linalg.inv(_matrix(a))
    return _matrix(b) @ turn @ back, _matrix(b) @ np.outer(shift, [0, 0, 1]) @ back


def _matrix(p: PosedPicture) -> np.ndarray:
    return np.array([[p.fx, 0, p.cx - 0.5], [0, p.fy, p.cy - 0.5], [0, 0, 1]])


def _grey(p: PosedPicture) -> np.ndarray:
    return np.ascontiguousarray(p.rgba_srgb[..., :3].mean(2), np.float32)


def _known(p: PosedPicture) -> np.ndarray:
    return np.ones(p.rgba_srgb.shape[:2], np.uint8) if p.weight is None else (p.weight > 0).astype(np.uint8)


def _box(values: np.ndarray) -> np.ndarray:
    return cv2.blur(values, (2 * RADIUS + 1, 2 * RADIUS + 1), borderType=cv2.BORDER_REFLECT)
