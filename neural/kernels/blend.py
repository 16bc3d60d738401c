"""Colours of surface points from the pictures that see them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from .dispatch import body

# Weight of a view falls with this power of the cosine between the surface's normal and the direction to the camera.
ANGLE_POWER = 3
# Colours this far (sRGB, 0 to 1) from the mean count half: highlights, and what a wrong depth lets through.
OUTLIER = 0.08
ROUNDS = 3
# The mean begins at this share of the views' weights in order of brightness: a highlight moves over the surface with
# the camera, so most views show a point without one, while what darkens a point (shadow) is in all of them.
LEVEL = 0.4


class Views(NamedTuple):
    """Pictures of any sizes, their pixels row by row one behind the other."""

    cameras: np.ndarray  # (V, 16) float64: fx fy cx cy, the position, camera_from_world's rotation row by row
    pixels: np.ndarray  # (V, 3) int64: the first pixel, height, width
    rgba: np.ndarray  # (P, 4) uint8 sRGB premultiplied
    depth: np.ndarray  # (P,) float32, the mesh's own, inf where it is not
    trust: np.ndarray  # (P,) uint8, 255 is full
    resolution: float  # pixels per metre that count as 1


def blend(points: np.ndarray, normals: np.ndarray, views: Views) -> tuple[np.ndarray, np.ndarray]:
    """Colour (N, 3) float32, sRGB straight, of each point (N, 3), and the sum of its views' weights (N,) float32.

    A view counts where the point faces it and lies no deeper than the mesh at the four pixels around it. Its weight
    is trust × cosine³ × resolution². The mean is repeated with weights falling with the distance from the one before
    (Cauchy's), at first from the colour at `LEVEL`. Weight and colour are 0 where no view counts.
    """
    return body("blend", torch.device("cpu")).blend(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(normals, np.float64), *views)
