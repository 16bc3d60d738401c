"""A tree of boxes over triangles, built once and asked often."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_LEAF = 4


@dataclass(frozen=True)
class TriangleTree:
    """A full binary tree over the triangles in Morton order: node k has the children 2k + 1 and 2k + 2.

    Leaf i is node 2^depth − 1 + i and holds the triangles from bounds[i] to bounds[i + 1], at least one.
    """

    triangles: np.ndarray  # (F, 3, 3) float64, in the tree's order, F > 0
    order: np.ndarray = field(init=False)  # (F,) the number that each of them was given with
    bounds: np.ndarray = field(init=False)  # (2^depth + 1,)
    low: np.ndarray = field(init=False)  # (nodes, 3) float64 each node's box
    high: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        given = np.ascontiguousarray(self.triangles, np.float64)
        lower, upper = given.min(axis=1), given.max(axis=1)
        order = np.argsort(morton((lower + upper) / 2), kind="stable")
        depth = max(0, int(np.ceil(np.log2(len(given) / _LEAF))))
        bounds = np.linspace(0, len(given), 2**depth + 1).astype(np.int64)
        low = [np.minimum.reduceat(lower[order], bounds[:-1])]
        high = [np.maximum.reduceat(upper[order], bounds[:-1])]
        while len(low[0]) > 1:
            low.insert(0, low[0].reshape(-1, 2, 3).min(axis=1))
            high.insert(0, high[0].reshape(-1, 2, 3).max(axis=1))
        for name, value in (("triangles", given[order]), ("order", order), ("bounds", bounds),
                            ("low", np.concatenate(low)), ("high", np.concatenate(high))):
            object.__setattr__(self, name, value)


def morton(points: np.ndarray) -> np.ndarray:
    """Each point's place (N,) int64 along the Z curve, 16 bits an axis: near in space, near in order."""
    low = points.min(axis=0, initial=np.inf)
    size = max(float((points.max(axis=0, initial=-np.inf) - low).max(initial=0)), 1e-300)
    code = np.zeros(len(points), np.int64)
    for axis in range(3):
        cell = np.minimum((points[:, axis] - low[axis]) / size * 65536, 65535).astype(np.int64)
        # Two free bits after each: the halves are moved apart until every bit stands alone.
        for shift, mask in ((16, 0x0000FF0000FF), (8, 0x00F00F00F00F), (4, 0x0C30C30C30C3), (2, 0x249249249249)):
            cell = (cell | cell << shift) & mask
        code |= cell << axis
    return code
