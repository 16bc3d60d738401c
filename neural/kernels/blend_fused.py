"""Point by point, its views in a short list."""

from __future__ import annotations

import numpy as np
from numba import prange

from .blend import ANGLE_POWER, LEVEL, OUTLIER, ROUNDS
from .dispatch import compiled

_BLOCK = 4096


def blend(points: np.ndarray, normals: np.ndarray, cameras: np.ndarray, pixels: np.ndarray, rgba: np.ndarray,
          depth: np.ndarray, trust: np.ndarray, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    color = np.zeros((len(points), 3), np.float32)
    total = np.zeros(len(points), np.float32)
    _blend(points, normals, cameras, pixels, rgba, depth, trust, resolution, color, total)
    return color, total


@compiled
def _blend(points, normals, cameras, pixels, rgba, depth, trust, resolution, color, total):  # noqa: ANN001, ANN202
    count, views = len(points), len(cameras)
    for block in prange((count + _BLOCK - 1) // _BLOCK):
        value, weight = np.empty((views, 3)), np.empty(views)
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, count)):
            px, py, pz = points[i]
            nx, ny, nz = normals[i]
            length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
            found, weights = 0, 0.0
            for v in range(views):
                c = cameras[v]
                dx, dy, dz = c[4] - px, c[5] - py, c[6] - pz
                facing = nx * dx + ny * dy + nz * dz
                z = c[13] * dx + c[14] * dy + c[15] * dz
                if facing <= 0.0 or z <= 0.0:
                    continue
                x = c[2] - c[0] * (c[7] * dx + c[8] * dy + c[9] * dz) / z - 0.5
                y = c[3] + c[1] * (c[10] * dx + c[11] * dy + c[12] * dz) / z - 0.5
                height, width = pixels[v, 1], pixels[v, 2]
                if not (x >= 0.0 and y >= 0.0 and x < width - 1 and y < height - 1):
                    continue
                column, row = int(x), int(y)
                x -= column
                y -= row
                a = pixels[v, 0] + row * width + column
                b = a + width
                if z > max(depth[a], depth[a + 1], depth[b], depth[b + 1]) + z / c[0]:
                    continue
                trusted = min(trust[a], trust[a + 1], trust[b], trust[b + 1])
                s0, s1, s2, s3 = (1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y
                alpha = (s0 * rgba[a, 3] + s1 * rgba[a + 1, 3] + s2 * rgba[b, 3] + s3 * rgba[b + 1, 3]) / 255
                if trusted == 0 or alpha <= 0.5:
                    continue
                for k in range(3):
                    value[found, k] = (s0 * rgba[a, k] + s1 * rgba[a + 1, k] + s2 * rgba[b, k]
                                       + s3 * rgba[b + 1, k]) / 255 / alpha
                cosine = facing / length / np.sqrt(dx * dx + dy * dy + dz * dz)
                weight[found] = trusted / 255 * cosine**ANGLE_POWER * (c[0] / z / resolution) ** 2
                weights += weight[found]
                found += 1
            if found == 0:
                continue
            k, below = -1, 0.0
            order = np.argsort(value[:found, 0] + value[:found, 1] + value[:found, 2])
            while below < LEVEL * weights and k < found - 1:
                k += 1
                below += weight[order[k]]
            r, g, b_ = value[order[k]]
            for _ in range(ROUNDS):
                sum_r, sum_g, sum_b, robust = 0.0, 0.0, 0.0, 0.0
                for k in range(found):
                    away = (value[k, 0] - r) ** 2 + (value[k, 1] - g) ** 2 + (value[k, 2] - b_) ** 2
                    w = weight[k] / (1 + away / OUTLIER**2)
                    sum_r += w * value[k, 0]
                    sum_g += w * value[k, 1]
                    sum_b += w * value[k, 2]
                    robust += w
                r, g, b_ = sum_r / robust, sum_g / robust, sum_b / robust
            color[i, 0], color[i, 1], color[i, 2] = r, g, b_
            total[i] = weights
