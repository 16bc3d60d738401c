"""Path by path, all labels at once."""

from __future__ import annotations

import numpy as np

from .semi_global import EDGE

_DIRECTIONS = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]


def aggregate(cost: np.ndarray, grey: np.ndarray, small: float, large: float) -> np.ndarray:
    height, width, _ = cost.shape
    total = np.zeros_like(cost)
    for down, right in _DIRECTIONS:
        path = np.zeros_like(cost)
        for y in range(height)[::-1 if down < 0 else 1]:
            for x in range(width)[::-1 if right < 0 else 1]:
                path[y, x] = cost[y, x]
                above, left = y - down, x - right
                if 0 <= above < height and 0 <= left < width:
                    jump = max(large / (1 + abs(grey[y, x] - grey[above, left]) / EDGE), small)
                    path[y, x] += _cheapest(path[above, left], small, jump)
        total += path
    return total / len(_DIRECTIONS)


def _cheapest(before: np.ndarray, small: float, jump: float) -> np.ndarray:
    """What a label (D,) adds after the path costs (D,) of the pixel before."""
    least = before.min()
    step = np.pad(before + small, 1, constant_values=np.inf)
    return np.minimum.reduce([before, step[:-2], step[2:], np.full_like(before, least + jump)]) - least
