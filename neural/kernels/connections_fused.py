"""Sides counted into a bucket for each lesser vertex and sorted there; components by union-find."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import prange

from .dispatch import called, compiled, sequential

_FEW = 32  # of these insertion sorts faster


def sides_by_edge(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    vertex = faces.reshape(-1)
    bucket = _counted(vertex, int(vertex.max(initial=-1)) + 1)
    np.cumsum(bucket, out=bucket)
    corner, forward = np.empty(bucket[-1], np.int32), np.empty(bucket[-1], np.bool_)
    _distribute(vertex, bucket[:-1].copy(), corner)
    edges = _sort(vertex, bucket, corner, forward)
    np.cumsum(edges, out=edges)
    start = np.empty(edges[-1] + 1, np.int32)
    start[-1] = len(corner)
    _begin(vertex, bucket, corner, edges, start)
    return corner, start, forward


def components(count: int, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    parent = np.arange(count, dtype=np.int32)
    for one, other in pairs:
        _join(parent, np.ascontiguousarray(one, np.int32), np.ascontiguousarray(other, np.int32))
    _number(parent)
    return parent


@called
def _ends(vertex, corner):  # noqa: ANN001, ANN202
    """The lesser and the greater vertex of the side from a corner."""
    here, there = vertex[corner], vertex[corner - 2 if corner % 3 == 2 else corner + 1]
    return min(here, there), max(here, there)


@sequential
def _counted(vertex, count):  # noqa: ANN001, ANN202
    """How many sides have each vertex as the lesser one, from place 1 on."""
    bucket = np.zeros(count + 1, np.int32)
    for corner in range(len(vertex)):
        low, high = _ends(vertex, corner)
        if low != high:
            bucket[low + 1] += 1
    return bucket


@sequential
def _distribute(vertex, place, corner):  # noqa: ANN001, ANN202
    for c in range(len(vertex)):
        low, high = _ends(vertex, c)
        if low != high:
            corner[place[low]] = c
            place[low] += 1


@compiled
def _sort(vertex, bucket, corner, forward):  # noqa: ANN001, ANN202
    """Sort each bucket by the greater vertex, those of one as they are; returns the edges in each, from place 1 on."""
    edges = np.zeros(len(bucket), np.int32)
    for v in prange(len(bucket) - 1):
        first, end = bucket[v], bucket[v + 1]
        if end - first <= _FEW:
            for i in range(first + 1, end):
                c, j = corner[i], i
                high = _ends(vertex, c)[1]
                while j > first and _ends(vertex, corner[j - 1])[1] > high:
                    corner[j] = corner[j - 1]
                    j -= 1
                corner[j] = c
        else:
            keys = np.empty(end - first, np.int64)
            for i in range(first, end):
                keys[i - first] = np.int64(_ends(vertex, corner[i])[1]) << 32 | np.int64(corner[i])
            keys.sort()
            for i in range(first, end):
                corner[i] = np.int32(keys[i - first] & 0xFFFFFFFF)
        last = np.int32(-1)
        for i in range(first, end):
            forward[i] = vertex[corner[i]] == v
            high = _ends(vertex, corner[i])[1]
            edges[v + 1] += high != last
            last = high
    return edges


@compiled
def _begin(vertex, bucket, corner, edges, start):  # noqa: ANN001, ANN202
    for v in prange(len(bucket) - 1):
        edge, last = edges[v], np.int32(-1)
        for i in range(bucket[v], bucket[v + 1]):
            high = _ends(vertex, corner[i])[1]
            if high != last:
                start[edge] = i
                edge += 1
            last = high


@called
def _root(parent, i):  # noqa: ANN001, ANN202
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@sequential
def _join(parent, one, other):  # noqa: ANN001, ANN202
    """The least member of a component is its root."""
    for k in range(len(one)):
        a, b = _root(parent, one[k]), _root(parent, other[k])
        if a < b:
            parent[b] = a
        else:
            parent[a] = b


@sequential
def _number(parent):  # noqa: ANN001, ANN202
    """Put each one's component in the place of its parent, which comes before it and is numbered already."""
    count = np.int32(0)
    for i in range(len(parent)):
        if parent[i] == i:
            parent[i] = count
            count += 1
        else:
            parent[i] = parent[parent[i]]
