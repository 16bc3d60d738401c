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
FACING = 0.5  # cosine between a view and a surface below which it is seen too flatly
DISAGREE = 2.5  # times the usual deviation of colours from which views do not agree
LEAST = 0.01  # of a colour; less is noise and rounding wherever it is
MOST = 64  # views that are asked; more bring little and take memory
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
    deviation = _deviation(hull, pictures[::-(-len(pictures) // MOST)], lattice.voxel)
    tree = cKDTree(hull.vertices)
    around = deviation[tree.query(hull.vertices, min(AROUND, len(deviation)))[1]].reshape(len(deviation), -1)
    known = np.isfinite(around)
    mean = np.where(known, around, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    usual = float(np.median(mean[known.any(axis=1)])) if known.any() else 0.0
    agree = mean < max(DISAGREE * usual, LEAST)
    return lambda points: agree[tree.query(points)[1]]


def _deviation(hull: Mesh, pictures: Sequence[PosedPicture], voxel: float) -> np.ndarray:
    """How much darker (V,) some views see a mesh's vertices than most do, NaN where fewer than FEWEST look.

    What is hidden in a hollow is lighter for some views and darker for others; gloss is lighter alone.
    """
    colors = np.full((len(pictures), len(hull.vertices), 3), np.nan, np.float32)
    for picture, found in zip(pictures, colors, strict=True):
        _see(hull, picture, voxel, found)
    seen = np.isfinite(colors[..., 0]).sum(axis=0) >= FEWEST
    darker = np.minimum(colors[:, seen] - np.nanmedian(colors[:, seen], axis=0), 0)
    deviation = np.full(len(seen), np.nan)
    deviation[seen] = np.sqrt(np.nanmean(darker**2, axis=0).sum(axis=-1))
    return deviation


def _see(hull: Mesh, picture: PosedPicture, voxel: float, found: np.ndarray) -> None:
    """The colours of the vertices that a picture shows into `found` (V, 3)."""
    height, width = picture.rgba_srgb.shape[:2]
    projected = raster.project(hull.vertices, picture.fx, picture.fy, picture.cx, picture.cy, picture.world_from_camera)
    depth = rasterise(projected[hull.faces], height, width).depth
    x, y, z = projected.T
    toward = picture.world_from_camera[:3, 3] - hull.vertices
    facing = (toward * hull.normals).sum(axis=1) > FACING * np.linalg.norm(toward, axis=1)
    seen = np.flatnonzero((x >= 0) & (y >= 0) & (x < width) & (y < height) & (z > 0) & facing)
    # Colours next to the outline are half the background's; a vertex next to a nearer part is half hidden.
    within = ndimage.minimum_filter(picture.rgba_srgb[..., 3], 5) > 0.98
    behind = ndimage.maximum_filter(np.where(np.isfinite(depth), depth, 0), 3) + voxel
    row, column = y[seen].astype(int), x[seen].astype(int)
    seen = seen[within[row, column] & (z[seen] < behind[row, column])]
    if not len(seen):
        return
    blur = 0.5 * voxel * picture.fx / z[seen].mean()
    smooth = ndimage.gaussian_filter(picture.rgba_srgb[..., :3], (blur, blur, 0))
    at = [y[seen] - 0.5, x[seen] - 0.5]
    for c in range(3):
        found[seen, c] = ndimage.map_coordinates(smooth[..., c], at, order=1, mode="nearest")
