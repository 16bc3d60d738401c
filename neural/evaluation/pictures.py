"""How near a picture comes to the true one. Pictures are (H, W, 3) float, 0 to 1, in the same colour space."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

# Equal pictures have no finite ratio.
HIGHEST_DB = 100.0
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio, −10 log₁₀ of the mean squared error, in dB; at most 100, which equal ones have."""
    _check(picture, truth)
    error = float(((picture.astype(np.float64) - truth) ** 2).mean())
    return HIGHEST_DB if error == 0 else min(-10 * np.log10(error), HIGHEST_DB)


def ssim(picture: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 × 11, σ 1.5, data range 1, mean over channels.

    Windows that reach over the border are left out; a picture smaller than the window counts them all.
    """
    _check(picture, truth)
    a, b = picture.astype(np.float64), truth.astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (_SIGMA, _SIGMA, 0), radius=(_RADIUS, _RADIUS, 0))

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + _C1) * (2 * cov + _C2)
                  / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)))
    if min(a.shape[:2]) > 2 * _RADIUS:
        similarity = similarity[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return float(similarity.mean())


def _check(picture: np.ndarray, truth: np.ndarray) -> None:
    if picture.shape != truth.shape or picture.ndim != 3:
        raise ValueError(f"pictures have shapes {picture.shape} and {truth.shape}; the same (H, W, C) is expected")
