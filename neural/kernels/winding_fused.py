"""The tree walked from its root: a node that is far for its size counts as its moments, a near one is opened."""

from __future__ import annotations

import math
import typing

import numpy as np
from numba import prange

from .closest_tree import morton
from .dispatch import compiled, inlined

if typing.TYPE_CHECKING:
    from .winding import WindingTree

_ROW = 256


def winding_numbers(points: np.ndarray, tree: WindingTree, far: float, clear: np.ndarray) -> np.ndarray:
    near = np.argsort(morton(points), kind="stable")
    result = np.empty(len(points))
    _sum(points, near, clear, tree.tree.triangles, tree.tree.bounds, tree.center, (far * tree.radius) ** 2, tree.dipole,
         tree.first, tree.second, result)
    return result


def winding_slopes(points: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    result = np.empty(len(points))
    _slopes(points, boundary, result)
    return result


@inlined
def _half_solid_angle(p, t):  # noqa: ANN001, ANN202
    ax, ay, az = t[0, 0] - p[0], t[0, 1] - p[1], t[0, 2] - p[2]
    bx, by, bz = t[1, 0] - p[0], t[1, 1] - p[1], t[1, 2] - p[2]
    cx, cy, cz = t[2, 0] - p[0], t[2, 1] - p[1], t[2, 2] - p[2]
    a, b, c = (math.sqrt(ax * ax + ay * ay + az * az), math.sqrt(bx * bx + by * by + bz * bz),
               math.sqrt(cx * cx + cy * cy + cz * cz))
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    cosine = a * b * c + (ax * bx + ay * by + az * bz) * c + (bx * cx + by * cy + bz * cz) * a + (
        cx * ax + cy * ay + cz * az) * b
    return math.atan2(volume, cosine)


@inlined
def _far_solid_angle(x, y, z, square, d, m, s):  # noqa: ANN001, ANN202
    """Of a node whose center is (x, y, z) away: d·r/r³ − 3 m(r, r)/r⁵ + 15 s(r, r, r)/r⁷."""
    first = m[0] * x * x + m[1] * y * y + m[2] * z * z + 2 * (m[3] * x * y + m[4] * y * z + m[5] * z * x)
    second = (x * x * (s[0] * x + s[3] * y + s[4] * z) + y * y * (s[1] * y + s[5] * x + s[6] * z)
              + z * z * (s[2] * z + s[7] * x + s[8] * y) + s[9] * x * y * z)
    return (d[0] * x + d[1] * y + d[2] * z + (15 * second / square - 3 * first) / square) / (
        square * math.sqrt(square))


@inlined
def _meeting(points, before, clear, i):  # noqa: ANN001, ANN202
    """One of the points before whose ball of free space meets that of point i, or -1."""
    for other in before:
        x, y, z = (points[other, 0] - points[i, 0], points[other, 1] - points[i, 1], points[other, 2] - points[i, 2])
        reach = (clear[i] + clear[other]) * (1 - 1e-9)
        if x * x + y * y + z * z < reach * reach:
            return other
    return -1


@compiled
def _sum(points, near, clear, triangles, bounds, center, far, dipole, first, second, result):  # noqa: ANN001, ANN202
    first_leaf = len(bounds) - 2
    for row in prange((len(points) + _ROW - 1) // _ROW):
        stack = np.empty(64, np.int64)
        here = near[row * _ROW:(row + 1) * _ROW]
        here = here[np.argsort(-clear[here])]  # from the freest, whose ball meets most others
        for place in range(len(here)):
            i = here[place]
            p = points[i]
            other = _meeting(points, here[:place], clear, i)
            if other >= 0:
                result[i] = result[other]
                continue
            total = 0.0
            stack[0], size = 0, 1
            while size:
                size -= 1
                node = stack[size]
                x, y, z = center[node, 0] - p[0], center[node, 1] - p[1], center[node, 2] - p[2]
                square = x * x + y * y + z * z
                if square > far[node]:
                    total += _far_solid_angle(x, y, z, square, dipole[node], first[node], second[node])
                elif node >= first_leaf:
                    leaf = node - first_leaf
                    for k in range(bounds[leaf], bounds[leaf + 1]):
                        total += 2 * _half_solid_angle(p, triangles[k])
                else:
                    stack[size], stack[size + 1] = 2 * node + 1, 2 * node + 2
                    size += 2
            result[i] = total / (4 * math.pi)


@compiled
def _slopes(points, boundary, result):  # noqa: ANN001, ANN202
    for i in prange(len(points)):
        p = points[i]
        sx, sy, sz = 0.0, 0.0, 0.0
        for k in range(len(boundary)):
            ax, ay, az = boundary[k, 0, 0] - p[0], boundary[k, 0, 1] - p[1], boundary[k, 0, 2] - p[2]
            bx, by, bz = boundary[k, 1, 0] - p[0], boundary[k, 1, 1] - p[1], boundary[k, 1, 2] - p[2]
            a, b = math.sqrt(ax * ax + ay * ay + az * az), math.sqrt(bx * bx + by * by + bz * bz)
            across = a * b * (a * b + ax * bx + ay * by + az * bz)
            if across > 0.0:
                share = (a + b) / across
                sx += share * (ay * bz - az * by)
                sy += share * (az * bx - ax * bz)
                sz += share * (ax * by - ay * bx)
        result[i] = math.sqrt(sx * sx + sy * sy + sz * sz) / (4 * math.pi)
