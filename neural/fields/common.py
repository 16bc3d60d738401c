"""What every neural field of a scene offers, whichever way it represents it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Rendered:
    """What a field, or a mesh, looks like from a pinhole camera."""

    rgb_srgb: np.ndarray  # (H, W, 3) float32, sRGB-encoded, premultiplied by alpha
    alpha: np.ndarray  # (H, W) float32
    depth: np.ndarray  # (H, W) float32 metres along the camera's axis, mean over what is seen; NaN where nothing is
    normal: np.ndarray  # (H, W, 3) float32 world, unit length; zero where nothing is seen

    def over(self, background: float | np.ndarray) -> np.ndarray:
        """The picture (H, W, 3) on a background: a grey value or a colour (3,), sRGB-encoded."""
        return self.rgb_srgb + (1 - self.alpha[..., None]) * background


class Field(Protocol):
    """A scene that a camera can look at and whose surface can be extracted."""

    @property
    def box(self) -> np.ndarray:
        """World-aligned lower and upper corner (2, 3) of what is represented."""

    def render(self, fx: float, fy: float, cx: float, cy: float, width: int, height: int,
               world_from_camera: np.ndarray) -> Rendered:
        """The view of a pinhole camera that looks along −Z with Y up; pixels as in `PosedPicture`."""

    def level_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Values at lattice corners (X, Y, Z) float32, zero on the surface and negative inside, and their
        4×4 world_from_grid."""
