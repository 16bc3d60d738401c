"""Several surfaces that pass into each other as one mesh whose vertices move: what shape keys need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...formats.mesh import Mesh
from ..evaluation.audit import audit
from ..evaluation.metrics import face_normals, sample_surface
from ..geometry.distance import Distance
from ..kernels.closest import closest_triangles
from . import topology

_CPU = torch.device("cpu")
_ITERATIONS, _RELAXED = 12, 9  # Newton steps to the next surface; in the first of them the vertices also spread out
_SAMPLES = 5_000
# A carried mesh is good where samples of the true surface are, on the mean, within this share of a cell, and where
# no more than this share of its faces looks inward.
_NEAR, _TURNED = 0.5, 0.005


def shared_topology(meshes: Sequence[Mesh], distances: Sequence[Distance], cell: float,
                    device: torch.device = _CPU) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices (N, V, 3) float32 of N meshes that all have the faces (F, 3) int32, or None where none do.

    meshes and distances: the steps in order, each step's mesh being the zero level of its distance. cell: of the
    lattice that the meshes were extracted on, in metres. device: where the distances compute.
    The middle mesh is carried from step to step, each vertex down the gradient of the next distance. That works where
    all steps have the same number of parts and handles and where nothing grows out of nothing between two of them.
    """
    kinds = {(figures["components"], figures.get("genus", -1)) for figures in map(audit, meshes)}
    if len(kinds) > 1:
        return None
    middle = len(meshes) // 2
    faces = meshes[middle].faces
    around = _neighbours(faces, len(meshes[middle].vertices)).to(device)
    steps: dict[int, np.ndarray] = {middle: meshes[middle].vertices}
    for order in (range(middle + 1, len(meshes)), range(middle - 1, -1, -1)):
        before = middle
        for number in order:
            vertices = carry(steps[before], around, distances[number], cell)
            if not _is_good(Mesh(vertices, faces), meshes[number], cell):
                return None
            steps[number], before = vertices, number
    return np.stack([steps[number] for number in range(len(meshes))]), faces


def carry(vertices: np.ndarray, around: Tensor, distance: Distance, cell: float) -> np.ndarray:
    """The vertices (V, 3) moved to the zero level of a distance, kept evenly spread.

    around: sparse (V, V), takes values to their means over the neighbours.
    """
    points = torch.from_numpy(np.asarray(vertices, np.float32)).to(around.device)
    for number in range(_ITERATIONS):
        value, gradient = _value_and_gradient(distance, points, cell / 2)
        square = (gradient * gradient).sum(dim=1).clamp(min=1e-3)
        points = points - (value / square)[:, None] * gradient
        if number < _RELAXED:
            normal = gradient / square.sqrt()[:, None]
            pull = torch.sparse.mm(around, points) - points
            points = points + 0.5 * (pull - (pull * normal).sum(dim=1, keepdim=True) * normal)
    return points.cpu().numpy()


def _value_and_gradient(distance: Distance, points: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """By central differences, since a distance need not be differentiable."""
    shifts = reach * torch.cat((torch.zeros(1, 3), torch.eye(3), -torch.eye(3))).to(points.device)
    values = distance((points[None] + shifts[:, None]).reshape(-1, 3)).reshape(7, -1)
    return values[0], ((values[1:4] - values[4:7]) / (2 * reach)).T


def _neighbours(faces: np.ndarray, count: int) -> Tensor:
    ends = topology.edges(faces).ends
    both = np.concatenate((ends, ends[:, ::-1]))
    weight = 1 / np.bincount(both[:, 0], minlength=count)[both[:, 0]]
    return torch.sparse_coo_tensor(torch.from_numpy(both.T.copy()), torch.from_numpy(weight.astype(np.float32)),
                                   (count, count), check_invariants=True).coalesce()


def _is_good(carried: Mesh, true: Mesh, cell: float) -> bool:
    points, _ = sample_surface(true, _SAMPLES, seed=0)
    away, _ = closest_triangles(points, carried.triangles())
    back, nearest = closest_triangles(carried.triangles().mean(axis=1), true.triangles())
    facing = (face_normals(carried) * face_normals(true)[nearest]).sum(axis=1)
    return bool(max(away.mean(), back.mean()) < _NEAR * cell and (facing < 0).mean() <= _TURNED)
