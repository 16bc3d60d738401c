"""A mesh as a grid of signed distances."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes

from ...formats.mesh import Mesh
from ..kernels.closest import closest_triangles
from ..kernels.columns import column_windings
from . import topology

# Cells of free space around the mesh.
_MARGIN = 2
# Distances are exact this many cells from the surface, farther off they only keep their sign.
_BAND = 2.0
# An open mesh has no inside: its surface becomes a wall of this many cells on either side.
_WALL = 0.75


def signed_distance_grid(mesh: Mesh, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Signed distances (X, Y, Z) float32 in metres, negative inside, and the grid's world_from_grid.

    resolution: cells along the longest side of the mesh. Inside is where the winding number is not 0; along lines
    in all three directions, two of which must agree, where the mesh has open edges; its hollows are filled.
    """
    low = mesh.vertices.min(axis=0).astype(np.float64)
    size = np.ptp(mesh.vertices, axis=0).astype(np.float64)
    cell = float(size.max()) / resolution
    shape = (np.maximum(np.ceil(size / cell), 1) + 2 * _MARGIN).astype(int)
    # The first point lies half a cell inside the margin: points stand at the centres of cells that fill the box.
    origin = low + size / 2 - cell * (shape - 1) / 2
    triangles = (mesh.triangles() - origin) / cell

    closed = bool((topology.edges(mesh.faces).count == 2).all())
    inside = _inside(triangles, shape, closed)
    distance = np.full(shape, _BAND, np.float32)
    near = _near(triangles, shape)
    distance[tuple(near.T)] = np.minimum(closest_triangles(near, triangles)[0], _BAND)
    distance[inside] *= -1
    if not closed:
        distance = np.minimum(distance, np.abs(distance) - _WALL)
        # Walls inside walls leave hollows that nobody sees.
        hollow = binary_fill_holes(distance < 0) & (distance >= 0)
        distance[hollow] = -np.maximum(distance[hollow], np.finfo(np.float32).tiny)
    world_from_grid = np.diag([cell, cell, cell, 1.0])
    world_from_grid[:3, 3] = origin
    return distance * np.float32(cell), world_from_grid


def _inside(triangles: np.ndarray, shape: np.ndarray, closed: bool) -> np.ndarray:
    votes = (column_windings(triangles, tuple(shape.tolist())) != 0).astype(np.int8)
    if closed:
        return votes > 0
    for turn in (1, 2):  # x, y, z turned round keep their handedness
        axes = np.roll([0, 1, 2], -turn)
        windings = column_windings(triangles[..., axes], tuple(shape[axes].tolist()))
        votes += (windings != 0).transpose(np.argsort(axes))
    return votes >= 2


def _near(triangles: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Lattice points (N, 3) within the band: blocks are halved, those too far from the surface dropped."""
    step = 16
    blocks = np.argwhere(np.ones(-(-shape // step), bool)) * step
    while step > 1:
        radius = np.sqrt(3) / 2 * (step - 1)
        distance, _ = closest_triangles(blocks + (step - 1) / 2, triangles)
        blocks = blocks[distance <= radius + _BAND]
        step //= 2
        halves = np.array([[x, y, z] for x in (0, step) for y in (0, step) for z in (0, step)])
        blocks = (blocks[:, None] + halves).reshape(-1, 3)
        blocks = blocks[(blocks < shape).all(axis=1)]
    return blocks
