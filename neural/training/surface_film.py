"""The almost flat parts of a visual hull, drawn flat.

A hull bulges over every flat side: the views that look along the side cut it, those a little before it leave more.
Where a side has little texture nothing else tells that it is flat, and the optimisation leaves it as it begins. So
what is nearly flat begins as a film over what is curved around it, whose edges the silhouettes give exactly.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

from ...formats.mesh import Mesh
from ..meshing.marching_cubes import marching_cubes
from ..meshing.normals import smooth_normals

AROUND = 48  # vertices, within about four voxels, over which normals are smoothed and compared
SMOOTH, TIMES, LIKE = 3.0, 6, 0.3  # voxels, how often, and the difference of normals at which they count less
FLAT = 0.025  # 1/voxels: what bends less counts as flat; a ball as wide as a lattice of 80 voxels bends as much
NEXT = 8  # vertices that a film is tied to
RING = 2  # steps of NEXT by which a film stays away from what is curved
SAME_SIDE = 0.9  # cosine between the normals of vertices that are tied


def flattened(distances: np.ndarray, reach: float) -> np.ndarray:
    """Signed distances (X, Y, Z), in voxels, with the almost flat parts of their surface drawn flat.

    Only values within `reach` of the surface follow it. What bends more than FLAT stays as it is: the rim of each
    film. The film is the surface of least area, to first order: its vertices move along their normals.
    """
    mesh = marching_cubes(np.ascontiguousarray(distances, np.float32), np.eye(4), closed=True)
    if len(mesh.vertices) <= AROUND:
        return distances
    moves = film(mesh)
    near = np.abs(distances) < reach
    distance, number = cKDTree(mesh.vertices).query(np.argwhere(near), 4)
    weight = 1 / (distance + 0.2) ** 2
    moved = distances.copy()
    moved[near] -= (weight * moves[number]).sum(axis=1) / weight.sum(axis=1)
    return moved


def film(mesh: Mesh) -> np.ndarray:
    """How far (V,) each vertex moves out along its normal for the mesh's flat parts to be films; lengths in voxels."""
    points = mesh.vertices.astype(np.float64)
    distance, near = cKDTree(points).query(points, AROUND)
    normals = _smoothed(smooth_normals(mesh).normals.astype(np.float64), distance, near)
    turn = np.linalg.norm(normals[near] - normals[:, None], axis=-1)
    flat = np.sqrt((turn**2).sum(axis=1) / np.maximum((distance**2).sum(axis=1), 1e-12)) < FLAT
    for _ in range(RING):
        flat &= flat[near[:, :NEXT + 1]].all(axis=1)
    moves = np.zeros(len(points))
    free = np.flatnonzero(flat)
    if not len(free):
        return moves
    first, second = np.repeat(np.arange(len(points)), NEXT), near[:, 1:NEXT + 1].ravel()
    tied = (normals[first] * normals[second]).sum(axis=1) > SAME_SIDE
    first, second = first[tied], second[tied]
    apart = points[first] - points[second]
    weight = sparse.diags(np.exp(-(apart**2).sum(axis=1) / 2))
    tie = np.arange(len(first))
    # Least squares of the ties' lengths; the small diagonal holds what no rim holds.
    system, force = 1e-6 * sparse.eye(len(free)), np.zeros(len(free))
    for axis in range(3):
        values = np.concatenate([normals[first, axis], -normals[second, axis]])
        by_move = sparse.csr_matrix((values, (np.tile(tie, 2), np.concatenate([first, second]))),
                                    (len(first), len(points)))[:, free]
        system = system + by_move.T @ weight @ by_move
        force -= by_move.T @ (weight @ apart[:, axis])
    moves[free] = spsolve(system.tocsc(), force)
    return moves


def _smoothed(normals: np.ndarray, distance: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Normals (V, 3) averaged over those `near` that look about the same way, so that edges stay."""
    by_distance = np.exp(-(distance / SMOOTH) ** 2 / 2)
    for _ in range(TIMES):
        turn = ((normals[near] - normals[:, None]) ** 2).sum(axis=-1)
        weight = by_distance * np.exp(-turn / (2 * LIKE**2))
        normals = (weight[..., None] * normals[near]).sum(axis=1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return normals
