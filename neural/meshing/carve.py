"""Giving a solid the outline of a picture: what stands out is cut off, what is missing is put on.

Moving vertices mends an outline that is nearly right. A hole that the shape lacks, or a leg, needs other connections.
So the shape is drawn into a lattice whose columns are the picture's rays, where its silhouette is a matter of columns:
those outside the outline are emptied (as shape from silhouette does, Laurentini 1994), and those inside it that are
empty are filled as `inflate` would, in the depth and of the thickness of what is beside them.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage
from scipy.special import ndtri

from ...formats.mesh import Mesh
from ..kernels.columns import column_windings
from ..predictors.inflate import level_of, squared_thickness
from .clean import remove_inner_shells
from .decimate import decimate
from .marching_cubes import marching_cubes
from .split import split_long_edges

FACES = 16_000
MARGIN = 3  # slices before and behind the shape
ROUND = 3.0  # columns: the radius of the edge along a cut
BLUR = 1.2  # of the shape's steps in the lattice, in columns
FADE = 8.0  # columns beside what is missing over which what is put on sinks into the shape
THICK = 0.3, 1.5  # times as thick as wide what is put on may be
DEEP = 16.0  # columns beside what is missing whose depth and thickness count


def carve(mesh: Mesh, alpha: np.ndarray, distance: float) -> Mesh:
    """A closed mesh of the view frame with the silhouette where alpha (S, S) of the crop is at least half.

    Of about `FACES` faces; what is smaller than a pixel is lost.
    """
    side = len(alpha)
    step = 2 / side
    mesh = split_long_edges(mesh, 6 * step)  # a small face is as good as flat in perspective
    places = mesh.vertices.astype(np.float64)
    low, high = places[:, 2].min() / step, places[:, 2].max() / step
    slices = np.arange(math.floor(low) - MARGIN, math.ceil(high) + MARGIN + 1)
    over = distance / (distance - places[:, 2]) / step
    corners = np.stack((side / 2 - 0.5 - places[:, 1] * over, side / 2 - 0.5 + places[:, 0] * over,
                        places[:, 2] / step - slices[0]), axis=1)
    filled = column_windings(corners[mesh.faces], (side, side, len(slices))) != 0
    level = level_of(alpha)
    outline = _outline_distance(level)
    field = _smooth_minimum(_smooth_distance(filled), outline[..., None])
    field = np.maximum(field, _put_on(field, outline, squared_thickness(level), slices))
    index_from_grid = np.eye(4)
    index_from_grid[2, 3] = slices[0]
    found = marching_cubes(-field, index_from_grid, closed=True)
    row, column, depth = found.vertices.T.astype(np.float64)
    z = depth * step
    shrink = (distance - z) / distance
    vertices = np.stack((((column + 0.5) * step - 1) * shrink, (1 - (row + 0.5) * step) * shrink, z), axis=1)
    return decimate(remove_inner_shells(Mesh(vertices, found.faces)), FACES)


def _smooth_distance(filled: np.ndarray) -> np.ndarray:
    """About the distance of lattice points from the border of what is filled, positive inside, in steps.

    The share of a Gaussian that lies behind a plane says how far away that is; farther off only the sign counts.
    """
    share = ndimage.gaussian_filter(filled.astype(np.float32), BLUR, truncate=3)
    return ndtri(np.clip(share, 1e-4, 1 - 1e-4)) * np.float32(BLUR)


def _outline_distance(level: np.ndarray) -> np.ndarray:
    """Of pixels from the outline, positive inside; finer than a pixel where the level is: about alpha less 1/2."""
    away = ndimage.distance_transform_edt(level > 0) - ndimage.distance_transform_edt(level <= 0)
    return np.where(np.abs(level) < 0.48, level, away - 0.5 * np.sign(away)).astype(np.float32)


def _smooth_minimum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The lesser of both, rounded where they are nearly the same."""
    near = np.clip(ROUND - np.abs(a - b), 0, None)
    return np.minimum(a, b) - near ** 2 / (4 * ROUND)


def _put_on(field: np.ndarray, outline: np.ndarray, squared: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """The field (X, Y, Z) of what columns inside the outline lack, −inf where nothing is to be put on."""
    solid = field > 0
    hit: np.ndarray = solid.any(axis=2)
    missing = (outline > 0) & ~hit
    width = np.sqrt(np.maximum(squared, 0))
    if not missing.any():
        return np.full((1, 1, 1), -np.inf)
    nearest, farthest = len(slices) - 1 - solid[..., ::-1].argmax(axis=2), solid.argmax(axis=2)
    middle = (slices[nearest] + slices[farthest]) / 2
    thick = np.clip((nearest - farthest + 1) / np.maximum(2 * width, 1), *THICK)
    middle, thick = (_spread(values, hit, default) for values, default in ((middle, 0.0), (thick, 1.0)))
    share = np.clip(1 - ndimage.distance_transform_edt(~missing) / FADE, 0, 1)
    half = width * thick * np.sqrt(share)
    away = half[..., None] - np.abs(slices - middle[..., None])
    away[share == 0] = -np.inf
    return np.minimum(away, outline[..., None])


def _spread(values: np.ndarray, known: np.ndarray, default: float) -> np.ndarray:
    """Values (S, S) where they are known, else the mean of those around, the nearer the more."""
    if not known.any():
        return np.full(values.shape, default)
    where = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    flat = values[tuple(where)]
    weight = ndimage.gaussian_filter(known.astype(float), DEEP / 2)
    smooth = ndimage.gaussian_filter(np.where(known, values, 0), DEEP / 2) / np.maximum(weight, 1e-9)
    return np.where(known, values, np.where(weight > 1e-3, smooth, flat))
