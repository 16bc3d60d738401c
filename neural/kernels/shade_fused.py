"""A thread for each picture: triangles into a depth buffer one after the other, then light on what is left."""

from __future__ import annotations

import numpy as np
from numba import prange

from .dispatch import called, compiled, inlined
from .shade import Scenes


def shade(scenes: Scenes, side: int, samples: int) -> np.ndarray:
    pictures = np.zeros((len(scenes), side, side, 4), np.float32)
    _shade(scenes.first, scenes.corners, scenes.normals, scenes.colors, scenes.view_from_object, scenes.distance,
           scenes.paint, scenes.ambient, scenes.lights, scenes.gloss, scenes.grain, samples, pictures)
    return pictures


@compiled
def _shade(first, corners, normals, colors, view_from_object, distance, paint, ambient, lights, gloss, grain,  # noqa: ANN001, ANN202
           samples, pictures):  # noqa: ANN001
    for b in prange(len(pictures)):
        here = slice(first[b], first[b + 1])
        placed = _placed(corners[here], view_from_object[b])
        face, weights = _seen(placed, distance[b], pictures.shape[1] * samples)
        _light(corners[here], placed, normals[here], colors[here], view_from_object[b], distance[b], paint[b],
               ambient[b], lights[b], gloss[b], grain[b], samples, face, weights, pictures[b])


@called
def _placed(corners, pose):  # noqa: ANN001, ANN202
    """Corners in the view frame."""
    placed = np.empty_like(corners)
    for f in range(len(corners)):
        for k in range(3):
            x, y, z = corners[f, k]
            for axis in range(3):
                placed[f, k, axis] = pose[axis, 0] * x + pose[axis, 1] * y + pose[axis, 2] * z + pose[axis, 3]
    return placed


@called
def _seen(placed, distance, side):  # noqa: ANN001, ANN202
    """The face seen at each place, −1 where there is none, and the weights of its first two corners there."""
    depth = np.zeros((side, side), np.float32)  # 1 / depth
    face = np.full((side, side), -1, np.int32)
    weights = np.zeros((side, side, 2), np.float32)
    half = 0.5 * side
    for f in range(len(placed)):
        az, bz, cz = 1 / (distance - placed[f, 0, 2]), 1 / (distance - placed[f, 1, 2]), 1 / (distance - placed[f, 2, 2])
        ax, ay = half + half * distance * placed[f, 0, 0] * az, half - half * distance * placed[f, 0, 1] * az
        bx, by = half + half * distance * placed[f, 1, 0] * bz, half - half * distance * placed[f, 1, 1] * bz
        cx, cy = half + half * distance * placed[f, 2, 0] * cz, half - half * distance * placed[f, 2, 1] * cz
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or min(az, bz, cz) <= 0.0:
            continue
        x0, x1 = max(np.ceil(min(ax, bx, cx) - 0.5), 0.0), min(np.floor(max(ax, bx, cx) - 0.5), side - 1.0)
        y0, y1 = max(np.ceil(min(ay, by, cy) - 0.5), 0.0), min(np.floor(max(ay, by, cy) - 0.5), side - 1.0)
        over = 1 / area
        for j in range(int(y0), int(y1) + 1):
            y = j + 0.5
            for i in range(int(x0), int(x1) + 1):
                x = i + 0.5
                u = ((cx - bx) * (y - by) - (cy - by) * (x - bx)) * over
                v = ((ax - cx) * (y - cy) - (ay - cy) * (x - cx)) * over
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                near = u * az + v * bz + w * cz
                if near > depth[j, i]:
                    depth[j, i], face[j, i] = near, f
                    weights[j, i, 0], weights[j, i, 1] = u * az / near, v * bz / near
    return face, weights


@inlined
def _hash(x, y, z):  # noqa: ANN001, ANN202
    """A number from −1 to 1 for each corner of a lattice."""
    n = np.uint32(x * 374761393 + y * 668265263 + z * 2147483647 & 0xFFFFFFFF)
    n = np.uint32((n ^ (n >> np.uint32(13))) * np.uint64(1274126177) & np.uint64(0xFFFFFFFF))
    n = n ^ (n >> np.uint32(16))
    return np.float32(n & np.uint32(0xFFFF)) / np.float32(32767.5) - np.float32(1.0)


