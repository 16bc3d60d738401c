"""Triangles to pixels: which face is seen where, and how deep it lies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from .dispatch import body


class Fragments(NamedTuple):
    """What a z-buffer holds at the pixels' centres."""

    face: np.ndarray  # (H, W) int32, −1 where there is none
    weights: np.ndarray  # (H, W, 3) float32, of the face's corners, right in perspective
    depth: np.ndarray  # (H, W) float32, along the camera's axis, inf where there is none


def rasterise(corners: np.ndarray, height: int, width: int) -> Fragments:
    """Draw triangles (F, 3, 3) whose corners are x, y in pixels and depth; the nearest face with depth > 0 wins.

    A pixel belongs to a triangle when its centre, at +0.5, lies inside or on the border. A triangle that reaches
    behind the camera is left out. For a flat drawing, of UVs, give all corners the depth 1.
    """
    return Fragments(*body("raster", torch.device("cpu")).rasterise(
        np.ascontiguousarray(corners, np.float64), height, width))
