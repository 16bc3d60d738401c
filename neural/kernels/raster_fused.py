"""Bands of rows on all threads, in each the triangles one after the other."""

from __future__ import annotations

import numpy as np
from numba import prange

from .dispatch import compiled

_BANDS = 16


@compiled
def draw(corners, first, face, weights, depth):  # noqa: ANN001, ANN201
    height, width = depth.shape
    for band in prange(_BANDS):
        top, bottom = band * height // _BANDS, (band + 1) * height // _BANDS - 1
        for f in range(len(corners)):
            ax, ay, az = corners[f, 0]
            bx, by, bz = corners[f, 1]
            cx, cy, cz = corners[f, 2]
            y0 = max(np.ceil(min(ay, by, cy) - 0.5), top)
            y1 = min(np.floor(max(ay, by, cy) - 0.5), bottom)
            area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
            if not (y0 <= y1 and min(az, bz, cz) > 0.0) or area == 0.0:
                continue
            x0 = max(np.ceil(min(ax, bx, cx) - 0.5), 0)
            x1 = min(np.floor(max(ax, bx, cx) - 0.5), width - 1)
            for j in range(int(y0), int(y1) + 1):
                y = j + 0.5
                for i in range(int(x0), int(x1) + 1):
                    x = i + 0.5
                    u = ((cx - bx) * (y - by) - (cy - by) * (x - bx)) / area
                    v = ((ax - cx) * (y - cy) - (ay - cy) * (x - cx)) / area
                    w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                    if u < 0.0 or v < 0.0 or w < 0.0:
                        continue
                    u, v, w = u / az, v / bz, w / cz
                    here = 1.0 / (u + v + w)
                    if np.float32(here) < depth[j, i]:
                        depth[j, i], face[j, i] = here, first + f
                        weights[j, i, 0], weights[j, i, 1], weights[j, i, 2] = u * here, v * here, w * here
