"""How near a mesh comes to the true one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...formats.mesh import Mesh
from ...recipes.errors import InputError
from ..geometry.posed import PosedPicture
from ..kernels.closest import closest_triangles
from ..kernels.columns import column_windings
from ..meshing import topology
from .audit import audit, is_closed
from .visibility import visible

_F_SCORES = {"0.5%": 0.005, "1%": 0.01, "2%": 0.02}
_IOU_POINTS = 256  # along the longest side


def compare(mesh: Mesh, truth: Mesh, samples: int = 100_000, seed: int = 0,
            views: Sequence[PosedPicture] = ()) -> dict[str, Any]:
    """Compare by `samples` area-uniform points of each side and the closest points on the other's triangles.

    chamfer: mean of both directions' mean distances, in true diagonals (of the bounding box).
    chamfer_squared_sum: both directions' mean squared distances added, in square metres, unscaled.
    f_score at d % of the true diagonal: harmonic mean of the shares of samples within d of the other surface.
    normal_consistency: mean cosine between a sample's normal and that of the closest face, both ways, signed.
    iou: of the volumes, where both meshes are closed.
    With `views` that come with depth, samples of the truth that none of them sees are left out: what lies inside or
    stands on the ground cannot be known from pictures. `seen` is the share of those that count.
    A mesh without area is as far off as the diagonal: chamfer 1, scores 0. A truth without area is an InputError.
    """
    diagonal = truth.diagonal()
    if not topology.face_areas(truth).sum() > 0:
        raise InputError("truth: its faces have no area; give a mesh with a surface")
    both_closed = is_closed(audit(mesh)) and is_closed(audit(truth))
    more = {"iou": volume_iou(mesh, truth)} if both_closed else {}
    if not topology.face_areas(mesh).sum() > 0:
        return {"chamfer": 1.0, "chamfer_squared_sum": 2 * diagonal**2, "f_score": dict.fromkeys(_F_SCORES, 0.0),
                "normal_consistency": 0.0, **more}
    there, there_cosine = _one_way(mesh, truth, *sample_surface(mesh, samples, seed))
    points, face = sample_surface(truth, samples, seed + 1)
    if any(view.depth is not None for view in views):
        seen = visible(points, views)
        more["seen"] = float(seen.mean())
        if seen.any():
            points, face = points[seen], face[seen]
    back, back_cosine = _one_way(truth, mesh, points, face)
    return {"chamfer": float(there.mean() + back.mean()) / 2 / diagonal,
            "chamfer_squared_sum": float((there**2).mean() + (back**2).mean()),
            "f_score": {name: f_score(there, back, share * diagonal) for name, share in _F_SCORES.items()},
            "normal_consistency": float(there_cosine.mean() + back_cosine.mean()) / 2, **more}


def sample_surface(mesh: Mesh, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Area-uniform points (N, 3) float64 and the faces (N,) they lie on."""
    rng = np.random.default_rng(seed)
    total = np.cumsum(topology.face_areas(mesh))
    face = np.searchsorted(total, rng.random(samples) * total[-1], side="right")
    face = np.minimum(face, len(total) - 1)
    u, v = rng.random((2, samples, 1))
    beyond = u + v > 1
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    a, b, c = np.moveaxis(mesh.triangles()[face].astype(np.float64), 1, 0)
    return a + u * (b - a) + v * (c - a), face


def face_normals(mesh: Mesh) -> np.ndarray:
    """(F, 3) float64 of unit length, zero for a face without area."""
    a, b, c = np.moveaxis(mesh.triangles().astype(np.float64), 1, 0)
    normal = np.cross(b - a, c - a)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)


def volume_iou(one: Mesh, other: Mesh, points: int = _IOU_POINTS) -> float:
    """Intersection over union of two closed meshes' volumes, on a lattice with `points` along the longest side."""
    corners = np.concatenate((one.vertices, other.vertices)).astype(np.float64)
    if not len(one.faces) or not len(other.faces):
        return 0.0
    low, size = corners.min(axis=0), np.ptp(corners, axis=0)
    cell = size.max() / points
    counts = tuple(np.maximum(np.ceil(size / cell), 1).astype(int).tolist())
    inside = [column_windings((mesh.triangles() - low) / cell - 0.5, counts) > 0 for mesh in (one, other)]
    union = int((inside[0] | inside[1]).sum())
    return int((inside[0] & inside[1]).sum()) / union if union else 0.0


def _one_way(mesh: Mesh, other: Mesh, points: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and cosines of normals (N,) from points (N, 3) on the mesh's faces (N,) to the other's surface."""
    # A face without area is no surface: its normal means nothing.
    solid = np.flatnonzero(topology.face_areas(other) > 0)
    distance, nearest = closest_triangles(points, other.triangles()[solid])
    cosine = (face_normals(mesh)[face] * face_normals(other)[solid[nearest]]).sum(axis=1)
    return distance, cosine


def f_score(there: np.ndarray, back: np.ndarray, within: float) -> float:
    """The harmonic mean of the shares of both sides' samples whose distance (N,) to the other is at most `within`."""
    precision, recall = float((there <= within).mean()), float((back <= within).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
