"""The exact signed distance of any mesh: closed, open, run into itself, or a soup of triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...formats.mesh import Mesh
from ...recipes.errors import InputError
from ..kernels.closest import closest_triangles
from ..kernels.closest_tree import TriangleTree
from ..kernels.winding import WindingTree, winding_numbers, winding_slopes
from ..meshing import topology

# Inside from this winding number on: half of a closed surface's, and a hair so that the approximation's error does
# not make crumbs along a flat sheet, which has one half on both sides.
_INSIDE = 0.5 + 2e-3
# Barill's β where the number is whole, so that a rough one is enough, and where it changes slowly along a hole.
_FAR_ROUGH, _FAR_FINE = 1.5, 3.0
# A rough number this near to one half is taken again.
_DOUBT = 0.1


class MeshDistance:
    """A `Distance`: to the closest point of the triangles, negative where the surface winds around a point.

    The sign is the generalised winding number's (Jacobson, Kavan and Sorkine-Hornung 2013): inside is where its
    absolute value is at least one half. So parts that run into each other are one solid, a hollow with its faces
    turned inwards is a hollow, and a mesh or a part of it that is inside out is meant the other way round. Faces that
    all come twice, once each way, count once.

    An open surface is closed where the number is one half, by a smooth film from rim to rim. There the value is the
    lesser of the distance to the triangles and an estimate of that to the film. A sheet, which bounds nothing,
    has no inside: make a wall of it.
    """

    def __init__(self, mesh: Mesh) -> None:
        vertices = mesh.vertices
        if not len(mesh.faces):
            raise InputError("mesh: it has no faces; give one with a surface")
        if not np.isfinite(vertices[mesh.faces]).all():
            count = int((~np.isfinite(vertices).all(axis=1)).sum())
            raise InputError(f"mesh: {count} of {len(vertices)} vertices are not finite; remove or mend them")
        # What lies at one place is one vertex, whatever the file repeats.
        places, place = np.unique(vertices.astype(np.float64), axis=0, return_inverse=True)
        faces = _single(place.reshape(-1)[mesh.faces])
        self.box = np.stack((places[faces].min(axis=(0, 1)), places[faces].max(axis=(0, 1))))
        found = topology.edges(faces)
        self.open_edges = int((found.count == 1).sum())
        self._boundary = places[_boundary(found)]
        self._tree = TriangleTree(places[faces])
        self._winding = WindingTree(self._tree)

    @property
    def is_closed(self) -> bool:
        """Whether each side of a face is met by one that runs back: else the inside is a guess near the holes."""
        return not len(self._boundary)

    @property
    def lipschitz(self) -> float:
        """1, the distance's own, where the mesh is closed; an open one's film is at least half as far as estimated."""
        return 1.0 if self.is_closed else 2.0

    @property
    def unsigned(self) -> SurfaceDistance:
        """The distance to the triangles alone, without an inside."""
        return SurfaceDistance(self.box, self._tree)

    def __call__(self, points: Tensor) -> Tensor:
        return torch.from_numpy(self.at(points.detach().cpu().numpy())).to(points.device)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Values (N,) float32 at points (N, 3)."""
        points = np.asarray(points, np.float64)
        distance, _ = closest_triangles(points, self._tree)
        clear = distance if self.is_closed else None
        excess = np.abs(winding_numbers(points, self._winding, _FAR_ROUGH, clear)) - _INSIDE
        if not self.is_closed:
            self._close(points, distance, excess)
        return np.where(excess >= 0, -distance, distance).astype(np.float32)

    def _close(self, points: np.ndarray, distance: np.ndarray, excess: np.ndarray) -> None:
        """Measure to the film, too; in place."""
        near = np.flatnonzero(np.abs(excess) < _DOUBT)
        excess[near] = np.abs(winding_numbers(points[near], self._winding, _FAR_FINE)) - _INSIDE
        slope = winding_slopes(points, self._boundary)
        # 1 − 4·excess² makes it exact on the axis of a round hole, where w = (1 − z/√(R² + z²))/2, up to z = R. Less
        # than one half would be wrong where the number has other reasons to be near 0 or 1.
        bend = np.maximum(1 - 4 * excess**2, 0.5)
        distance[:] = np.minimum(distance, np.abs(excess) * bend / np.maximum(slope, 1e-300))


@dataclass(frozen=True)
class SurfaceDistance:
    """A `Distance` that is nowhere negative: to the closest point of triangles, for sheets that bound nothing."""

    box: np.ndarray
    tree: TriangleTree
    lipschitz: float = 1.0

    def __call__(self, points: Tensor) -> Tensor:
        distance, _ = closest_triangles(points.detach().cpu().numpy().astype(np.float64), self.tree)
        return torch.from_numpy(distance.astype(np.float32)).to(points.device)


def _single(faces: np.ndarray) -> np.ndarray:
    """The faces, each once where all come in pairs that face opposite ways."""
    turned = np.argmin(faces, axis=1)[:, None]
    first, second, third = np.take_along_axis(faces, (turned + np.arange(3)) % 3, axis=1).T
    ahead = second < third
    keys = np.stack((first, np.minimum(second, third), np.maximum(second, third)), axis=1)
    _, start, of_face = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    balance = np.bincount(of_face.reshape(-1), np.where(ahead, 1, -1))
    return faces[np.sort(start)] if not balance.any() else faces


def _boundary(found: topology.Edges) -> np.ndarray:
    """Vertices (B, 2), from and to, of the sides that none runs back along, each as often as it is so."""
    surplus = np.add.reduceat(np.where(found.forward, 1, -1), found.start[:-1])
    ends = np.where(surplus[:, None] > 0, found.ends, found.ends[:, ::-1])
    return np.repeat(ends, np.abs(surplus), axis=0)
