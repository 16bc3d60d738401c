"""Which voxels of frustum grids lie in solids that signed distances tell."""

from __future__ import annotations

import numpy as np
import torch

from .dispatch import body


def filled(solid: np.ndarray, unit: float, spacing: np.ndarray, view_from_object: np.ndarray, distance: np.ndarray,
           side: int, reach: float) -> np.ndarray:
    """Frustum grids (B, side, side, side) uint8, 1 where a voxel's centre (`predictors.view`) is inside, else 0.

    solid: (B, N, N, N) int8, signed distances in `unit`, trilinear between points `spacing` (B, 3) apart of a grid
    that is centred at 0 in the object's frame; outside of it nothing is filled. view_from_object: (B, 3, 4) a rotation
    times a scale, and a shift. distance: (B,) of the cameras. reach: of a voxel's side, that the solid may be away
    from a centre that counts as inside: 0, or some to keep what is thinner than a voxel whole.
    """
    if not side:
        return np.zeros((len(solid), 0, 0, 0), np.uint8)
    return body("filled", torch.device("cpu")).filled(
        solid, unit, *(np.asarray(values, np.float32) for values in (spacing, view_from_object, distance)), side, reach)
