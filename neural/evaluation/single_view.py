"""How near a shape that was predicted from one picture comes to the true one, in the view frame of that picture.

Chamfer, F-scores and the intersection over union are those of `metrics`, with fewer samples and points. Nothing is
aligned: a prediction that is right but for its depth or its size is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from ...formats.mesh import Mesh
from ..kernels.closest import closest_triangles
from ..kernels.closest_tree import TriangleTree
from ..meshing import topology
from .audit import audit, is_closed
from .metrics import f_score, sample_surface, volume_iou

SHARES = {"f_1": 0.01, "f_2": 0.02, "f_5": 0.05}  # of the true diagonal
SAMPLES = 8192  # of the predicted surface
_IOU_POINTS = 96


@dataclass(frozen=True)
class Truth:
    """A true shape: points spread evenly over its surface, and the closed surface itself where it is known."""

    points: np.ndarray  # (N, 3)
    surface: Mesh | None = None

    @cached_property
    def diagonal(self) -> float:
        return float(np.linalg.norm(np.ptp(self.points, axis=0)))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """How far (N,) points (N, 3) are from the surface, else from the nearest of its points."""
        if self._triangles is None:
            return cKDTree(self.points).query(points)[0]
        return closest_triangles(points, self._triangles)[0]

    @cached_property
    def _triangles(self) -> TriangleTree | None:
        return TriangleTree(self.surface.triangles()) if self.surface else None


def figures(mesh: Mesh, truth: Truth, seed: int = 0) -> dict[str, float]:
    """`chamfer` in true diagonals, `f_1`, `f_2`, `f_5`, and `iou` where the prediction and the truth are closed.

    A prediction without area is as far off as the diagonal: chamfer 1, the others 0.
    """
    comparable = truth.surface is not None
    if not topology.face_areas(mesh).sum() > 0:
        return {"chamfer": 1.0, **dict.fromkeys(SHARES, 0.0), **({"iou": 0.0} if comparable else {})}
    there = truth.distance(sample_surface(mesh, SAMPLES, seed)[0])
    back = closest_triangles(truth.points, mesh.triangles())[0]
    found = {"chamfer": float(there.mean() + back.mean()) / 2 / truth.diagonal,
             **{name: f_score(there, back, share * truth.diagonal) for name, share in SHARES.items()}}
    if truth.surface is not None and is_closed(audit(mesh)):
        found["iou"] = volume_iou(mesh, truth.surface, _IOU_POINTS)
    return found


def mean_figures(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over the predictions that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
