"""The surface that makes noisy points most likely, by expectation and maximisation (Dempster, Laird and Rubin 1977).

Each point is a place of the surface, drawn by area, plus Gaussian noise: a mixture with a component at every vertex
(Myronenko and Song 2010, Point set registration, section 3, where the components are points). So a point between the
two sides of a part that is as thin as the noise counts for both, by how likely either is, and pulls neither inwards
or outwards alone. The prior is a thin plate's: the squared Laplacian of the mesh.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from ...formats.mesh import Mesh
from ..meshing.marching_cubes import marching_cubes

CELL = 1.5  # times the noise: vertices as far apart as the data can tell
_NEAR = 20  # vertices that a point may come from: all within two deviations, of two sides
_STEPS, _STEPS_AT_NOISE = 10, 4
_AGAIN = 4  # steps with the same neighbours
_WARM = 3  # steps before the noise is taken anew
_STIFF = (3.0, 10.0, 30.0, 100.0)  # weights of the prior, in the points of a usual vertex
_BEGIN = 5.0  # the one to begin with
_CHANCE = 0.015  # nats a point: two standard errors of a mean of 20,000
_STRAY = 1e-3  # the density of points that belong to nothing, in that of a flat surface
_BATCH = 50_000
_FAR_BETTER = 0.25  # nats a point
_ENOUGH = 20_000  # points to choose by
_SHELL = 1.4  # noises, a cell of the envelope
_FINEST = 192  # cells of it along the longest side
_SPARSE = 0.2  # of the usual density at the points: less is free space


class Fit(NamedTuple):
    mesh: Mesh
    noise: float  # metres, one standard deviation across the surface
    likelihood: float  # mean logarithm over the points


def most_likely(surfaces: list[Mesh], points: np.ndarray, noise: float) -> Mesh:
    """Fit each closed surface, and the points' envelope, to points (N, 3) from about `noise` metres on; the best fit.

    They are compared at the greatest noise that any of them found, since two walls on either side of a layer of points,
    which is what a hole in a scan makes of an envelope, explain it with too little. They explain it as well as one
    wall does then, so that the envelope has to be better by far.
    """
    some = points[np.random.default_rng(0).permutation(len(points))[:_ENOUGH]]
    begun = [surface for surface in [*surfaces, envelope(points, noise)] if len(surface.faces)]
    fits = [fit(surface, some, noise, _STEPS) for surface in begun]
    common = max(found.noise for found in fits)
    scores = [fit(found.mesh, some, common, _STEPS_AT_NOISE, known=True).likelihood for found in fits]
    scores[-1] -= _FAR_BETTER
    best = fits[int(np.argmax(scores))]
    stiff = _stiffest(best, some)
    return fit(best.mesh, points, best.noise, _STEPS_AT_NOISE, known=True, stiff=stiff).mesh


def _stiffest(found: Fit, points: np.ndarray) -> float:
    """The stiffest prior that lets one half of the points foretell the other as well as any, but for chance."""
    half, other = points[::2], points[1::2]
    foretold = []
    for stiff in _STIFF:
        trained = fit(found.mesh, half, found.noise, _STEPS_AT_NOISE, known=True, stiff=stiff).mesh
        foretold.append(fit(trained, other, found.noise, 1, known=True).likelihood)
    return max(stiff for stiff, likelihood in zip(_STIFF, foretold, strict=True)
               if likelihood >= max(foretold) - _CHANCE)


def fit(surface: Mesh, points: np.ndarray, noise: float, steps: int, known: bool = False, stiff: float = _BEGIN
        ) -> Fit:
    """Move a surface's vertices to where points (N, 3) are most likely; `known` noise (metres) is not taken anew.

    The likelihood is that before the last step.
    """
    vertices, faces = surface.vertices.astype(np.float64), surface.faces
    bending = _bending(faces, len(vertices))
    likelihood = -np.inf
    for step in range(steps):
        normals, areas = _normals_and_areas(vertices, faces)
        if step % _AGAIN == 0:
            near = cKDTree(vertices).query(points, k=min(_NEAR, len(vertices)), workers=-1)[1].astype(np.int32)
        weight, pull, square, likelihood = _expected(points, near, vertices, normals, areas, noise)
        system = sparse.diags(weight) + stiff * weight.mean() * bending
        target = weight[:, None] * vertices + pull[:, None] * normals
        inverse = sparse.diags(1 / np.maximum(system.diagonal(), 1e-300))
        vertices = np.stack([cg(system, target[:, axis], x0=vertices[:, axis], rtol=1e-4, maxiter=40, M=inverse)[0]
                             for axis in range(3)], axis=1)
        if not known and step >= _WARM:
            noise = float(np.sqrt(square / max(weight.sum(), 1e-300)))
    return Fit(replace(surface, vertices=vertices.astype(np.float32)), noise, likelihood)


def envelope(points: np.ndarray, noise: float) -> Mesh:
    """Around all points (N, 3) and whatever they enclose, as seen from outside: parts as thin as the noise stay.

    Where a scan has holes the inside is free space as well, and the envelope a double wall.
    """
    cell = max(_SHELL * noise, float(np.ptp(points, axis=0).max()) / _FINEST)
    origin = points.min(axis=0) - 4 * cell
    place = np.round((points - origin) / cell).astype(np.int64)
    shape = tuple((place.max(axis=0) + 5).tolist())
    count = np.bincount(np.ravel_multi_index(tuple(place.T), shape), minlength=int(np.prod(shape)))
    density = ndimage.gaussian_filter(count.reshape(shape).astype(np.float32), 0.9)
    density /= _SPARSE * max(float(np.median(density[tuple(place.T)])), 1e-300)
    free = density < 1
    region, _ = ndimage.label(free)
    density[free & (region != region[0, 0, 0])] = 2
    world_from_grid = np.diag([cell, cell, cell, 1.0])
    world_from_grid[:3, 3] = origin
    return marching_cubes(-density, world_from_grid, -1.0, closed=True)


def _expected(points: np.ndarray, near: np.ndarray, vertices: np.ndarray, normals: np.ndarray, areas: np.ndarray,
              noise: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """How many points each vertex answers for (V,), the sum (V,) of how far these lie along its normal, the sum of the
    squares of that, and the mean logarithm of the points' likelihood."""
    weight, pull = np.zeros(len(vertices)), np.zeros(len(vertices))
    square = logarithm = 0.0
    flat = 2 * np.pi * noise**2  # what vertices all around on a plane sum up to
    for start in range(0, len(points), _BATCH):
        here = near[start:start + _BATCH]
        away = points[start:start + _BATCH, None] - vertices[here]
        along = (away * normals[here]).sum(axis=2)
        share = areas[here] * np.exp(-(away**2).sum(axis=2) / (2 * noise**2))
        total = share.sum(axis=1) + _STRAY * flat
        logarithm += float(np.log(total / (areas.sum() * np.sqrt(2 * np.pi) ** 3 * noise**3)).sum())
        share /= total[:, None]
        weight += np.bincount(here.ravel(), share.ravel(), minlength=len(vertices))
        pull += np.bincount(here.ravel(), (share * along).ravel(), minlength=len(vertices))
        square += float((share * along**2).sum())
    return weight, pull, square, logarithm / len(points)


def _bending(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    """LᵀL (V, V) of the umbrella Laplacian."""
    sides = np.concatenate((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]))
    sides = np.concatenate((sides, sides[:, ::-1]))
    linked = sparse.coo_matrix((np.ones(len(sides)), tuple(sides.T)), shape=(count, count)).tocsr()
    linked.data[:] = 1
    mean = sparse.diags(1 / np.maximum(linked.sum(axis=1).A1, 1)) @ linked
    laplacian = mean - sparse.identity(count)
    return (laplacian.T @ laplacian).tocsr()


def _normals_and_areas(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each vertex: the unit normal (V, 3), and a third (V,) of its faces' area."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    cross = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    normals = np.stack([np.bincount(faces.ravel(), along, minlength=len(vertices)) for along in cross.T], axis=1)
    areas = np.bincount(faces.ravel(), np.linalg.norm(cross, axis=1) / 6, minlength=len(vertices))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300), areas
