"""Rows of the lattice in parallel, in passes as flying edges has them (Schroeder, Maynard and Geveci 2015).

First which points are inside, as bits, 64 points of a row in a word; then, from the bits, how many vertices and faces
each row will have; last, when each row knows where its own begin, vertices and faces themselves. A vertex's number is
how many crossed edges come before it, so a word's first number and the bits give it: no table of edges is kept.
Cells that stand in any order have their vertices numbered by points instead of rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from .dispatch import called, compiled
from .isosurface_cell import cell_key, put_faces, put_vertex, share_between
from .isosurface_reference import APART
from .isosurface_rows import count_rows, fill_rows, inside_bits
from .isosurface_table import EDGES, table

_LOW, _HIGH = EDGES[:, 0].copy(), EDGES[:, 1].copy()


def grid_surface(values: Tensor, level: float, world_from_grid: np.ndarray) -> tuple[Tensor, Tensor]:
    grid, world = values.numpy(), np.ascontiguousarray(world_from_grid, np.float64)
    if min(grid.shape) < 2:
        return torch.empty((0, 3)), torch.empty((0, 3), dtype=torch.int32)
    bits = inside_bits(grid, _least_above(level))
    vertices, triangles, centres = count_rows(grid, level, bits, *table())
    starts = _starts(vertices), _starts(triangles), _starts(centres)
    return _centred(*fill_rows(grid, level, world, bits, *starts, *table()))


def cells_surface(points: Tensor, values: Tensor, corners: Tensor, world_from_lattice: np.ndarray
                  ) -> tuple[Tensor, Tensor]:
    cells, at_points = corners.numpy(), values.numpy()
    crossed, keys = _cross_points(at_points, cells, *table())
    starts = _starts(crossed.sum(axis=1, dtype=np.uint8)), _starts(np.diff(table().first)[keys]), \
        _starts(table().centre[keys] >= 0)
    shares = _shares(at_points, cells, crossed, starts[0])
    world = np.ascontiguousarray(world_from_lattice, np.float64)
    return _centred(*_fill_cells(points.numpy(), shares, cells, world, keys, crossed, *starts, *table()))


def _centred(vertices: np.ndarray, faces: np.ndarray, rings: np.ndarray) -> tuple[Tensor, Tensor]:
    """Put the vertices behind the crossings at the centres of their rings (C, 12) of crossings."""
    used = (rings >= 0)[..., None]
    around = (vertices[np.maximum(rings, 0)] * used).sum(axis=1, dtype=np.float64)
    vertices[len(vertices) - len(rings):] = around / used.sum(axis=1)
    return torch.from_numpy(vertices), torch.from_numpy(faces)


def _least_above(level: float) -> np.float32:
    """The least float32 that is not below the level: to be below it is to be below the level."""
    rounded = np.float32(level)
    return rounded if float(rounded) >= level else np.nextafter(rounded, np.float32(np.inf))


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each part begins, and behind them where the last ends."""
    starts = np.zeros(counts.size + 1, np.int32)
    np.cumsum(counts.reshape(-1), out=starts[1:])
    return starts


@compiled
def _cross_points(values, corners, ambiguous, first, triangles, centre, loops):  # noqa: ANN001, ANN202
    """Which edges along x, y and z from each point are crossed (P, 3), and the cells' keys (N,)."""
    crossed = np.zeros((len(values), 3), np.uint8)
    keys = np.empty(len(corners), np.int16)
    for n in prange(len(corners)):
        corner_values = np.empty(8, np.float64)
        for c in range(8):
            corner_values[c] = values[corners[n, c]]
        key = cell_key(corner_values, ambiguous)
        keys[n] = key
        for e in range(12):
            if (key >> _LOW[e] & 1) != (key >> _HIGH[e] & 1):
                crossed[corners[n, _LOW[e]], e // 4] = 1  # whoever of an edge's cells comes, writes the same
    return crossed, keys


@compiled
def _shares(values, corners, crossed, first_vertex):  # noqa: ANN001, ANN202
    """Where the crossings are on their edges, (V,) float64."""
    ends = np.empty((first_vertex[-1], 2), np.int32)
    for n in prange(len(corners)):
        for e in range(12):
            low, high = corners[n, _LOW[e]], corners[n, _HIGH[e]]
            if (values[low] < 0.0) != (values[high] < 0.0):
                v = _mark(crossed, first_vertex, low, e // 4)
                ends[v, 0], ends[v, 1] = low, high
    shares = np.empty(len(ends), np.float64)
    for v in prange(len(ends)):
        shares[v] = share_between(np.float64(values[ends[v, 0]]), np.float64(values[ends[v, 1]]))
    near = np.zeros(len(values), np.uint8)
    for v in range(len(ends)):
        if shares[v] < APART or shares[v] > 1.0 - APART:
            near[ends[v, np.int64(shares[v] > 0.5)]] += 1
    for v in prange(len(ends)):
        if near[ends[v, np.int64(shares[v] > 0.5)]] > 1:
            shares[v] = min(max(shares[v], APART), 1.0 - APART)
    return shares


@called
def _mark(crossed, first_vertex, point, axis):  # noqa: ANN001, ANN202
    """The number of the crossing on the edge from a point along the axis."""
    v = first_vertex[point]
    if axis > 0:
        v += crossed[point, 0]
    if axis > 1:
        v += crossed[point, 1]
    return v


@compiled
def _fill_cells(points, shares, corners, world, keys, crossed,  # noqa: ANN001, ANN202
                first_vertex, first_face, first_centre, ambiguous, first, triangles, centre, loops):
    crossings = len(shares)
    vertices = np.empty((crossings + first_centre[-1], 3), np.float32)
    faces = np.empty((first_face[-1], 3), np.int32)
    rings = np.empty((first_centre[-1], 12), np.int32)
    for p in prange(len(points)):
        v = first_vertex[p]
        for axis in range(3):
            if crossed[p, axis]:
                put_vertex(vertices, v, world, points[p, 0] + shares[v] * (axis == 0),
                       points[p, 1] + shares[v] * (axis == 1), points[p, 2] + shares[v] * (axis == 2))
                v += 1
    for n in prange(len(corners)):
        nodes = np.empty(13, np.int32)
        key = np.int64(keys[n])
        for e in range(12):
            if (key >> _LOW[e] & 1) != (key >> _HIGH[e] & 1):
                nodes[e] = _mark(crossed, first_vertex, corners[n, _LOW[e]], e // 4)
        put_faces(faces, rings, nodes, first_face[n], first_centre[n], crossings, key, first, triangles, centre, loops)
    return vertices, faces, rings
