"""One picture at a time, all of its samples at once."""

from __future__ import annotations

import numpy as np

from .raster_reference import draw
from .shade import OFF, START, STEPS, STRIDE, Scenes


def shade(scenes: Scenes, side: int, samples: int) -> np.ndarray:
    return np.stack([_picture(scenes, number, side, samples) for number in range(len(scenes))])


def _picture(scenes: Scenes, b: int, side: int, samples: int) -> np.ndarray:
    here = slice(scenes.first[b], scenes.first[b + 1])
    pose, distance, size = scenes.view_from_object[b].astype(np.float64), float(scenes.distance[b]), side * samples
    corners = scenes.corners[here].astype(np.float64)
    placed = corners @ pose[:, :3].T + pose[:, 3]
    depth = distance - placed[..., 2:]
    pixels = size / 2 * (1 + distance * placed[..., :2] * [1, -1] / depth)
    face, weights = np.full((size, size), -1, np.int32), np.zeros((size, size, 3), np.float32)
    draw(np.concatenate((pixels, depth), axis=2), 0, face, weights, np.full((size, size), np.inf, np.float32))
    hit = face >= 0
    f, w = face[hit], weights[hit].astype(np.float64)
    points, normals, colors = (np.einsum("nc,nck->nk", w, values[here][f].astype(np.float64))
                               for values in (scenes.corners, scenes.normals, scenes.colors))
    eye = np.linalg.inv(pose[:, :3]) @ ([0, 0, distance] - pose[:, 3])
    toward_eye = _unit(eye - points)
    normals = _unit(normals)
    normals *= np.where((normals * toward_eye).sum(axis=1, keepdims=True) < 0, -1, 1)
    # Each pixel's first sample that meets the object tells what is hidden for all.
    pixel = np.repeat(np.repeat(np.arange(side * side).reshape(side, side), samples, 0), samples, 1)[hit]
    order = np.lexsort((np.flatnonzero(hit), pixel))
    _, first, group = np.unique(pixel[order], return_index=True, return_inverse=True)
    of = np.empty(len(f), np.int64)
    of[order] = order[first][group]
    free, sun = _hidden(scenes, b, points[of], normals[of])
    light, shine = _light(scenes, b, normals, toward_eye, free, sun)
    albedo = np.column_stack((colors, np.ones(len(f)))) @ scenes.paint[b].T * _roughness(scenes.grain[b], points)
    picture = np.zeros((size, size, 4))
    picture[hit] = np.column_stack((np.clip(albedo, 0, 1) * light + shine, np.ones(len(f))))
    return picture.reshape(side, samples, side, samples, 4).mean(axis=(1, 3)).astype(np.float32)


def _hidden(scenes: Scenes, b: int, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares (N, 1) of the hemisphere's and of the first light that get through."""
    share, sharpness = scenes.hiding[b]
    opened = np.mean([np.clip(_distance(scenes, b, points + off * normals) / off, 0, 1) for off in OFF], axis=0)
    free = 1 - share * (1 - opened)
    light = scenes.lights[b, 0, 0]
    sun = np.ones(len(points))
    if sharpness > 0:
        start, along = points + START * normals, np.full(len(points), START)
        for _ in range(STEPS):
            found = _distance(scenes, b, start + along[:, None] * light)
            sun = np.minimum(sun, sharpness * found / along)
            along += np.maximum(found, STRIDE)
        sun = np.maximum(sun, 0)
    return free[:, None], np.where(normals @ light > 0, sun, 1)[:, None]


def _light(scenes: Scenes, b: int, normals: np.ndarray, toward_eye: np.ndarray, free: np.ndarray, sun: np.ndarray
           ) -> tuple[np.ndarray, np.ndarray]:
    """What falls on the surface, and what it mirrors (N, 3)."""
    up = 0.5 + 0.5 * normals[:, 2:]
    light = free * (up * scenes.ambient[b, 0] + (1 - up) * scenes.ambient[b, 1])
    shine = np.zeros_like(light)
    strength, exponent = scenes.gloss[b]
    for number, (toward, color) in enumerate(scenes.lights[b]):
        cosine = (normals @ toward)[:, None]
        reach = np.where(cosine > 0, sun if number == 0 else 1.0, 0)
        light = light + reach * np.maximum(cosine, 0) * color
        half = np.maximum((normals * _unit(toward_eye + toward)).sum(axis=1, keepdims=True), 0)
        shine = shine + reach * strength * half**exponent * (half > 0) * color
    return light, shine


def _distance(scenes: Scenes, b: int, points: np.ndarray) -> np.ndarray:
    """The solid's signed distance (N,), trilinear; as far as the grid tells outside of it."""
    solid, last = scenes.solid[b].astype(np.float64), scenes.solid.shape[1] - 1
    places = points / scenes.spacing[b] + last / 2
    within = ((places >= 0) & (places < last)).all(axis=1)
    low = np.where(within[:, None], np.floor(places), 0).astype(int)
    share = places - low
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        total += weight * solid[tuple((low + corner).T)]
    return np.where(within, total, 127) * scenes.step


def _roughness(grain: np.ndarray, points: np.ndarray) -> np.ndarray:
    """One and a smooth noise (N, 1) that is trilinear between hashes, from −1 to 1, of a lattice's corners."""
    places = grain[1] * points.astype(np.float64)
    low = np.floor(places).astype(np.int64)
    share = places - low
    share = share * share * (3 - 2 * share)
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (low + corner).T
        n = (x * 374761393 + y * 668265263 + z * 2147483647) & 0xFFFFFFFF
        n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
        n ^= n >> 16
        total += np.where(corner, share, 1 - share).prod(axis=1) * ((n & 0xFFFF) / 32767.5 - 1)
    return 1 + grain[0] * total[:, None]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
