"""One cube a filled voxel, as PyTorch3D's `ops/cubify.py` does (Gkioxari, Johnson and Malik 2019, Mesh R-CNN)."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np

from ...formats.mesh import Mesh

_SIDES = {-1: [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0)], 1: [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)]}


def side_corners(axis: int, step: int) -> np.ndarray:
    """The corners (4, 3) of a voxel's side, counter-clockwise seen from outside, as offsets from its first corner.

    step: −1 or 1, the side before or behind the voxel on the axis.
    """
    return np.roll(_SIDES[step], axis, axis=1)


def cubify(probabilities: np.ndarray, threshold: float,
           align: Literal["topleft", "corner", "center"] = "topleft") -> Mesh:
    """Turn each voxel with probability ≥ `threshold` into a cube; sides between two filled voxels are left out.

    probabilities: (X, Y, Z); PyTorch3D's own order is (Z, Y, X).
    align: where lattice corner i of D voxels lies on its axis: "topleft" 2i/(D−1) − 1 (PyTorch3D's default, half a
    voxel off), "corner" 2i/D − 1 (the grid fills [−1, 1]³: for anything that is put into a scene), "center"
    2(i − ½)/(D−1) − 1 (the outer voxels' centres lie at ±1). The first and the last need two voxels an axis.
    Voxels that touch only along an edge or at a corner share its vertices: the mesh is not manifold there.
    """
    if probabilities.ndim != 3:
        raise ValueError(f"probabilities has shape {probabilities.shape}; (X, Y, Z) is expected")
    if align not in ("topleft", "corner", "center"):
        raise ValueError(f"align is {align!r}; one of topleft, corner, center is expected")
    size = np.array(probabilities.shape)
    if align != "corner" and size.min() < 2:
        raise ValueError(f"align {align!r} needs two voxels an axis, the grid has {tuple(size)}; use 'corner'")
    filled = np.pad(probabilities >= threshold, 1)
    inner = filled[1:-1, 1:-1, 1:-1]
    sides = []
    for axis, step in product(range(3), (-1, 1)):
        neighbour = np.roll(filled, -step, axis)[1:-1, 1:-1, 1:-1]
        sides.append(np.argwhere(inner & ~neighbour)[:, None] + side_corners(axis, step))
    quads = np.concatenate(sides)  # (Q, 4, 3) lattice corners
    lattice, corner = np.unique(np.ravel_multi_index(tuple(np.moveaxis(quads, -1, 0)), tuple(size + 1)),
                                return_inverse=True)
    corner = corner.reshape(-1, 4)
    faces = corner[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    points = np.stack(np.unravel_index(lattice, tuple(size + 1)), axis=1).astype(np.float64)
    if align == "corner":
        points = 2 * points / size - 1
    else:
        points = 2 * (points - (0.5 if align == "center" else 0)) / (size - 1) - 1
    return Mesh(points, faces, quads=len(corner))
