"""Which points of the true surface its pictures show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry.posed import PosedPicture
from ..meshing.raster import project

SLACK = 2.0  # what a surface turned by 63° recedes within a pixel


def visible(points: np.ndarray, views: Sequence[PosedPicture]) -> np.ndarray:
    """Whether some view sees each point (N, 3), (N,) bool: none lies before it by the view's own depth.

    A point counts where it lies no more than SLACK pixels' width behind the nearest of the four pixels around it; a
    pixel without depth shows what is infinitely far. Views that come without depth see nothing.
    """
    seen = np.zeros(len(points), bool)
    for view in views:
        if view.depth is None:
            continue
        hidden = np.flatnonzero(~seen)
        x, y, z = project(points[hidden], view.fx, view.fy, view.cx, view.cy, view.world_from_camera).T
        height, width = view.depth.shape
        column, row = np.floor(x - 0.5), np.floor(y - 0.5)
        inside = (z > 0) & (column >= 0) & (row >= 0) & (column < width - 1) & (row < height - 1)
        hidden, z, column, row = hidden[inside], z[inside], column[inside].astype(int), row[inside].astype(int)
        far = np.nan_to_num(view.depth, nan=np.inf)
        # The nearest, not the deepest: from some of many views each hidden point stands next to an outline.
        nearest = np.min([far[row + i, column + j] for i in (0, 1) for j in (0, 1)], axis=0)
        seen[hidden] = z <= nearest + SLACK * z / view.fx
    return seen
