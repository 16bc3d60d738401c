"""Fused body of `hashgrid`: forward by blocks of points, backward by levels, whose rows nobody else writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from .dispatch import compiled, inlined
from .hashgrid import PRIMES, WIDTH, Levels

_f = np.float32
_PX, _PY, _PZ = PRIMES
_BLOCK = 1024  # points whose features stay in the cache while the levels go by


def encode(points: Tensor, table: Tensor, levels: Levels) -> Tensor:
    return _Encode.apply(points, table, levels)


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, points: Tensor, table: Tensor, levels: Levels) -> Tensor:  # type: ignore[override]
        context.save_for_backward(points)
        context.levels, context.shape = levels, table.shape
        out = points.new_empty(len(points), len(levels.resolutions) * WIDTH)
        _forward(points.contiguous().numpy(), table.detach().numpy(), *_arrays(levels), out.numpy())
        return out

    @staticmethod
    def backward(context: Any, by_features: Tensor) -> tuple[None, Tensor, None]:  # type: ignore[override]
        (points,) = context.saved_tensors
        by_table = points.new_zeros(context.shape)
        _backward(points.contiguous().numpy(), by_features.contiguous().numpy(), *_arrays(context.levels),
                  by_table.numpy())
        return None, by_table, None


def _arrays(levels: Levels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hashed = [levels.hashed(level) for level in range(len(levels.resolutions))]
    masks = np.where(hashed, levels.most - 1, 0)
    return np.array(levels.resolutions, np.int64), levels.starts, masks.astype(np.int64)


@inlined
def _locate(point, resolution, start, mask, rows, weights):
    """The rows of the eight corners around a point and their weights."""
    x, y, z = point[0] * _f(resolution), point[1] * _f(resolution), point[2] * _f(resolution)
    last = resolution - 1
    i, j, k = min(max(int(x), 0), last), min(max(int(y), 0), last), min(max(int(z), 0), last)
    fx, fy, fz = x - _f(i), y - _f(j), z - _f(k)
    gx, gy, gz = _f(1) - fx, _f(1) - fy, _f(1) - fz
    if mask:
        x0, x1, y0, y1, z0, z1 = i * _PX, (i + 1) * _PX, j * _PY, (j + 1) * _PY, k * _PZ, (k + 1) * _PZ
        rows[0], rows[1] = start + ((x0 ^ y0 ^ z0) & mask), start + ((x0 ^ y0 ^ z1) & mask)
        rows[2], rows[3] = start + ((x0 ^ y1 ^ z0) & mask), start + ((x0 ^ y1 ^ z1) & mask)
        rows[4], rows[5] = start + ((x1 ^ y0 ^ z0) & mask), start + ((x1 ^ y0 ^ z1) & mask)
        rows[6], rows[7] = start + ((x1 ^ y1 ^ z0) & mask), start + ((x1 ^ y1 ^ z1) & mask)
    else:
        side = resolution + 1
        first = start + (i * side + j) * side + k
        rows[0], rows[1], rows[2], rows[3] = first, first + 1, first + side, first + side + 1
        first += side * side
        rows[4], rows[5], rows[6], rows[7] = first, first + 1, first + side, first + side + 1
    weights[0], weights[1], weights[2], weights[3] = gx * gy * gz, gx * gy * fz, gx * fy * gz, gx * fy * fz
    weights[4], weights[5], weights[6], weights[7] = fx * gy * gz, fx * gy * fz, fx * fy * gz, fx * fy * fz


@compiled
def _forward(points, table, resolutions, starts, masks, out):
    for block in prange((len(points) + _BLOCK - 1) // _BLOCK):
        rows, weights = np.empty(8, np.int64), np.empty(8, np.float32)
        for level in range(len(resolutions)):
            resolution, start, mask = resolutions[level], starts[level], masks[level]
            for n in range(block * _BLOCK, min((block + 1) * _BLOCK, len(points))):
                _locate(points[n], resolution, start, mask, rows, weights)
                one, two = _f(0), _f(0)
                for c in range(8):
                    one += weights[c] * table[rows[c], 0]
                    two += weights[c] * table[rows[c], 1]
                out[n, 2 * level], out[n, 2 * level + 1] = one, two


@compiled
def _backward(points, by_features, resolutions, starts, masks, by_table):
    for level in prange(len(resolutions)):
        rows, weights = np.empty(8, np.int64), np.empty(8, np.float32)
        resolution, start, mask = resolutions[level], starts[level], masks[level]
        for n in range(len(points)):
            _locate(points[n], resolution, start, mask, rows, weights)
            one, two = by_features[n, 2 * level], by_features[n, 2 * level + 1]
            for c in range(8):
                by_table[rows[c], 0] += weights[c] * one
                by_table[rows[c], 1] += weights[c] * two
