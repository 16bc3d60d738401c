"""Points that two pictures both show."""

from __future__ import annotations

import cv2
import numpy as np

from .posed import PosedPicture

LONGEST = 640  # pixels: larger pictures are reduced for this
FEATURES = 1500
RATIO = 0.75  # of the best match's distance to the second best's (Lowe 2004, section 7.1)


def features(picture: PosedPicture) -> tuple[np.ndarray, np.ndarray]:
    """SIFT features (Lowe 2004): places (N, 2) in the picture's own pixels, the first one's corner at 0, and
    descriptors (N, 128) float32."""
    rgba = picture.rgba_srgb
    grey = (255 * (rgba[..., :3].mean(-1) + 0.5 * (1 - rgba[..., 3])).clip(0, 1)).astype(np.uint8)
    scale = min(1.0, LONGEST / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    points, descriptors = cv2.SIFT.create(FEATURES).detectAndCompute(grey, None)
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
