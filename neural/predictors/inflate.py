"""A closed surface inflated from the silhouette: no network, no weights, an answer at once.

The square of the half thickness, u = h², solves Poisson's equation −Δu = 4 with u = 0 on the outline: a disc becomes a
sphere. That is smooth wherever the outline is, and has the vertical tangent at the outline that a membrane's height,
−Δh = c, lacks (Igarashi et al. 1999, Teddy; Joshi and Carr 2008, Repoussé, for what else is done). But a long bar would
be √2 times as thick as wide. What is right for both is the union of the spheres over all discs in the silhouette
(Twarog, Tappen and Adelson 2012, Playing with Puffball), which has creases. So Poisson's solution is kept, times a
smooth factor, from 1/2 for a strip to 1 for a disc, that brings it as near to the spheres as it can.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from torch import Tensor

from ...formats.mesh import Mesh
from ...recipes.errors import InputError
from ..meshing.decimate import decimate
from ..meshing.marching_cubes import marching_cubes
from .predictor import Predictor

FACES = 6000
SMALLEST = 0.001  # a part or a hole of less than this share of the largest part's area is left out
SOFTEN = 0.5  # pixels, standard deviation of the blur that turns the steps of a hard mask into a smooth outline
FACTOR = 0.5, 1.0  # of Poisson's solution: in an endless strip, in a disc
NEAREST = 0.05  # pixels: the outline counts as no nearer to a pixel's centre than that
REACH = 0.5  # over which the factor varies, of the local half thickness


class Network(Predictor):
    """Nothing is learned: the shape is as thick as it is wide, and its front is its back."""

    method = "inflate"
    mirror = np.array([0.0, 0.0, 1.0]), 0.0

    def predict(self, images: Tensor, distance: Tensor) -> Mesh:
        """The first picture's alpha, inflated. Points lie on the rays of the silhouette's pixels and nowhere else.

        Raises InputError where no pixel is half opaque.
        """
        return inflated(images[0, 3].detach().cpu().numpy().astype(np.float64), float(distance))


def inflated(alpha: np.ndarray, distance: float) -> Mesh:
    """The surface, in the view frame, of about `FACES` faces, whose silhouette is where alpha (S, S) ≥ 1/2.

    Parts and holes are kept, except for specks. distance: of the camera from the view frame's origin.
    """
    level = level_of(alpha)
    squared = squared_thickness(level)
    step = 2 / len(alpha)
    tall = math.ceil(math.sqrt(squared.max())) + 1
    slices = np.arange(-tall, tall + 1.0)
    index_from_grid = np.eye(4)
    index_from_grid[2, 3] = -tall
    mesh = marching_cubes(slices ** 2 - squared[..., None], index_from_grid)
    row, column, up = mesh.vertices.T.astype(np.float64)
    # Where a vertex lies between two slices its height is known, and not linear there.
    between = (row == np.rint(row)) & (column == np.rint(column))
    up[between] = np.copysign(np.sqrt(squared[row[between].astype(int), column[between].astype(int)]), up[between])
    middle, scale = (ndimage.map_coordinates(field, (row, column), order=1)
                     for field in _perspective(squared * step ** 2, level > 0, distance))
    z = middle + scale * up * step
    # The nearest and the farthest point are as far from 0: the scale about the camera is free.
    size = 2 * distance / (2 * distance - z.max() - z.min())
    z = distance - size * (distance - z)
    shrink = (distance - z) / distance
    x, y = ((column + 0.5) * step - 1) * shrink, (1 - (row + 0.5) * step) * shrink
    return decimate(Mesh(np.stack((x, y, z), axis=1), mesh.faces), FACES)


def level_of(alpha: np.ndarray) -> np.ndarray:
    """Alpha less 1/2, (S, S), without specks and blurred a little; the border is outside."""
    level = ndimage.gaussian_filter(np.pad(alpha[1:-1, 1:-1], 1), SOFTEN) - 0.5
    level[[0, -1]] = level[:, [0, -1]] = -0.5
    least = math.inf
    for sign in (1, -1):
        parts, count = ndimage.label(sign * level > 0, np.ones((3, 3)) if sign < 0 else None)
        if not count:
            raise InputError("picture: no pixel is half opaque, so there is no outline; give a picture or a mask "
                             "that shows an object")
        area = np.bincount(parts.reshape(-1))[1:]
        least = SMALLEST * area.max() if sign > 0 else least
        speck = np.append(False, area < least)[parts]
        level[speck] = -sign * 1e-3
    return level


def squared_thickness(level: np.ndarray) -> np.ndarray:
    """u (S, S) in pixels², crossing 0 where `level` does; below 0 outside."""
    inside = level > 0
    number = np.full(level.shape, -1)
    number[inside] = np.arange(inside.sum())
    links, held, crossings = _neighbours(level, number)
    count = int(inside.sum())
    laplacian = csc_matrix(diags(np.asarray(links.sum(axis=1)).reshape(-1)) - links)
    poisson = _solved(laplacian + diags(held), np.full(count, 4.0))
    spheres = _spheres(inside, crossings)[inside]
    # Minimises Σ v (s − spheres / v)² + reach² v² |∇s|², where a thin part has a short reach and a thick one a long.
    width = np.full(level.shape, 0.0)
    width[inside] = poisson
    ends = coo_matrix(links)
    weight = (REACH ** 2) * poisson[ends.row] * poisson[ends.col]
    stiff = coo_matrix((weight, (ends.row, ends.col)), shape=links.shape).tocsc()
    stiff = diags(np.asarray(stiff.sum(axis=1)).reshape(-1)) - stiff
    factor = np.clip(_solved(csc_matrix(stiff + diags(poisson)), spheres), *FACTOR)
    squared = np.zeros(level.shape)
    squared[inside] = factor * poisson
    # Outside u goes on as it comes in: as many times the level as next to it inside.
    border = inside & ndimage.binary_dilation(~inside, np.ones((3, 3)))
    near, share = (ndimage.uniform_filter(np.where(border, values, 0), 3)
                   for values in (squared, np.maximum(level, NEAREST)))
    ratio = near / np.maximum(share, 1e-6)
    squared[~inside] = (np.minimum(level, -1e-3) * np.maximum(ratio, 1e-3))[~inside]
    return squared


def _neighbours(level: np.ndarray, number: np.ndarray) -> tuple[csc_matrix, np.ndarray, np.ndarray]:
    """Of the pixels inside: which are side by side (N, N); what holds each to 0 at the outline (N,), one over the
    distance along each row or column that it crosses (Gibou et al. 2002); and where it is crossed (C, 2)."""
    pairs, held, crossings = [], np.zeros(number.max() + 1), []
    for axis in (0, 1):
        for step in (-1, 1):
            beyond, other = np.roll(number, -step, axis), np.roll(level, -step, axis)
            both = (number >= 0) & (beyond >= 0)
            pairs.append(np.stack((number[both], beyond[both])))
            out = (number >= 0) & (beyond < 0)
            share = level[out] / (level[out] - other[out])
            held[number[out]] += 1 / np.maximum(share, NEAREST)
            place = np.argwhere(out).astype(np.float64)
            place[:, axis] += step * share
            crossings.append(place)
    ends = np.concatenate(pairs, axis=1)
    links = coo_matrix((np.ones(ends.shape[1]), ends), shape=(len(held), len(held))).tocsc()
    return links, held, np.concatenate(crossings)


def _spheres(inside: np.ndarray, crossings: np.ndarray) -> np.ndarray:
    """The squared height (S, S) of the spheres over all discs that fit inside: max over y of d(y)² − |x − y|²."""
    height = np.zeros(inside.shape)
    height[inside] = cKDTree(crossings).query(np.argwhere(inside))[0] ** 2
    steps = np.arange(len(inside))
    bowl = (steps[:, None] - steps) ** 2.0
    for _ in (0, 1):  # one axis after the other
        height = (height[:, None, :] - bowl[None]).max(axis=2).T
    return height


def _solved(system: csc_matrix, right: np.ndarray) -> np.ndarray:
    """The solution of a symmetric, positive definite system."""
    factors = splu(csc_matrix(system), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
                   options={"SymmetricMode": True})
    return factors.solve(right)


def _perspective(squared: np.ndarray, inside: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Along each pixel's ray: z of the middle between front and back, and by how much the half thickness shrinks.

    A ball is u = R² − |p − c|² about a place c, so that p − c = −∇u / 2. The middle of what a ray has of it is the
    ray's point nearest to its centre, and a ball in the picture's middle is met exactly.
    """
    side = len(squared)
    axis = (np.arange(side) + 0.5) * 2 / side - 1
    most = 2 * math.sqrt(squared.max())  # of a ball as thick as the thickest part
    down, right = (np.clip(slope, -most, most) for slope in np.gradient(squared, 2 / side))
    along = axis[:, None] * down + axis * right
    slant = 1 + (axis[:, None] ** 2 + axis ** 2) / distance ** 2
    radius = np.maximum(squared, 0) + (down ** 2 + right ** 2) / 4
    middle, scale = -along / (2 * distance * slant), 1 / (slant * np.sqrt(1 + radius / distance ** 2))
    nearest = tuple(ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True))
    return middle[nearest], scale[nearest]
