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


def blank(height: int, width: int) -> Fragments:
    """What is seen where nothing is drawn."""
    return Fragments(np.full((height, width), -1, np.int32), np.zeros((height, width, 3), np.float32),
                     np.full((height, width), np.inf, np.float32))


def rasterise(corners: np.ndarray, height: int, width: int, onto: Fragments | None = None, first: int = 0
              ) -> Fragments:
    """Draw triangles (F, 3, 3) whose corners are x, y in pixels and depth; the nearest face with depth > 0 wins.

    A pixel belongs to a triangle when its centre, at +0.5, lies inside or on the border. A triangle that reaches
    behind the camera is left out. For a flat drawing, of UVs, give all corners the depth 1.
    onto: what has been drawn so far, which changes. first: the first triangle's number.
    """
    drawn = blank(height, width) if onto is None else onto
    body("raster", torch.device("cpu")).draw(np.ascontiguousarray(corners, np.float64), first, *drawn)
    return drawn
