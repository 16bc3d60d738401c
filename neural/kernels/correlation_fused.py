"""Pixel by pixel, its neighbours' costs in a short sorted list."""

from __future__ import annotations

import numpy as np
from numba import prange

from .correlation import NOISE, UNSEEN
from .dispatch import compiled

_f = np.float32
_NOISE, _UNSEEN = _f(NOISE), _f(UNSEEN)


def match(mean: np.ndarray, square: np.ndarray, means: np.ndarray, squares: np.ndarray, products: np.ndarray,
          inside: np.ndarray) -> np.ndarray:
    cost = np.empty(mean.shape, np.float32)
    _match(mean, square, means, squares, products, inside, cost)
    return cost


@compiled
def _match(mean, square, means, squares, products, inside, cost):
    number, height, width = means.shape
    for y in prange(height):
        found = np.empty(number, np.float32)
        for x in range(width):
            own = max(square[y, x] - mean[y, x] * mean[y, x], _f(0)) + _NOISE
            count = 0
            for n in range(number):
                if inside[n, y, x] == 0:
                    continue
                m = means[n, y, x]
                other = max(squares[n, y, x] - m * m, _f(0)) + _NOISE
                value = _f(0.5) - _f(0.5) * (products[n, y, x] - mean[y, x] * m) / np.sqrt(own * other)
                at = count
                while at > 0 and found[at - 1] > value:
                    found[at] = found[at - 1]
                    at -= 1
                found[at] = value
                count += 1
            half = (count + 1) // 2
            total = _f(0)
            for n in range(half):
                total += found[n]
            cost[y, x] = total / _f(half) if half > 0 else _UNSEEN
