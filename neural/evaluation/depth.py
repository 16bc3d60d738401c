"""How near a rendered depth comes to the true one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry.posed import PosedPicture

_WITHIN = {"1%": 0.01, "5%": 0.05}
# The depth of a pixel that the subject covers in part is that of either side.
_OPAQUE = 0.99


def depth_pairs(view: PosedPicture, depth: np.ndarray) -> np.ndarray:
    """Rendered and true depths (N, 2), metres, of the pixels whose truth is known.

    `depth` (H, W) is NaN where nothing is seen; there it counts as 0, which is wholly wrong.
    """
    if view.depth is None:
        return np.empty((0, 2), np.float32)
    known = np.isfinite(view.depth) & (view.depth > 0)
    if view.has_alpha:
        known &= view.rgba_srgb[..., 3] > _OPAQUE
    if view.weight is not None:
        known &= view.weight > 0
    return np.stack((np.nan_to_num(depth[known]), view.depth[known]), axis=1)


def depth_figures(pairs: np.ndarray) -> dict[str, Any]:
    """The errors of depths (N, 2), rendered and true: their medians, and the shares of pixels within 1 % and 5 %.

    median_error and within are relative to the true depth, median_error_m is in metres.
    """
    error = np.abs(pairs[:, 0] - pairs[:, 1])
    relative = error / pairs[:, 1]
    return {"pixels": len(pairs), "median_error": float(np.median(relative)), "median_error_m": float(np.median(error)),
            "within": {name: float((relative <= share).mean()) for name, share in _WITHIN.items()}}
