"""The plane at which a scan of a part ends.

The faces of a closed surface, each as large as it is along its normal, add up to nothing. Where a plane cuts the
surface they add up to the section that is open, and point away from what is missing. The edge that the points have at
the plane says where it is. No section has more area than an outline of its length encloses: where it seems to, what
the scan lacks is not beyond a plane, as in what is seen from one side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

NEIGHBOURS = 24
GAP = np.radians(110)  # a point is at an edge where no neighbour lies within such an angle
SURE = 3.0  # standard deviations of the sum of faces, where a part is certainly missing
CONE = np.radians(30)  # about that sum the plane's direction lies
DIRECTIONS, ROUNDS = 200, 5  # that are tried at once, ever closer together
FACING = 0.7  # cosine above which a face at the plane closes the surface there
BEYOND = 0.005  # share of the points that noise may carry beyond the plane


@dataclass(frozen=True)
class Cut:
    """A plane, and what a scan lacks lies where `direction` points."""

    direction: np.ndarray  # (3,) of length 1
    height: float  # of the plane along it, metres
    section: np.ndarray  # (3,) metres, the middle of the section

    def before(self, points: np.ndarray) -> np.ndarray:
        """How far points (N, 3) lie on the side that was seen (N,), metres."""
        return self.height - points @ self.direction


def closes(points: np.ndarray, normals: np.ndarray) -> bool:
    """Whether the faces that the points (N, 3) stand for add up to no more than chance gives: little is missing."""
    return _faces(normals, _neighbours(points)[1])[1]


def find_cut(points: np.ndarray, normals: np.ndarray) -> Cut | None:
    """The plane where the points (N, 3) with outward normals end, None where there is none to be sure of."""
    index, area = _neighbours(points)
    faces, closed = _faces(normals, area)
    if closed:
        return None
    size = float(np.linalg.norm(faces))
    edge = _at_edge(points, index[:, 1:])
    width = 3.6 * float(np.median(np.sqrt(area / np.pi)))  # of the band along the plane that is looked at
    generator = np.random.default_rng(0)
    best, spread = faces / size, np.sin(CONE) / 2
    for _ in range(ROUNDS):
        tried = np.concatenate((best[None], best + spread * generator.normal(size=(DIRECTIONS, 3))))
        tried /= np.linalg.norm(tried, axis=1, keepdims=True)
        tried = tried[tried @ faces > np.cos(CONE) * size]
        along = points @ tried.T
        band = along > np.quantile(along, 1 - BEYOND, axis=0) - width
        closing = np.clip((normals @ tried.T - FACING) / (1 - FACING), 0, None)
        best = tried[((edge[:, None] - closing) * band).sum(axis=0).argmax()]
        spread /= 2
    along = points @ best
    near = along > np.quantile(along, 1 - BEYOND) - width
    outline = float(area[near].sum()) / width
    if 4 * np.pi * size > outline**2:
        return None
    height = float(np.quantile(along, 1 - BEYOND / 5))
    middle = (points[near].min(axis=0) + points[near].max(axis=0)) / 2
    return Cut(best, height, middle + best * (height - middle @ best))


def _neighbours(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest points of each, itself first (N, K), and how much of the surface it stands for (N,)."""
    away, index = cKDTree(points).query(points, min(NEIGHBOURS + 1, len(points)))
    return index, np.pi * away[:, -1] ** 2 / NEIGHBOURS


def _faces(normals: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, bool]:
    """What all faces lack of adding up to nothing (3,), and whether that is chance."""
    faces = -(normals * area[:, None]).sum(axis=0)
    return faces, bool(np.linalg.norm(faces) < SURE * np.linalg.norm(area))


def _at_edge(points: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Whether the neighbours (N, K) of each point, in the plane that they lie in, are all to one side of it (N,)."""
    offset = points[neighbours] - points[:, None]
    axes = np.linalg.eigh(np.einsum("nki,nkj->nij", offset, offset))[1][..., 1:]
    angle = np.sort(np.arctan2(*np.moveaxis(np.einsum("nki,nij->nkj", offset, axes), -1, 0)), axis=1)
    around = np.concatenate((angle, angle[:, :1] + 2 * np.pi), axis=1)
    return np.diff(around, axis=1).max(axis=1) > GAP
