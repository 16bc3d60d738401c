"""What cameras see of lit objects: each picture's triangles, drawn with a depth buffer and shaded where they are seen.

Shading is Blinn and Phong's with up to three distant lights and a hemisphere: light from above and from below, mixed
by how far the normal points up. Surfaces are seen from both sides. All light is linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .dispatch import body


@dataclass(frozen=True)
class Scenes:
    """B pictures' objects, cameras and lights; float32 but `first`."""

    first: np.ndarray  # (B + 1,) int64: picture b shows the triangles from first[b] to first[b + 1]
    corners: np.ndarray  # (T, 3, 3) in their object's frame
    normals: np.ndarray  # (T, 3, 3) there, of unit length
    colors: np.ndarray  # (T, 3, 3) linear
    view_from_object: np.ndarray  # (B, 3, 4) a rotation times a scale, and a shift
    distance: np.ndarray  # (B,) of the cameras, which stand on the view frame's z axis; see `predictors.view`
    paint: np.ndarray  # (B, 3, 4) the colour that is lit is this matrix times (red, green, blue, 1)
    ambient: np.ndarray  # (B, 2, 3) light from above and from below
    lights: np.ndarray  # (B, L, 2, 3) direction towards a light in the view frame, and its colour
    gloss: np.ndarray  # (B, 2) strength and exponent of the highlights
    grain: np.ndarray  # (B, 2) strength and frequency of a noise in the colour, in the object's frame

    def __len__(self) -> int:
        return len(self.distance)


def shade(scenes: Scenes, side: int, samples: int = 2) -> np.ndarray:
    """Pictures (B, side, side, 4) float32: red, green, blue, premultiplied, and alpha.

    Each pixel is the mean of `samples`² places in it.
    """
    return body("shade", torch.device("cpu")).shade(scenes, side, samples)