@called
def _noise(x, y, z):  # noqa: ANN001, ANN202
    """Smooth noise from −1 to 1: trilinear between the corners of a lattice."""
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for c in range(8):
        di, dj, dk = c & 1, c >> 1 & 1, c >> 2 & 1
        share = (u if di else 1 - u) * (v if dj else 1 - v) * (w if dk else 1 - w)
        total += share * _hash(i + di, j + dj, k + dk)
    return total


@called
def _light(corners, placed, normals, colors, pose, distance, paint, ambient, lights, gloss, grain, samples, face,  # noqa: ANN001, ANN202
           weights, picture):  # noqa: ANN001
    scale = np.sqrt(pose[0, 0]**2 + pose[0, 1]**2 + pose[0, 2]**2)
    for j in range(len(face)):
        for i in range(len(face)):
            f = face[j, i]
            if f < 0:
                continue
            u, v = weights[j, i]
            w = 1 - u - v
            # The normal in the view frame, turned to the camera.
            nx = u * normals[f, 0, 0] + v * normals[f, 1, 0] + w * normals[f, 2, 0]
            ny = u * normals[f, 0, 1] + v * normals[f, 1, 1] + w * normals[f, 2, 1]
            nz = u * normals[f, 0, 2] + v * normals[f, 1, 2] + w * normals[f, 2, 2]
            length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-6) * scale
            nx, ny, nz = nx / length, ny / length, nz / length
            nx, ny, nz = (pose[0, 0] * nx + pose[0, 1] * ny + pose[0, 2] * nz,
                          pose[1, 0] * nx + pose[1, 1] * ny + pose[1, 2] * nz,
                          pose[2, 0] * nx + pose[2, 1] * ny + pose[2, 2] * nz)
            ex = -(u * placed[f, 0, 0] + v * placed[f, 1, 0] + w * placed[f, 2, 0])
            ey = -(u * placed[f, 0, 1] + v * placed[f, 1, 1] + w * placed[f, 2, 1])
            ez = distance - (u * placed[f, 0, 2] + v * placed[f, 1, 2] + w * placed[f, 2, 2])
            away = np.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex / away, ey / away, ez / away
            if nx * ex + ny * ey + nz * ez < 0:
                nx, ny, nz = -nx, -ny, -nz
            shine = 1.0
            if grain[0] > 0:
                px = u * corners[f, 0, 0] + v * corners[f, 1, 0] + w * corners[f, 2, 0]
                py = u * corners[f, 0, 1] + v * corners[f, 1, 1] + w * corners[f, 2, 1]
                pz = u * corners[f, 0, 2] + v * corners[f, 1, 2] + w * corners[f, 2, 2]
                shine += grain[0] * _noise(grain[1] * px, grain[1] * py, grain[1] * pz)
            red = u * colors[f, 0, 0] + v * colors[f, 1, 0] + w * colors[f, 2, 0]
            green = u * colors[f, 0, 1] + v * colors[f, 1, 1] + w * colors[f, 2, 1]
            blue = u * colors[f, 0, 2] + v * colors[f, 1, 2] + w * colors[f, 2, 2]
            up = 0.5 + 0.5 * (nx * pose[0, 2] + ny * pose[1, 2] + nz * pose[2, 2]) / scale
            lit = picture[j // samples, i // samples]
            for c in range(3):
                albedo = shine * (paint[c, 0] * red + paint[c, 1] * green + paint[c, 2] * blue + paint[c, 3])
                albedo = min(max(albedo, 0.0), 1.0)
                lit[c] += albedo * (up * ambient[0, c] + (1 - up) * ambient[1, c])
                for k in range(len(lights)):
                    toward = lights[k, 0]
                    lit[c] += albedo * max(nx * toward[0] + ny * toward[1] + nz * toward[2], 0.0) * lights[k, 1, c]
            if gloss[0] > 0:
                for k in range(len(lights)):
                    toward = lights[k, 0]
                    hx, hy, hz = ex + toward[0], ey + toward[1], ez + toward[2]
                    cosine = (nx * hx + ny * hy + nz * hz) / max(np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
                    if cosine > 0 and nx * toward[0] + ny * toward[1] + nz * toward[2] > 0:
                        strength = gloss[0] * cosine**gloss[1]
                        for c in range(3):
                            lit[c] += strength * lights[k, 1, c]
            lit[3] += 1
    picture *= np.float32(1 / (samples * samples))
