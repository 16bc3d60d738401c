"""Bands of rows on all threads, in each the faces, or the outline's pieces, one after the other."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from . import raster_fused
from .dispatch import compiled, inlined
from .raster import blank
from .rasterizer import BESIDE, DRAWS, HALF_PIECE

_BANDS = 16


def visible(corners: Tensor, height: int, width: int) -> Tensor:
    drawn = [blank(height, width) for _ in corners]
    for triangles, onto in zip(corners.contiguous().numpy(), drawn, strict=True):
        raster_fused.draw(triangles, 0, *onto)
    faces = [onto.face for onto in drawn]
    return torch.from_numpy(np.stack(faces) if faces else np.empty((0, height, width), np.int32))


def outline(corners: Tensor, face: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    triangles = corners.contiguous().numpy()
    foot, share = np.full(face.shape, -1), np.empty(face.shape)
    _feet(triangles, face.numpy(), foot, share)
    edge, beside = np.full(face.shape, -1), np.zeros(face.shape, np.int64)
    _spread(triangles, foot, share, reach, edge, beside)
    return torch.from_numpy(edge), torch.from_numpy(beside)


@inlined
def _nearest(ax, ay, bx, by, x, y, low, high):
    """Where on the line of an edge (x, y) is nearest, and its squared distance from the part from low to high."""
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    share = ((x - ax) * dx + (y - ay) * dy) / length if length > 0.0 else 0.0
    part = min(max(share, low), high)
    ex, ey = ax + part * dx - x, ay + part * dy - y
    return share, ex * ex + ey * ey


@compiled
def _feet(corners, face, foot, share):
    """The nearest edge, and where on it, of background pixels beside the foreground."""
    batch, height, width = face.shape
    for task in prange(batch * _BANDS):
        b, band = task // _BANDS, task % _BANDS
        top, bottom = band * height // _BANDS, (band + 1) * height // _BANDS - 1
        beside = np.zeros((bottom - top + 1, width), np.bool_)
        apart = np.full((bottom - top + 1, width), np.inf)
        for j in range(top, bottom + 1):
            for i in range(width):
                if face[b, j, i] >= 0:
                    continue
                for v in range(max(j - 1, 0), min(j + 2, height)):
                    for u in range(max(i - 1, 0), min(i + 2, width)):
                        beside[j - top, i] |= face[b, v, u] >= 0
        for f in range(corners.shape[1]):
            t = corners[b, f]
            y0 = max(np.ceil(min(t[0, 1], t[1, 1], t[2, 1]) - 0.5 - BESIDE), top)
            y1 = min(np.floor(max(t[0, 1], t[1, 1], t[2, 1]) - 0.5 + BESIDE), bottom)
            area = (t[1, 0] - t[0, 0]) * (t[2, 1] - t[0, 1]) - (t[1, 1] - t[0, 1]) * (t[2, 0] - t[0, 0])
            if not (y0 <= y1 and min(t[0, 2], t[1, 2], t[2, 2]) > 0.0) or area == 0.0:
                continue
            x0 = max(np.ceil(min(t[0, 0], t[1, 0], t[2, 0]) - 0.5 - BESIDE), 0)
            x1 = min(np.floor(max(t[0, 0], t[1, 0], t[2, 0]) - 0.5 + BESIDE), width - 1)
            for j in range(int(y0), int(y1) + 1):
                for i in range(int(x0), int(x1) + 1):
                    if not beside[j - top, i]:
                        continue
                    for k in range(3):
                        n = (k + 1) % 3
                        at, away = _nearest(t[k, 0], t[k, 1], t[n, 0], t[n, 1], i + 0.5, j + 0.5, 0.0, 1.0)
                        away = np.rint(away * DRAWS)
                        if away < apart[j - top, i]:
                            apart[j - top, i], foot[b, j, i], share[b, j, i] = away, 3 * f + k, at


@compiled
def _spread(corners, foot, share, reach, edge, beside):
    """To each pixel the nearest piece of outline: from every pixel that stands for one to those within reach."""
    batch, height, width = foot.shape
    span = int(np.ceil(reach + BESIDE))
    for task in prange(batch * _BANDS):
        b, band = task // _BANDS, task % _BANDS
        top, bottom = band * height // _BANDS, (band + 1) * height // _BANDS
        apart = np.full((bottom - top, width), reach * reach)
        for j in range(max(top - span, 0), min(bottom + span, height)):
            for i in range(width):
                if foot[b, j, i] < 0:
                    continue
                f, k = foot[b, j, i] // 3, foot[b, j, i] % 3
                n = (k + 1) % 3
                ax, ay, bx, by = corners[b, f, k, 0], corners[b, f, k, 1], corners[b, f, n, 0], corners[b, f, n, 1]
                half = HALF_PIECE / max(np.hypot(bx - ax, by - ay), 1e-12)
                low = min(max(share[b, j, i] - half, 0.0), 1.0)
                high = min(max(share[b, j, i] + half, 0.0), 1.0)
                for v in range(max(j - span, top), min(j + span + 1, bottom)):
                    for u in range(max(i - span, 0), min(i + span + 1, width)):
                        _, away = _nearest(ax, ay, bx, by, u + 0.5, v + 0.5, low, high)
                        if away < apart[v - top, u]:
                            apart[v - top, u], edge[b, v, u], beside[b, v, u] = away, 3 * f + k, j * width + i


def add_ramps(corners: Tensor, along: int, face: Tensor, by_alpha: Tensor, epsilon: float, gradient: Tensor) -> None:
    _add_ramps(corners.contiguous().numpy(), along, face.contiguous().numpy(), by_alpha.contiguous().numpy(), epsilon,
               gradient.numpy())


@compiled
def _add_ramps(corners, along, face, by_alpha, epsilon, gradient):
    batch, lines, size = face.shape
    count, across = corners.shape[1], 1 - along
    seen = np.zeros((batch, count), np.bool_)
    for b in range(batch):
        for c in range(lines):
            for d in range(size):
                if face[b, c, d] >= 0:
                    seen[b, face[b, c, d]] = True
    for n in prange(batch * count):
        b, f = n // count, n % count
        for k in range(3 if seen[b, f] else 0):
            i, j = (k + 1) % 3, (k + 2) % 3
            a0, d0 = corners[b, f, k, along] - 0.5, corners[b, f, k, across] - 0.5
            a1, d1 = corners[b, f, i, along] - 0.5, corners[b, f, i, across] - 0.5
            a2, d2 = corners[b, f, j, along] - 0.5, corners[b, f, j, across] - 0.5
            if a0 == a1:
                continue
            slope = (d1 - d0) / (a1 - a0)
            outward = 1 if d2 < d0 + slope * (a2 - a0) else -1
            inmost = min(max(min(d0, d1, d2), 0.0), size) if outward > 0 else min(max(max(d0, d1, d2), -1.0), size - 1)
            by_0, by_1 = 0.0, 0.0
            for c in range(int(max(np.ceil(min(a0, a1)), 0)), int(min(np.floor(max(a0, a1)), lines - 1)) + 1):
                crossing = d0 + slope * (c - a0)
                if not -1.0 < crossing < size:
                    continue
                inner = int(np.floor(crossing)) if outward > 0 else int(np.ceil(crossing))
                outer = inner + outward
                if min(inner, outer) < 0 or max(inner, outer) >= size:
                    continue
                lever_0 = (a1 - a0) / (a1 - c) if a1 != c else np.inf
                lever_1 = (a1 - a0) / (c - a0) if a0 != c else np.inf
                if face[b, c, inner] == f:
                    for d in range(outer, size if outward > 0 else -1, outward):
                        if face[b, c, d] < 0 and by_alpha[b, c, d] < 0.0:
                            by_0 += by_alpha[b, c, d] / _ramp(lever_0, d - crossing, epsilon)
                            by_1 += by_alpha[b, c, d] / _ramp(lever_1, d - crossing, epsilon)
                if face[b, c, outer] < 0:
                    for d in range(inner, int(inmost) - outward, -outward):
                        if face[b, c, d] == f and by_alpha[b, c, d] > 0.0:
                            by_0 -= by_alpha[b, c, d] / _ramp(lever_0, d - crossing, epsilon)
                            by_1 -= by_alpha[b, c, d] / _ramp(lever_1, d - crossing, epsilon)
            gradient[b, f, k, across] += by_0
            gradient[b, f, i, across] += by_1


@inlined
def _ramp(lever, away, epsilon):
    """How far a corner goes for its edge to cover `away`; infinitely, where it cannot."""
    if np.isinf(lever):
        return np.inf
    return lever * away + (epsilon if lever * away > 0.0 else -epsilon)
