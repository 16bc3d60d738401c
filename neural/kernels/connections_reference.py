"""Sorted keys and scipy's graphs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def sides_by_edge(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sides = np.stack((faces, np.roll(faces, -1, axis=1)), axis=-1).reshape(-1, 2).astype(np.int64)
    corner = np.flatnonzero(sides[:, 0] != sides[:, 1])
    sides = sides[corner]
    key = sides.min(axis=1) * (int(faces.max(initial=0)) + 1) + sides.max(axis=1)
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[:len(key)])
    return (corner[order].astype(np.int32), np.append(first, len(key)).astype(np.int32),
            (sides[:, 0] < sides[:, 1])[order])


def components(count: int, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    parts = [(np.empty(0, np.int32),) * 2, *pairs]
    one, other = (np.concatenate(part) for part in zip(*parts, strict=True))
    graph = coo_matrix((np.ones(len(one), bool), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1]
