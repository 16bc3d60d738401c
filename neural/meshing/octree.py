"""The surface of an octree: the cells that marching cubes needs, or one cube a full voxel.

Leaves meet at sides; where a full leaf meets an empty one lies the surface. It is taken apart at the finest level's
lattice, whatever the leaves' levels, so that nothing cracks between levels and the result is that of the dense grid.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ...formats.mesh import Mesh
from ...formats.octree import EMPTY, FULL, MIXED, Octree, cells_of, keys_of
from .cells import Cells
from .cubify import side_corners

_AT_ONCE = 1 << 20


def neighbours(tree: Octree, axis: int, step: int) -> np.ndarray:
    """For each cell (N,) int32 the cell of its own level beyond a side, or the larger leaf there; −1 beyond the root.

    Top-down (Samet 1982): the neighbour is a sibling, or a child of the parent's neighbour, or that itself.
    """
    found = np.full(len(tree.keys), -1, np.int32)
    mixed = tree.states == MIXED
    # The children of the n-th mixed cell of all are the n-th eight cells after the root.
    first_child = np.cumsum(mixed, dtype=np.int32)
    first_child *= 8
    first_child -= 7
    bit = 1 << axis
    for level in range(tree.depth):
        parent = np.flatnonzero(mixed[tree.level(level)]) + tree.level(level).start
        beyond = found[parent]
        child = first_child[parent]
        enters = (beyond >= 0) & mixed[beyond]
        into = first_child[beyond]
        for octant in range(8):
            if bool(octant & bit) == (step < 0):
                found[child + octant] = child + (octant ^ bit)
            else:
                found[child + octant] = np.where(enters, into + (octant ^ bit), beyond)
    return found


def sides(tree: Octree) -> Iterator[tuple[np.ndarray, int, int]]:
    """The sides of full voxels behind which it is empty: the voxels (Q, 3) int32, the axis, and −1 or 1 along it."""
    for axis in range(3):
        for step in (-1, 1):
            beyond = neighbours(tree, axis, step)
            for level in range(tree.depth + 1):
                here = tree.level(level)
                for start in range(here.start, here.stop, _AT_ONCE):
                    part = slice(start, min(start + _AT_ONCE, here.stop))
                    yield from _sides(tree, part, beyond[part], level, here.start, axis, step)


def _sides(tree: Octree, part: slice, beyond: np.ndarray, level: int, first: int, axis: int,
           step: int) -> Iterator[tuple[np.ndarray, int, int]]:
    own, other = tree.states[part], np.where(beyond < 0, np.uint8(EMPTY), tree.states[beyond])
    out = np.flatnonzero((own == FULL) & (other == EMPTY))
    # Two leaves of one level see each other; a larger one does not see the smaller.
    into = np.flatnonzero((own == EMPTY) & (other == FULL) & (beyond < first))
    size = 1 << tree.depth - level
    for chosen, at, turn in ((out, size - 1 if step > 0 else 0, step), (into, size if step > 0 else -1, -step)):
        if len(chosen):
            offsets = np.moveaxis(np.indices((size, size, 1), np.int32), 0, -1).reshape(-1, 3)
            offsets = np.roll(offsets, axis - 2, axis=1)
            offsets[:, axis] = at
            voxels = cells_of(tree.keys[part][chosen]) * np.int32(size)
            yield (voxels[:, None] + offsets).reshape(-1, 3), axis, turn


def surface_cells(tree: Octree) -> Cells:
    """The cells between voxels' centres that the surface crosses, with the values there.

    Without values the surface lies halfway between full and empty voxels' centres.
    """
    lattice = _Lattice(tree)
    found = [np.empty(0, np.int64)]
    for voxels, axis, step in sides(tree):
        first = lattice.index(voxels) + min(step, 0) * lattice.strides[axis]
        u, v = (lattice.strides[(axis + turn) % 3] for turn in (1, 2))
        found.append(_distinct(np.concatenate((first, first - u, first - v, first - u - v))))
    cells = _distinct(np.concatenate(found))
    del found
    corners = cells
    for stride in lattice.strides:
        corners = _distinct(np.concatenate((corners, corners + stride)))
    points, values = np.empty((len(corners), 3), np.int32), np.empty(len(corners), np.float32)
    for start in range(0, len(corners), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        points[part] = lattice.points(corners[part])
        values[part] = _values(tree, points[part])
    places = np.empty((len(cells), 8), np.int32)
    for corner in range(8):
        offset = sum(stride for axis, stride in enumerate(lattice.strides) if corner >> axis & 1)
        places[:, corner] = np.searchsorted(corners, cells + offset)
    return Cells(torch.from_numpy(points), torch.from_numpy(values), torch.from_numpy(places), tree.world_from_grid)


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """Sorted in place, each once. (np.unique hashes, which is slow for numbers with a pattern.)"""
    numbers.sort()
    return numbers[np.append(True, numbers[1:] != numbers[:-1])[:len(numbers)]]


class _Lattice:
    """Numbers of the voxels, with one more all around."""

    def __init__(self, tree: Octree) -> None:
        self.side = (1 << tree.depth) + 2
        self.strides = (self.side**2, self.side, 1)

    def index(self, voxels: np.ndarray) -> np.ndarray:
        return (voxels.astype(np.int64) + 1) @ np.array(self.strides)

    def points(self, index: np.ndarray) -> np.ndarray:
        coordinates = np.empty((len(index), 3), np.int32)
        for axis, stride in enumerate(self.strides):
            coordinates[:, axis] = index // stride % self.side - 1
        return coordinates


def _values(tree: Octree, points: np.ndarray) -> np.ndarray:
    """At voxels (P, 3), which may lie beyond the shape: (P,) float32."""
    values = np.full(len(points), 0.5 if tree.values is None else tree.outside, np.float32)
    within = np.flatnonzero(((points >= 0) & (points < tree.shape)).all(axis=1))
    leaf = tree.find(keys_of(points[within], tree.depth), tree.depth)
    values[within] = 0.5 - (tree.states[leaf] == FULL) if tree.values is None else tree.values[leaf]
    return values


def cubify(tree: Octree) -> Mesh:
    """One cube a full voxel, sides between two full ones left out; see `cubify.cubify`."""
    lattice = _Lattice(tree)
    corners = [np.empty((0, 4), np.int64)]
    for voxels, axis, step in sides(tree):
        corners.append(lattice.index(voxels)[:, None] + side_corners(axis, step) @ np.array(lattice.strides))
    used, corner = np.unique(np.concatenate(corners), return_inverse=True)
    faces = corner.reshape(-1, 4)[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    # A voxel's first corner lies half a voxel before its centre.
    return Mesh(lattice.points(used) - 0.5, faces, quads=len(faces) // 2).transformed(tree.world_from_grid)
