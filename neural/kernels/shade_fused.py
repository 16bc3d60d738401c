"""A thread for each picture: triangles into a depth buffer one after the other, then light on what is left."""

from __future__ import annotations

import numpy as np
from numba import prange

from .dispatch import called, compiled, inlined
from .shade import OFF, START, STEPS, STRIDE, Scenes
from .solid_fused import distance_at


def shade(scenes: Scenes, side: int, samples: int) -> np.ndarray:
    pictures = np.zeros((len(scenes), side, side, 4), np.float32)
    s = scenes
    _shade(s.first, s.corners, s.normals, s.colors, s.solid, s.spacing, np.float32(s.step), s.view_from_object,
           s.distance, s.paint, s.grain, s.gloss, s.ambient, s.lights, s.hiding, samples, pictures)
    return pictures


@compiled
def _shade(first, corners, normals, colors, solid, spacing, step, view_from_object, distance, paint, grain,  # noqa: ANN001, ANN202
           gloss, ambient, lights, hiding, samples, pictures):  # noqa: ANN001
    for b in prange(len(pictures)):
        here = slice(first[b], first[b + 1])
        face, weights = _seen(_placed(corners[here], view_from_object[b]), distance[b], pictures.shape[1] * samples)
        _light(corners[here], normals[here], colors[here], solid[b], spacing[b], step,
               _eye(view_from_object[b], distance[b]), paint[b], grain[b], gloss[b], ambient[b], lights[b], hiding[b],
               samples, face, weights, pictures[b])


@called
def _eye(pose, distance):  # noqa: ANN001, ANN202
    """Where the camera stands in the object's frame."""
    square = pose[0, 0]**2 + pose[0, 1]**2 + pose[0, 2]**2
    x, y, z = -pose[0, 3], -pose[1, 3], distance - pose[2, 3]
    return ((pose[0, 0] * x + pose[1, 0] * y + pose[2, 0] * z) / square,
            (pose[0, 1] * x + pose[1, 1] * y + pose[2, 1] * z) / square,
            (pose[0, 2] * x + pose[1, 2] * y + pose[2, 2] * z) / square)


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
        az, bz = 1 / (distance - placed[f, 0, 2]), 1 / (distance - placed[f, 1, 2])
        cz = 1 / (distance - placed[f, 2, 2])
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


@inlined
def _mixed(values, f, axis, u, v, w):  # noqa: ANN001, ANN202
    """A face's corners' values by their weights."""
    return u * values[f, 0, axis] + v * values[f, 1, axis] + w * values[f, 2, axis]


@called
def _open(solid, spacing, step, px, py, pz, nx, ny, nz):  # noqa: ANN001, ANN202
    """The share of the hemisphere's light that reaches a place."""
    share = 0.0
    for off in OFF:
        found = step * distance_at(solid, spacing, px + off * nx, py + off * ny, pz + off * nz)
        share += min(max(found / off, 0.0), 1.0) / len(OFF)
    return share


@called
def _reached(solid, spacing, step, px, py, pz, light, sharpness):  # noqa: ANN001, ANN202
    """The share of a light that reaches a place off the surface."""
    share, along = 1.0, START
    for _ in range(STEPS):
        found = step * distance_at(solid, spacing, px + along * light[0], py + along * light[1], pz + along * light[2])
        share = min(share, sharpness * found / along)
        if share <= 0:
            return 0.0
        along += max(found, STRIDE)
    return share


@inlined
def _painted(row, red, green, blue, rough):  # noqa: ANN001, ANN202
    return min(max(rough * (row[0] * red + row[1] * green + row[2] * blue + row[3]), 0.0), 1.0)


@called
def _light(corners, normals, colors, solid, spacing, step, eye, paint, grain, gloss, ambient, lights, hiding,  # noqa: ANN001, ANN202
           samples, face, weights, picture):  # noqa: ANN001
    square = samples * samples
    fresh, free, sun = True, 1.0, 1.0
    for place in range(picture.shape[0] * picture.shape[1] * square):
        pixel, sample = place // square, place % square
        row, column = pixel // picture.shape[1], pixel % picture.shape[1]
        fresh |= sample == 0
        j, i = row * samples + sample // samples, column * samples + sample % samples
        f = face[j, i]
        if f < 0:
            continue
        u, v = weights[j, i]
        w = 1 - u - v
        px, py, pz = _mixed(corners, f, 0, u, v, w), _mixed(corners, f, 1, u, v, w), _mixed(corners, f, 2, u, v, w)
        nx, ny, nz = _mixed(normals, f, 0, u, v, w), _mixed(normals, f, 1, u, v, w), _mixed(normals, f, 2, u, v, w)
        ex, ey, ez = eye[0] - px, eye[1] - py, eye[2] - pz
        # The normal is turned to the camera.
        length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
        length = -length if nx * ex + ny * ey + nz * ez < 0 else length
        nx, ny, nz = nx / length, ny / length, nz / length
        away = np.sqrt(ex * ex + ey * ey + ez * ez)
        ex, ey, ez = ex / away, ey / away, ez / away
        if fresh:
            fresh, sun = False, 1.0
            free = 1 - hiding[0] * (1 - _open(solid, spacing, step, px, py, pz, nx, ny, nz))
            if hiding[1] > 0 and nx * lights[0, 0, 0] + ny * lights[0, 0, 1] + nz * lights[0, 0, 2] > 0:
                sun = _reached(solid, spacing, step, px + START * nx, py + START * ny, pz + START * nz, lights[0, 0],
                               hiding[1])
        up = (0.5 + 0.5 * nz) * free
        down = free - up
        red = up * ambient[0, 0] + down * ambient[1, 0]
        green = up * ambient[0, 1] + down * ambient[1, 1]
        blue = up * ambient[0, 2] + down * ambient[1, 2]
        shine_red, shine_green, shine_blue = 0.0, 0.0, 0.0
        for k in range(len(lights)):
            lx, ly, lz = lights[k, 0]
            cosine = nx * lx + ny * ly + nz * lz
            if cosine <= 0:
                continue
            reach = sun if k == 0 else 1.0
            red += reach * cosine * lights[k, 1, 0]
            green += reach * cosine * lights[k, 1, 1]
            blue += reach * cosine * lights[k, 1, 2]
            if gloss[0] > 0:
                hx, hy, hz = ex + lx, ey + ly, ez + lz
                half = (nx * hx + ny * hy + nz * hz) / max(np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
                if half > 0:
                    strength = reach * gloss[0] * half**gloss[1]
                    shine_red += strength * lights[k, 1, 0]
                    shine_green += strength * lights[k, 1, 1]
                    shine_blue += strength * lights[k, 1, 2]
        rough = 1.0
        if grain[0] > 0:
            rough += grain[0] * _noise(grain[1] * px, grain[1] * py, grain[1] * pz)
        r, g, b = _mixed(colors, f, 0, u, v, w), _mixed(colors, f, 1, u, v, w), _mixed(colors, f, 2, u, v, w)
        picture[row, column, 0] += shine_red + red * _painted(paint[0], r, g, b, rough)
        picture[row, column, 1] += shine_green + green * _painted(paint[1], r, g, b, rough)
        picture[row, column, 2] += shine_blue + blue * _painted(paint[2], r, g, b, rough)
        picture[row, column, 3] += 1
    picture *= np.float32(1 / square)
