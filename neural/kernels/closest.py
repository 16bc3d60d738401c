"""The closest point on a set of triangles."""

from __future__ import annotations

import numpy as np
import torch

from .closest_tree import TriangleTree
from .dispatch import body


def closest_triangles(points: np.ndarray, triangles: np.ndarray | TriangleTree) -> tuple[np.ndarray, np.ndarray]:
    """Distance (N,) float64 from each point (N, 3) to the surface of `triangles` (F, 3, 3), F > 0, and the face (N,).

    Exact: the distance to the triangles, not to samples or vertices. Degenerate triangles count as the segment
    or the point that they are. Where several faces are equally close any of them is named.
    Who asks about the same triangles again gives their tree.
    """
    tree = triangles if isinstance(triangles, TriangleTree) else TriangleTree(triangles)
    return body("closest", torch.device("cpu")).closest_triangles(np.ascontiguousarray(points, np.float64), tree)
