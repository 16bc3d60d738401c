"""A thread for each slice of a grid."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .dispatch import compiled
from .solid_fused import distance_at


def filled(solid: np.ndarray, unit: float, spacing: np.ndarray, view_from_object: np.ndarray, distance: np.ndarray,
           side: int, reach: float) -> np.ndarray:
    grids = np.zeros((len(solid), side, side, side), np.uint8)
    _fill(solid, spacing, view_from_object, distance, np.float32(reach * 2 / side / unit), grids)
    return grids


@compiled
def _fill(solid, spacing, view_from_object, distance, reach, grids):  # noqa: ANN001, ANN202
    side = grids.shape[1]
    for number in prange(len(grids) * side):
        b, d = number // side, number % side
        pose = view_from_object[b]
        square = pose[0, 0]**2 + pose[0, 1]**2 + pose[0, 2]**2
        z = 1 - (d + 0.5) * 2 / side
        width = (distance[b] - z) / distance[b]  # of the slice, to that at z = 0
        near = reach * width / math.sqrt(square)
        for j in range(side):
            y = (1 - (j + 0.5) * 2 / side) * width - pose[1, 3]
            for i in range(side):
                x = ((i + 0.5) * 2 / side - 1) * width - pose[0, 3]
                px = (pose[0, 0] * x + pose[1, 0] * y + pose[2, 0] * (z - pose[2, 3])) / square
                py = (pose[0, 1] * x + pose[1, 1] * y + pose[2, 1] * (z - pose[2, 3])) / square
                pz = (pose[0, 2] * x + pose[1, 2] * y + pose[2, 2] * (z - pose[2, 3])) / square
                grids[b, d, j, i] = distance_at(solid[b], spacing[b], px, py, pz) < near
