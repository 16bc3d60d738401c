"""A view with its picture in memory: what training, texturing and measuring read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PosedPicture:
    """A decoded, undistorted picture of a pinhole camera in Blender's world (looks along −Z, Y up).

    Pixel (column i, row j) has its centre at (i + 0.5, j + 0.5); a camera-space ray through it is
    ((i + 0.5 − cx) / fx, −(j + 0.5 − cy) / fy, −1), not normalised, so that its parameter is the depth.
    """

    name: str
    rgba_srgb: np.ndarray  # (H, W, 4) float32, colour sRGB-encoded and premultiplied by alpha
    fx: float
    fy: float
    cx: float
    cy: float
    world_from_camera: np.ndarray  # (4, 4) float64
    depth: np.ndarray | None = None  # (H, W) float32 metres along the axis, NaN is unknown
    normal: np.ndarray | None = None  # (H, W, 3) float32 world, zero is unknown
    split: str = "train"
    has_alpha: bool = True  # False where every pixel counts as the scene (no alpha, no mask)
    weight: np.ndarray | None = None  # (H, W) float32, 0 where the pixel is not known (outside an undistorted picture)
    depth_weight: np.ndarray | None = None  # (H, W) float32, 0 to 1, how far the depth is trusted; None is wholly
