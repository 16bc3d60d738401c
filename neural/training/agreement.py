"""Where the views agree with the visual hull about what is seen on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ...formats.mesh import Mesh
from ..geometry.posed import PosedPicture
from ..kernels.raster import rasterise
from ..meshing import raster
from ..meshing.marching_cubes import marching_cubes
from ..meshing.normals import smooth_normals
from ..rendering.lattice import Lattice

FEWEST = 4  # views; fewer say nothing
FACING = 0.5  # cosine between a view and a surface below which it is seen too flatly, and gloss is strong
DISAGREE = 1.9  # times the usual deviation of colours from which views do not agree
AROUND = 8  # vertices whose deviations are taken together


def agreed(pictures: Sequence[PosedPicture], distances: np.ndarray, lattice: Lattice
           ) -> Callable[[np.ndarray], np.ndarray]:
    """Tells of world points (N, 3) whether the views agree about the hull next to them, (N,) bool.

    `distances` are the hull's on the lattice's corners, in voxels. Views agree where they see about the same colour
    on it, as voxel colouring asks (Seitz and Dyer 1999). How much they may differ is measured on the hull itself:
    most of it is true, and gloss and noise are everywhere. Where too few views look they are taken to agree; of
    pictures without alpha, whose hull is but a box, none is.
    """
    hull = marching_cubes((distances * lattice.voxel).astype(np.float32), lattice.world_from_grid, closed=True)
    if not len(hull.faces) or not all(p.has_alpha for p in pictures):
        return lambda points: np.zeros(len(points), bool)
    hull = smooth_normals(hull)
    deviation = _deviation(hull, pictures, lattice.voxel)
    tree = cKDTree(hull.vertices)
    around = deviation[tree.query(hull.vertices, min(AROUND, len(deviation)))[1]].reshape(len(deviation), -1)
    known = np.isfinite(around)
    mean = np.where(known, around, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    agree = mean < DISAGREE * np.median(mean[known.any(axis=1)]) if known.any() else np.ones(len(mean), bool)
    return lambda points: agree[tree.query(points)[1]]


def _deviation(hull: Mesh, pictures: Sequence[PosedPicture], voxel: float) -> np.ndarray:
    """Standard deviation (V,) of the colours that views see at a mesh's vertices, NaN where fewer than FEWEST do."""
    count = len(hull.vertices)
    total, square, weight, views = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros(count), np.zeros(count, int)
    for p in pictures:
        height, width = p.rgba_srgb.shape[:2]
        x, y, z = projected = raster.project(hull.vertices, p.fx, p.fy, p.cx, p.cy, p.world_from_camera).T
        depth = rasterise(projected.T[hull.faces], height, width).depth
        toward = p.world_from_camera[:3, 3] - hull.vertices
        cosine = (toward * hull.normals).sum(axis=1) / np.linalg.norm(toward, axis=1)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (z > 0) & (cosine > FACING)
        seen = np.flatnonzero(inside)
        # Colours next to the outline are half the background's; a vertex next to a nearer part is half hidden.
        within = ndimage.minimum_filter(p.rgba_srgb[..., 3], 5) > 0.98
        behind = ndimage.maximum_filter(np.where(np.isfinite(depth), depth, 0), 3) + voxel
        row, column = y[seen].astype(int), x[seen].astype(int)
        seen = seen[within[row, column] & (z[seen] < behind[row, column])]
        if not len(seen):
            continue
        blur = 0.5 * voxel * p.fx / z[seen].mean()
        smooth = ndimage.gaussian_filter(p.rgba_srgb[..., :3], (blur, blur, 0))
        color = np.stack([ndimage.map_coordinates(smooth[..., c], [y[seen] - 0.5, x[seen] - 0.5], order=1,
                                                  mode="nearest") for c in range(3)], axis=1)
        share = cosine[seen, None]
        total[seen] += share * color
        square[seen] += share * color**2
        weight[seen] += share[:, 0]
        views[seen] += 1
    weight = np.maximum(weight, 1e-9)[:, None]
    variance = np.maximum(square / weight - (total / weight)**2, 0).sum(axis=1)
    return np.where(views >= FEWEST, np.sqrt(variance), np.nan)
