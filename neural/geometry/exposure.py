"""Exposure and white balance: how much brighter a photo's channels are than another picture of the same view.

Pictures are sRGB-encoded, since that is how they are compared. The curve is 1.055 L^(1/2.4) − 0.055 above its straight
foot, so that a gain of the light is an affine map of what is encoded, and no powers are computed per pixel.
"""

from __future__ import annotations

import numpy as np

_POWER, _SHIFT = 2.4, 0.055
# What is darker is noise, what is brighter may be clipped.
_DARK, _BRIGHT = 0.06, 0.97
CLEAR = 0.95  # alpha from which a pixel shows the subject alone
FEWEST = 40  # pixels from which a gain is told
# The gains of a picture's quarters tell how sure the whole's is; they agree better than pictures do.
_CAUTION = 1.5


def exposed(rgba_srgb: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """A picture (H, W, 4), premultiplied, with its light times `gain` (3,); nothing is clipped at white."""
    rgb, alpha = rgba_srgb[..., :3], rgba_srgb[..., 3:]
    k = gain ** (1 / _POWER)
    curve, foot = k * rgb + _SHIFT * (k - 1) * alpha, gain * rgb
    result = rgba_srgb.copy()
    result[..., :3] = np.where(gain > 1, np.minimum(curve, foot), np.maximum(curve, foot))
    return result


def log_gain(rgb_srgb: np.ndarray, of_srgb: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm (3,) of the gain that makes `of_srgb` (H, W, 3) the picture `rgb_srgb`, and its variance (3,).

    Both are straight colours and count at the pixels `where` (H, W). Robust: a weighted median over the pixels, by
    brightness as the encoded noise is even. The variance is that of the four quarters' gains, since what misleads
    one (a highlight, a part that is not learnt yet) is larger than a pixel. NaN where too little is bright enough.
    """
    where = where & (np.minimum(rgb_srgb, of_srgb).min(-1) > _DARK) & (np.maximum(rgb_srgb, of_srgb).max(-1) < _BRIGHT)
    rows, columns = np.nonzero(where)
    if len(rows) < FEWEST:
        return np.full(3, np.nan), np.full(3, np.nan)
    target, base = rgb_srgb[where].astype(np.float64), of_srgb[where].astype(np.float64)
    ratio = _POWER * np.log((target + _SHIFT) / (base + _SHIFT))
    quarter = 2 * (rows > np.median(rows)) + (columns > np.median(columns))
    parts = [_medians(ratio[quarter == q], target[quarter == q]) for q in range(4) if (quarter == q).any()]
    variance = np.var(parts, axis=0, ddof=1) / len(parts) if len(parts) > 1 else np.full(3, np.nan)
    return _medians(ratio, target), variance


def in_exposure_of(photo: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`seen` (H, W, 4) as it would be with the photo's exposure and white balance, as far as these can be told."""
    taken, shown = (p[..., :3] / np.maximum(p[..., 3:], 1e-6) for p in (photo, seen))
    gain, _ = log_gain(taken, shown, np.minimum(photo[..., 3], seen[..., 3]) > CLEAR)
    return exposed(seen, np.exp(np.nan_to_num(gain)))


def relative(log_gains: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """The gains (V, 3) of views against the mean exposure, from logarithms (V, 3) that are told with `variances`.

    Their mean over the views is 1, as a logarithm. Shrunk towards it by empirical Bayes (Efron and Morris 1975): views
    that differ no more than what is told of them is unsure have the same exposure. Unknown (NaN) is the mean's.
    """
    known = np.isfinite(log_gains + variances).all(1)
    result = np.zeros_like(log_gains)
    if known.sum() > 1:
        told = log_gains[known] - log_gains[known].mean(0)
        unsure = _CAUTION**2 * variances[known]
        spread = np.maximum(told.var(0, ddof=1) - unsure.mean(0), 0)
        kept = told * spread / np.maximum(spread + unsure, 1e-12)
        result[known] = kept - kept.mean(0)
    return np.exp(result)


def _medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted medians (3,) of the columns of (N, 3)."""
    order = values.argsort(0)
    mass = np.take_along_axis(weights, order, 0).cumsum(0)
    middle = (mass < 0.5 * mass[-1]).sum(0)
    return np.take_along_axis(values, np.take_along_axis(order, middle[None], 0), 0)[0]
