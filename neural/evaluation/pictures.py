"""How near a picture comes to the true one. Pictures are (H, W, 3) float, 0 to 1, in the same colour space."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

# Equal pictures have no finite ratio.
HIGHEST_DB = 100.0
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2


def psnr(picture: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio, −10 log₁₀ of the mean squared error, in dB; at most 100, which equal ones have.

    Of the pixels `where` (H, W) bool alone, if it is given.
    """
    _check(picture, truth)
    square = (picture.astype(np.float64) - truth) ** 2
    error = float((square if where is None else square[where]).mean())
    return HIGHEST_DB if error == 0 else min(-10 * np.log10(error), HIGHEST_DB)


def ssim(picture: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 × 11, σ 1.5, data range 1, mean over channels.

    Windows that reach over the border are left out; a picture smaller than the window counts them all. Of the windows
    around the pixels `where` (H, W) bool alone, if it is given; the other pixels are taken for equal.
    """
    _check(picture, truth)
    b = truth.astype(np.float64)
    a = picture.astype(np.float64) if where is None else np.where(where[..., None], picture, b)

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (_SIGMA, _SIGMA, 0), radius=(_RADIUS, _RADIUS, 0))

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + _C1) * (2 * cov + _C2)
                  / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)))
    counts = np.ones(a.shape[:2], bool) if where is None else where
    if min(a.shape[:2]) > 2 * _RADIUS:
        within = slice(_RADIUS, -_RADIUS)
        similarity, counts = similarity[within, within], counts[within, within]
    return float(similarity[counts].mean()) if counts.any() else 1.0


def _check(picture: np.ndarray, truth: np.ndarray) -> None:
    if picture.shape != truth.shape or picture.ndim != 3:
        raise ValueError(f"pictures have shapes {picture.shape} and {truth.shape}; the same (H, W, C) is expected")
