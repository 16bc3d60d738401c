"""What cameras see of lit objects: each picture's triangles, drawn with a depth buffer and shaded where they are seen.

Shading is Blinn and Phong's with distant lights and a hemisphere: light from above and from below, mixed by how far
the normal points up. Surfaces are seen from both sides. All light is linear.

The solid's signed distance tells what stands in the way of light. Of the hemisphere's is lost what two points off the
surface lack to being as far from the solid as from where they left it (ambient occlusion by distances, Evans 2006).
The first light's shadow is traced toward it; it is softer the farther off is what casts it (Quilez 2010). Both are
found once a pixel, where the first of its samples meets the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .dispatch import body

OFF = (0.03, 0.1)  # how far off the surface, in the objects' frames, the solid's distance is asked for
STEPS = 24  # of the way to a light, at most
STRIDE = 0.015  # of each step, at least
START = 0.02  # of the way, along the normal and along the light, so that a surface casts no shadow on itself


@dataclass(frozen=True)
class Scenes:
    """B pictures' objects, cameras, materials and lights; float32 where nothing else is said.

    Directions and lengths are those of each object's frame, whose z axis points up.
    """

    first: np.ndarray  # (B + 1,) int64: picture b shows the triangles from first[b] to first[b + 1]
    corners: np.ndarray  # (T, 3, 3)
    normals: np.ndarray  # (T, 3, 3) of unit length
    colors: np.ndarray  # (T, 3, 3) linear
    solid: np.ndarray  # (B, N, N, N) int8 signed distances in `step`, of grids that are centred at 0
    spacing: np.ndarray  # (B, 3) from point to point of them
    step: float
    view_from_object: np.ndarray  # (B, 3, 4) a rotation times a scale, and a shift
    distance: np.ndarray  # (B,) of the cameras, which stand on the view frame's z axis; see `predictors.view`
    paint: np.ndarray  # (B, 3, 4) the colour that is lit is this matrix times (red, green, blue, 1)
    grain: np.ndarray  # (B, 2) strength and frequency of a noise in that colour
    gloss: np.ndarray  # (B, 2) strength and exponent of the highlights
    ambient: np.ndarray  # (B, 2, 3) light from above and from below
    lights: np.ndarray  # (B, L, 2, 3) direction towards a light, and its colour
    hiding: np.ndarray  # (B, 2) share of occlusion that counts; how sharp shadows are, 0 for none

    def __len__(self) -> int:
        return len(self.distance)


def shade(scenes: Scenes, side: int, samples: int = 2) -> np.ndarray:
    """Pictures (B, side, side, 4) float32: red, green and blue, premultiplied, and alpha.

    Each pixel is the mean of `samples`² places in it. The cameras stand outside of what they look at.
    """
    return body("shade", torch.device("cpu")).shade(scenes, side, samples)
