"""The signed distance of a scan: points, noisy or not, with normals or without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from ...formats.mesh import Mesh
from ...recipes.errors import InputError
from .likely_surface import CELL, most_likely
from .mesh_distance import MeshDistance
from .oriented_points import OrientedPoints, inliers, orient, orient_each
from .poisson import poisson

_FEWEST = 16
_FLAT = 1e-4  # of the largest extent: a cloud thinner than this bounds nothing
_CELL = 1 / 3  # of the radius of the neighbourhoods
_NOISY = 64  # points that a neighbourhood must average before it is flat
_NOISE = 1 / 4  # of the radius, where that is the noise's and not the density's
_NEAREST = 12
_STEPS = 2
_FAR = 1.5  # radii: a surface farther from all points than this is a guess
_OPEN = 0.05  # of the surface that may be a guess before the scan counts as open


class PointDistance:
    """A `Distance` to the surface that the points were taken from.

    Outliers go; the others are averaged over neighbourhoods as wide as their noise, which is read from how flat these
    are; normals are estimated and oriented where there are none; Poisson's equation says how the surface hangs
    together. Where it lies say the implicit moving least squares of the averaged points (Kolluri 2005) if there is
    little noise; else it is the most likely surface under it, of several beginnings where no normals are given. The
    distance is exact to the triangles of that.
    """

    lipschitz = 1.0

    def __init__(self, points: np.ndarray, normals: np.ndarray | None = None) -> None:
        """points: (N, 3) metres; normals: (N, 3) outward or inward alike, of any length."""
        points = np.asarray(points, np.float64)
        normals = None if normals is None else _checked(np.asarray(normals, np.float64), len(points))
        _check(points)
        points, first = np.unique(points, axis=0, return_index=True)
        if len(points) < _FEWEST:
            raise InputError(f"points: there are {len(points)} at different places; give at least {_FEWEST}")
        # Fourier's grid and its noise are at home around the origin.
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        surface, guessed = _reconstructed(points - centre, None if normals is None else normals[first])
        if not len(surface.faces):
            raise InputError("points: no surface bounds anything; give a scan of a solid, or its normals, too")
        self.guessed = float(guessed.mean())
        self.mesh = replace(surface, vertices=surface.vertices + centre)
        self.guesses = guessed
        self._distance = MeshDistance(self.mesh)

    @property
    def is_closed(self) -> bool:
        """Whether the points cover the surface; else part of it, the share `guessed`, is made up to close it."""
        return self.guessed <= _OPEN

    @property
    def box(self) -> np.ndarray:
        return self._distance.box

    def __call__(self, points: Tensor) -> Tensor:
        return self._distance(points)


def _check(points: np.ndarray) -> None:
    count = int((~np.isfinite(points).all(axis=1)).sum())
    if count:
        raise InputError(f"points: {count} of {len(points)} are not finite; remove them")
    if len(points) < _FEWEST:
        raise InputError(f"points: there are {len(points)}; give at least {_FEWEST}")
    extent = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    for number, shape in enumerate(("place", "line", "plane")):
        if extent[number] <= _FLAT * max(extent[0], 1e-300):
            raise InputError(f"points: all {len(points)} lie in one {shape}, which bounds nothing; "
                             "give a scan of a solid")


def _checked(normals: np.ndarray, count: int) -> np.ndarray:
    """Of unit length, zero where one is not finite or has no length."""
    if normals.shape != (count, 3):
        raise InputError(f"normals: there are {len(normals)} for {count} points; give one each or none")
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(np.isfinite(length) & (length > 0), normals / np.where(length > 0, length, 1), 0)


def _reconstructed(points: np.ndarray, normals: np.ndarray | None) -> tuple[Mesh, np.ndarray]:
    """The surface, and which of its vertices (V,) are far from all points."""
    cloud = orient(points, normals)
    if cloud.averaged < _NOISY:
        surface = _settled(poisson(cloud, _CELL * cloud.radius), cloud)
    else:
        noise = _NOISE * cloud.radius
        points = inliers(points)
        begun = [poisson(cloud, CELL * noise)]
        if normals is None:
            begun.append(poisson(orient_each(points), CELL * noise))
        surface = most_likely(begun, points, noise)
    return surface, _far(surface, cloud)


def _far(surface: Mesh, cloud: OrientedPoints) -> np.ndarray:
    return cKDTree(cloud.positions).query(surface.vertices, workers=-1)[0] > _FAR * cloud.radius


def _settled(surface: Mesh, cloud: OrientedPoints) -> Mesh:
    """The surface moved to the points where there are any."""
    tree = cKDTree(cloud.positions)
    vertices = surface.vertices.astype(np.float64)
    for _ in range(_STEPS):
        distance, near = tree.query(vertices, k=min(_NEAREST, len(cloud.positions)), workers=-1)
        weight = np.exp(-((2 * distance / cloud.radius) ** 2))[..., None]
        total = weight.sum(axis=1)
        normal = (weight * cloud.normals[near]).sum(axis=1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
        offset = ((cloud.positions[near] - vertices[:, None]) * cloud.normals[near]).sum(axis=2, keepdims=True)
        # Where few points are near, a vertex stays.
        vertices += (weight * offset).sum(axis=1) / (total + 0.1) * normal
    return replace(surface, vertices=vertices)
