"""Points that two pictures both show."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .posed import PosedPicture

LONGEST = 640  # pixels: larger pictures are reduced for this
FEATURES = 1500
RATIO = 0.75  # of the best match's distance to the second best's (Lowe 2004, section 7.1)
WITHIN = 1.5  # pixels from the epipolar line of the fundamental matrix that fits the matches best


def features(picture: PosedPicture, most: int = FEATURES) -> tuple[np.ndarray, np.ndarray]:
    """SIFT features (Lowe 2004): places (N, 2) in the picture's own pixels, the first one's corner at 0, and
    descriptors (N, 128) float32."""
    rgba = picture.rgba_srgb
    grey = (255 * (rgba[..., :3].mean(-1) + 0.5 * (1 - rgba[..., 3])).clip(0, 1)).astype(np.uint8)
    scale = min(1.0, LONGEST / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    points, descriptors = cv2.SIFT.create(most, enable_precise_upscale=True).detectAndCompute(grey, None)
    places = (np.array([p.pt for p in points], np.float64).reshape(-1, 2) + 0.5) / scale
    return places, np.zeros((0, 128), np.float32) if descriptors is None else descriptors


def matches(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which descriptors (N, 128) and (M, 128) belong together, both ways and clearly: two arrays of numbers."""
    if min(len(a), len(b)) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    square = np.square(a).sum(1)[:, None] - 2 * a @ b.T + np.square(b).sum(1)
    best = square.argmin(1)
    two = np.sqrt(np.maximum(np.partition(square, 1, axis=1)[:, :2], 0))
    kept = np.flatnonzero((two[:, 0] < RATIO * two[:, 1]) & (square.argmin(0)[best] == np.arange(len(best))))
    return kept, best[kept]


def rigid_matches(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray],
                  fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Those `matches` of two pictures' `features` on which some fundamental matrix agrees; none, where too few do.

    Pictures that do not overlap have none, and the cameras have no part in the choice.
    """
    none = np.zeros(0, int), np.zeros(0, int)
    first, second = matches(a[1], b[1])
    if len(first) < fewest:
        return none
    try:
        _, agree = cv2.findFundamentalMat(a[0][first], b[0][second], cv2.USAC_DEFAULT, WITHIN, 0.999, 2000)
    except cv2.error:  # of no sample of these matches a matrix can be made
        return none
    if agree is None or agree.sum() < fewest:
        return none
    return first[agree[:, 0] > 0], second[agree[:, 0] > 0]


def neighbours(pictures: Sequence[PosedPicture], count: int) -> list[tuple[int, int]]:
    """Pairs of pictures: each with those `count` next to it whose cameras look the same way."""
    places = np.array([p.world_from_camera[:3, 3] for p in pictures])
    ahead = np.array([-p.world_from_camera[:3, 2] for p in pictures])
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    cost = apart / max(np.median(apart), 1e-12) + 2 * (1 - ahead @ ahead.T)
    np.fill_diagonal(cost, np.inf)
    nearest = np.argsort(cost, axis=1)[:, :min(count, len(pictures) - 1)]
    return sorted({(min(a, b), max(a, b)) for a, row in enumerate(nearest.tolist()) for b in row})
