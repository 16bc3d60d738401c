"""A mesh as an octree of signed distances, in time and memory proportional to its surface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ...formats.mesh import Mesh
from ...formats.octree import EMPTY, FULL, MIXED, Octree, cells_of, depth_of, keys_from
from ..kernels.closest import TriangleTree, closest_triangles
from ..kernels.columns import Columns
from . import topology
from .octree import neighbours

# Cells of free space around the mesh.
_MARGIN = 2
# An open mesh has no inside: its surface becomes a wall of this many cells on either side.
_WALL = 0.75
# Children that are judged at once, and parents that have them.
_AT_ONCE = 1 << 19
_PARENTS = _AT_ONCE // 8

OnProgress = Callable[[float], None]


def silent(fraction: float) -> None:
    """For who does not want to hear of progress."""


def voxelise(mesh: Mesh, resolution: int, on_progress: OnProgress = silent) -> Octree:
    """Signed distances in metres, negative inside, exact at the voxels within a cell of the surface.

    resolution: cells along the longest side of the mesh. Inside is where the winding number is not 0; along lines
    in all three directions, two of which must agree, where the mesh has open edges; its hollows are filled.
    Marching cubes needs no more: both ends of an edge that the surface crosses lie within a cell of it. Farther off
    the values only keep their sign.
    """
    low = mesh.vertices.min(axis=0).astype(np.float64)
    size = np.ptp(mesh.vertices, axis=0).astype(np.float64)
    cell = float(size.max()) / resolution
    shape = (np.maximum(np.ceil(size / cell), 1) + 2 * _MARGIN).astype(int)
    # The first point lies half a cell inside the margin: points stand at the centres of cells that fill the box.
    origin = low + size / 2 - cell * (shape - 1) / 2
    triangles = (mesh.triangles() - origin) / cell
    closed = bool((topology.edges(mesh.faces).count == 2).all())
    inside = _Inside(triangles, (int(shape[0]), int(shape[1]), int(shape[2])), closed)

    reach = 1.0 if closed else 1.0 + _WALL
    states, values = _divided(TriangleTree(triangles), inside, depth_of(shape), reach, on_progress)
    if not closed:
        values = np.minimum(values, np.abs(values) - np.float32(_WALL))
        states = np.where(states == MIXED, states, np.where(values < 0, FULL, EMPTY)).astype(np.uint8)
    values[states == MIXED] = 0
    values *= np.float32(cell)
    world_from_grid = np.diag([cell, cell, cell, 1.0])
    world_from_grid[:3, 3] = origin
    depth = depth_of(shape)
    tree = Octree(keys_from(states, depth), states, values, depth, inside.shape, world_from_grid)
    if not closed:
        _fill_hollows(tree)
    return tree


class _Inside:
    """Which lattice points are inside."""

    def __init__(self, triangles: np.ndarray, shape: tuple[int, int, int], closed: bool) -> None:
        self.shape, self.closed = shape, closed
        self._columns = []
        for turn in range(1 if closed else 3):  # x, y, z turned round keep their handedness
            axes = np.roll([0, 1, 2], -turn)
            self._columns.append((Columns(triangles[..., axes], tuple(np.array(shape)[axes].tolist())), axes))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool at lattice points (N, 3) int."""
        votes = sum((columns.windings(points[:, axes]) != 0).astype(np.int8) for columns, axes in self._columns)
        return votes > len(self._columns) // 2


def _divided(surface: TriangleTree, inside: _Inside, depth: int, reach: float,
             on_progress: OnProgress) -> tuple[np.ndarray, np.ndarray]:
    """States and values, in cells, of a tree whose cells are divided near the surface: level by level."""
    states, values = [np.full(1, MIXED, np.uint8)], [np.zeros(1, np.float32)]
    parents = np.ones(1, np.int64)
    for level in range(1, depth + 1):
        states.append(np.empty(8 * len(parents), np.uint8))
        values.append(np.empty(8 * len(parents), np.float32))
        mixed = []
        for start in range(0, len(parents), _PARENTS):
            keys = (parents[start:start + _PARENTS, None] << 3 | np.arange(8)).reshape(-1)
            part = slice(8 * start, 8 * start + len(keys))
            states[-1][part], values[-1][part] = _judged(keys, surface, inside, 1 << depth - level, reach)
            mixed.append(keys[states[-1][part] == MIXED])
            # Each level has four times the cells of the one before.
            on_progress((1 / 3 + start / len(parents)) * 0.75 * 4.0 ** (level - depth))
        parents = np.concatenate(mixed)
    return np.concatenate(states), np.concatenate(values)


def _judged(keys: np.ndarray, surface: TriangleTree, inside: _Inside, size: int,
            reach: float) -> tuple[np.ndarray, np.ndarray]:
    """States and signed distances of cells of one level, `size` voxels a side."""
    first = cells_of(keys).astype(np.int64) * size
    distance = closest_triangles(first + (size - 1) / 2, surface)[0].astype(np.float32)
    full = inside(first)
    states = full.astype(np.uint8)
    if size > 1:
        near = distance <= np.sqrt(3) / 2 * (size - 1) + reach
        if not inside.closed:  # what is inside may end where there is no surface
            for corner in range(1, 8):
                offset = (size - 1) * np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
                near |= inside(first + offset) != full
        states[near] = MIXED
    return states, np.where(full, -1, 1) * np.minimum(distance, np.float32(reach))


def _fill_hollows(tree: Octree) -> None:
    """Make full, in place, what is empty but not joined to the outside: nobody sees it."""
    empty = np.flatnonzero(tree.states == EMPTY).astype(np.int32)
    number = np.full(len(tree.states) + 1, -1, np.int32)  # the last one stands for the outside
    number[empty] = np.arange(len(empty), dtype=np.int32)
    number[-1] = len(empty)
    one, other = [], []
    for axis in range(3):
        for step in (-1, 1):
            beyond = number[neighbours(tree, axis, step)[empty]]  # −1, beyond the root, is the outside
            joined = np.flatnonzero(beyond >= 0).astype(np.int32)
            one.append(joined)
            other.append(beyond[joined])
    row, column = np.concatenate(one), np.concatenate(other)
    graph = coo_matrix((np.ones(len(row), bool), (row, column)), shape=(len(empty) + 1,) * 2)
    component = connected_components(graph, directed=False)[1]
    hollow = empty[component[:-1] != component[-1]]
    assert tree.values is not None
    tree.states[hollow] = FULL
    tree.values[hollow] = -np.maximum(tree.values[hollow], np.finfo(np.float32).tiny)
