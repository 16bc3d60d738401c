"""Two scans over the picture, each with the four directions whose pixel before it has passed."""

from __future__ import annotations

import numpy as np

from .dispatch import inlined, sequential
from .semi_global import EDGE

_f = np.float32
_EDGE = _f(EDGE)


def aggregate(cost: np.ndarray, grey: np.ndarray, small: float, large: float) -> np.ndarray:
    total = np.zeros_like(cost)
    _scan(cost, grey, _f(small), _f(large), total)
    backward = slice(None, None, -1), slice(None, None, -1)
    _scan(cost[backward], grey[backward], _f(small), _f(large), total[backward])
    return total


@inlined
def _follow(cost, before, least, small, jump, path, total):
    """One pixel's path cost, after that of the one before, and its share of the total; its least."""
    last = len(cost) - 1
    found = _f(np.inf)
    for d in range(last + 1):
        cheapest = min(before[d], least + jump)
        if d > 0:
            cheapest = min(cheapest, before[d - 1] + small)
        if d < last:
            cheapest = min(cheapest, before[d + 1] + small)
        value = cost[d] + (cheapest - least)
        path[d] = value
        total[d] += _f(0.125) * value
        found = min(found, value)
    return found


@sequential
def _scan(cost, grey, small, large, total):
    """Directions from the left, from the upper left, from above and from the upper right."""
    height, width, labels = cost.shape
    # Paths of this row and of the one above, which of them alternates; a column more on each side is free to begin.
    paths, least = np.zeros((2, 4, width + 2, labels), np.float32), np.zeros((2, 4, width + 2), np.float32)
    for y in range(height):
        now, above = y & 1, 1 - (y & 1)
        for x in range(width):
            for r in range(4):
                row, column = (now, x) if r == 0 else (above, x + r - 1)
                jump = large
                if 0 < column <= width and (r == 0 or y > 0):
                    other = grey[y, column - 1] if r == 0 else grey[y - 1, column - 1]
                    jump = max(large / (_f(1) + abs(grey[y, x] - other) / _EDGE), small)
                least[now, r, x + 1] = _follow(cost[y, x], paths[row, r, column], least[row, r, column], small, jump,
                                               paths[now, r, x + 1], total[y, x])
