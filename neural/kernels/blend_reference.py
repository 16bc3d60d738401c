"""View by view, all points at once."""

from __future__ import annotations

import numpy as np

from .blend import ANGLE_POWER, LEVEL, OUTLIER, ROUNDS


def blend(points: np.ndarray, normals: np.ndarray, cameras: np.ndarray, pixels: np.ndarray, rgba: np.ndarray,
          depth: np.ndarray, trust: np.ndarray, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    samples = [_sample(points, normals, camera, pixel, rgba, depth, trust, resolution)
               for camera, pixel in zip(cameras, pixels, strict=True)]
    color, weight = np.stack([s[0] for s in samples]), np.stack([s[1] for s in samples])
    order = np.argsort(color.sum(axis=-1), axis=0, kind="stable")
    below = np.cumsum(np.take_along_axis(weight, order, axis=0), axis=0)
    level = (below < LEVEL * below[-1]).sum(axis=0)
    mean = color[order[level, np.arange(len(points))], np.arange(len(points))]
    for _ in range(ROUNDS):
        robust = weight / (1 + ((color - mean) ** 2).sum(axis=-1) / OUTLIER**2)
        mean = (robust[..., None] * color).sum(axis=0) / np.maximum(robust.sum(axis=0), 1e-30)[:, None]
    return mean.astype(np.float32), weight.sum(axis=0).astype(np.float32)


def _sample(points: np.ndarray, normals: np.ndarray, camera: np.ndarray, pixel: np.ndarray, rgba: np.ndarray,
            depth: np.ndarray, trust: np.ndarray, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    """Colour (N, 3) and weight (N,) of the points in one view."""
    fx, fy, cx, cy = camera[:4]
    first, height, width = pixel.tolist()
    away = camera[4:7] - points
    distance = np.linalg.norm(away, axis=1)
    cosine = (normals * away).sum(axis=1) / np.maximum(distance, 1e-12)
    local = -away @ camera[7:].reshape(3, 3).T
    z = -local[:, 2]
    safe = np.where(z > 0, z, 1)
    x, y = cx + fx * local[:, 0] / safe - 0.5, cy - fy * local[:, 1] / safe - 0.5
    column, row = np.floor(x), np.floor(y)
    seen = (z > 0) & (cosine > 0) & (column >= 0) & (row >= 0) & (column < width - 1) & (row < height - 1)
    x, y = x - column, y - row
    corner = np.where(seen, first + row * width + column, first).astype(np.int64)
    around = [corner, corner + 1, corner + width, corner + width + 1]
    if height * width < width + 2:
        return np.zeros((len(points), 3)), np.zeros(len(points))
    share = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]
    deepest = np.max([depth[i] for i in around], axis=0)
    seen &= z <= deepest + safe / fx
    value = sum(s[:, None] * rgba[i] for s, i in zip(share, around, strict=True)) / 255
    trusted = np.min([trust[i] for i in around], axis=0) / 255
    seen &= value[:, 3] > 0.5
    weight = np.where(seen, trusted * np.maximum(cosine, 0) ** ANGLE_POWER * (fx / safe / resolution) ** 2, 0)
    return np.where(seen[:, None], value[:, :3] / np.maximum(value[:, 3:], 1e-6), 0), weight
