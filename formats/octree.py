"""Octrees: sparse grids of voxels, fine at the surface and coarse elsewhere.

The representation is that of Tatarchenko, Dosovitskiy and Brox 2017 (Octree Generating Networks, section 3): a cell is
empty, full or mixed, and only mixed cells have children, all eight of them. A cell's key is its Morton code with a
leading 1 that marks the level: the root is 1, the parent of k is k >> 3, its children are k << 3 | 0 … 7, where
child c lies at (c & 1, c >> 1 & 1, c >> 2 & 1). Keys have 64 bits here, not 32, so that there are up to 20 levels.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes.errors import InputError
from .grids import check_file, check_place, damaged, npy_header

EMPTY, FULL, MIXED = 0, 1, 2
DEEPEST = 20
ENDING = ".octree"
MOST_CELLS = 2**28
_FORMAT = 1
# Dense values are read in blocks of this side, so that never more than one of them is there in many copies.
_BLOCK_LEVELS = 6

# Values (X, Y, Z), negative inside, of the voxels from `low` up to, without, `high`; they may lie beyond the grid.
ReadBlock = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Octree:
    """All cells of a tree over a grid of `shape` voxels; the root's cube has 2**depth voxels a side.

    What lies beyond the shape is empty. Where there are values, a cell's state is their sign; a voxel at the finest
    level has its own, a larger leaf one that is no farther from zero than those of its voxels.
    """

    keys: np.ndarray  # (N,) int64 ascending, hence coarse levels first
    states: np.ndarray  # (N,) uint8 EMPTY, FULL or MIXED
    values: np.ndarray | None  # (N,) float32, negative inside, 0 at mixed cells; None where only the states are known
    depth: int
    shape: tuple[int, int, int]
    world_from_grid: np.ndarray  # (4, 4) float64, takes a voxel's indices to its centre
    outside: float = np.inf  # the value beyond the shape; infinite ends the surface at the outer voxels' centres
    signed_distance: bool = True  # whether the values are distances in metres; else thresholded occupancies

    def level(self, level: int) -> slice:
        """Where the cells of a level stand."""
        first, end = np.searchsorted(self.keys, [1 << 3 * level, 2 << 3 * level])
        return slice(int(first), int(end))

    def find(self, keys: np.ndarray, level: int) -> np.ndarray:
        """For each cell (M,) of one level the index of the smallest cell of the tree that holds it."""
        found = np.full(len(keys), -1, np.int64)
        missing = np.arange(len(keys))
        while len(missing):
            there = self.level(level)
            sought = keys[missing]
            place = np.minimum(np.searchsorted(self.keys[there], sought) + there.start, len(self.keys) - 1)
            hit = self.keys[place] == sought
            found[missing[hit]] = place[hit]
            missing, keys, level = missing[~hit], keys >> 3, level - 1
        return found

    def dense(self, of_cells: np.ndarray) -> np.ndarray:
        """What its leaf has, of an array (N,) over the cells, at every voxel of the shape (X, Y, Z)."""
        grid = np.zeros((1, 1, 1), of_cells.dtype)
        for level in range(self.depth + 1):
            here = self.level(level)
            size = -(-np.array(self.shape) // (1 << self.depth - level))
            if level:
                grid = grid.repeat(2, 0)[:size[0]].repeat(2, 1)[:, :size[1]].repeat(2, 2)[:, :, :size[2]]
            cells = cells_of(self.keys[here])
            within = (cells < size).all(axis=1)
            grid[tuple(cells[within].T)] = of_cells[here][within]
        return grid

    def filled(self) -> np.ndarray:
        """The full voxels (X, Y, Z) bool."""
        return self.dense(self.states == FULL)


def keys_of(cells: np.ndarray, level: int) -> np.ndarray:
    """Keys (N,) of cells (N, 3) at a level, whose coordinates are at least 0 and less than 2**level."""
    key = np.full(len(cells), 1 << 3 * level, np.int64)
    for axis in range(3):
        bits = cells[:, axis].astype(np.int64)
        for shift, mask in _SPREAD:
            bits = (bits | bits << shift) & mask
        key |= bits << axis
    return key


def cells_of(keys: np.ndarray) -> np.ndarray:
    """Coordinates (N, 3) int32 of cells, all of one level, on the level's own lattice."""
    level = (int(keys[0]).bit_length() - 1) // 3 if len(keys) else 0
    code = keys ^ np.int64(1 << 3 * level)
    cells = np.empty((len(keys), 3), np.int32)
    for axis in range(3):
        bits = code >> axis & _SPREAD[-1][1]
        for (shift, _), mask in zip(_SPREAD[::-1], _GATHERED, strict=True):
            bits = (bits | bits >> shift) & mask
        cells[:, axis] = bits
    return cells


# Two zeros between neighbouring bits of up to 21, in steps of halving blocks.
_SPREAD = [(32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3),
           (2, 0x1249249249249249)]
_GATHERED = [mask for _, mask in _SPREAD[-2::-1]] + [0x1FFFFF]


def depth_of(shape: tuple[int, ...] | np.ndarray) -> int:
    """Levels below the root that a grid of this shape needs."""
    return (int(max(shape)) - 1).bit_length()


def from_dense(voxels: np.ndarray, world_from_grid: np.ndarray) -> Octree:
    """The least tree that has the same voxels (X, Y, Z) bool: eight equal children are merged, from the finest up."""
    def read(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return padded_block(voxels, low, high, False)

    return _from_blocks(read, voxels.shape, world_from_grid, has_values=False)


def from_blocks(read: ReadBlock, shape: tuple[int, ...], world_from_grid: np.ndarray, *, outside: float = np.inf,
                signed_distance: bool = True) -> Octree:
    """The least tree from which marching cubes makes the same surface as from all the values, read a block at a time.

    A voxel stays at the finest level where one of the cells between voxels' centres at it has both signs.
    """
    return _from_blocks(read, shape, world_from_grid, has_values=True, outside=outside,
                        signed_distance=signed_distance)


def padded_block(grid: np.ndarray, low: np.ndarray, high: np.ndarray, beyond: Any) -> np.ndarray:
    """grid[low:high] in all three axes, `beyond` where that is not in the grid."""
    block = np.full(high - low, beyond, grid.dtype)
    first, end = np.maximum(low, 0), np.minimum(high, grid.shape)
    if (first < end).all():
        block[tuple(map(slice, first - low, end - low))] = grid[tuple(map(slice, first, end))]
    return block


def _from_blocks(read: ReadBlock, shape: tuple[int, ...], world_from_grid: np.ndarray, *, has_values: bool,
                 outside: float = np.inf, signed_distance: bool = True) -> Octree:
    depth = depth_of(shape)
    fine = min(depth, _BLOCK_LEVELS)
    side, top = 1 << fine, depth - fine
    levels: list[list[_Part]] = [[] for _ in range(depth + 1)]
    voxel_order = _z_order(fine)
    tops = []
    for block in _z_order_cells(top):
        low = block * side
        if (low >= shape).any():
            tops.append((EMPTY, outside))
            continue
        values = read(low - 1, low + side + 1)
        inside = values < 0 if has_values else values
        if inside.all() or not inside.any():
            nearest = float(values.reshape(-1)[np.abs(values).argmin()]) if has_values else 0.0
            tops.append((int(inside[0, 0, 0]), nearest))
            continue
        keep = _at_crossings(inside) if has_values else np.zeros((side,) * 3, bool)
        core = (slice(1, -1),) * 3
        part = _Part(np.empty(0, np.int64), inside[core].reshape(-1)[voxel_order].astype(np.uint8),
                     values[core].reshape(-1)[voxel_order].astype(np.float32) if has_values else None)
        tops.append(_reduce(part, keep.reshape(-1)[voxel_order], int(keys_of(block[None], top)[0]), fine,
                            levels[top + 1:]))
    states, values = (np.array(column) for column in zip(*tops, strict=True))
    part = _Part(np.empty(0, np.int64), states.astype(np.uint8), values.astype(np.float32) if has_values else None)
    state, value = _reduce(part, np.zeros(len(states), bool), 1, top, levels[1:top + 1])
    levels[0].append(_Part(np.ones(1, np.int64), np.array([state], np.uint8), np.array([value], np.float32)))
    parts = [part for level in levels for part in level]
    return Octree(np.concatenate([part.keys for part in parts]), np.concatenate([part.states for part in parts]),
                  np.concatenate([part.values for part in parts if part.values is not None]) if has_values else None,
                  depth, (int(shape[0]), int(shape[1]), int(shape[2])), np.asarray(world_from_grid, np.float64),
                  outside, signed_distance)


@dataclass(frozen=True)
class _Part:
    """Cells of one level in ascending order of their keys."""

    keys: np.ndarray
    states: np.ndarray
    values: np.ndarray | None


def _reduce(part: _Part, keep: np.ndarray, root: int, height: int, levels: list[list[_Part]]) -> tuple[int, float]:
    """Merge the 8**height cells below `root` bottom-up; what stays goes to `levels`, the root's own is returned."""
    states, values = part.states, part.values
    for level in range(height, 0, -1):
        groups = states.reshape(-1, 8)
        merged = (groups == groups[:, :1]).all(axis=1) & (groups[:, 0] != MIXED) & ~keep.reshape(-1, 8).any(axis=1)
        stays = np.repeat(~merged, 8)
        levels[level - 1].append(_Part((root << 3 * level) | np.flatnonzero(stays), states[stays],
                                       None if values is None else values[stays]))
        if values is not None:
            children = values.reshape(-1, 8)
            nearest = np.abs(children).argmin(axis=1)
            values = np.where(merged, children[np.arange(len(children)), nearest], np.float32(0))
        states = np.where(merged, groups[:, 0], np.uint8(MIXED))
        keep = np.zeros(len(states), bool)
    return int(states[0]), 0.0 if values is None else float(values[0])


def _at_crossings(inside: np.ndarray) -> np.ndarray:
    """Voxels at a cell between centres that has both signs: (n, n, n) bool of a block (n + 2, …) with its border."""
    every, some = inside, inside
    for axis in range(3):
        before, after = (_cut(a, axis, slice(None, -1)) for a in (every, some))
        every, some = before & _cut(every, axis, slice(1, None)), after | _cut(some, axis, slice(1, None))
    crossing = some & ~every
    for axis in range(3):
        crossing = _cut(crossing, axis, slice(None, -1)) | _cut(crossing, axis, slice(1, None))
    return crossing


def _cut(array: np.ndarray, axis: int, part: slice) -> np.ndarray:
    return array[(slice(None),) * axis + (part,)]


def _z_order_cells(level: int) -> np.ndarray:
    """All cells of a level in the order of their keys, (8**level, 3)."""
    return cells_of(np.arange(1 << 3 * level, 2 << 3 * level, dtype=np.int64)).astype(np.int64)


def _z_order(level: int) -> np.ndarray:
    """Where the cells of a level, in the order of their keys, stand in a flat cube of them."""
    return _z_order_cells(level) @ np.array([1 << 2 * level, 1 << level, 1])


def keys_from(states: np.ndarray, depth: int) -> np.ndarray:
    """The keys (N,) of cells that stand in a tree's order, level by level: their states alone say where they are.

    ValueError where the states are not those of a whole tree of at most this depth.
    """
    keys = np.ones(max(len(states), 1), np.int64)
    first, end = 0, 1
    for level in range(depth + 1):
        mixed = first + np.flatnonzero(states[first:end] == MIXED)
        first, end = end, end + 8 * len(mixed)
        if end > len(states) or level == depth and len(mixed):
            break
        keys[first:end] = (keys[mixed, None] << 3 | np.arange(8)).reshape(-1)
    if end != len(states):
        raise ValueError(f"the states of {len(states)} cells are not those of a whole tree of depth {depth}")
    return keys


def halved(tree: Octree) -> Octree:
    """The tree without its finest level: each eight voxels become one, whose value is their mean.

    Signed distances are cut at a fine voxel's side before, as those far from the surface are not known better: so
    what stays is in proportion to the share of the volume that is inside, which keeps the surface in its place.
    """
    values, outside = tree.values, tree.outside
    if values is None:
        values, outside = np.where(tree.states == FULL, np.float32(-0.5), np.float32(0.5)), 0.5
    elif tree.signed_distance:
        side = np.float32(np.cbrt(abs(np.linalg.det(tree.world_from_grid[:3, :3]))))
        values, outside = np.clip(values, -side, side), min(outside, float(side))
    finest, parents = tree.level(tree.depth), tree.level(tree.depth - 1)
    states, kept = tree.states[:finest.start].copy(), values[:finest.start].copy()
    mixed = parents.start + np.flatnonzero(states[parents] == MIXED)
    kept[mixed] = values[finest].reshape(-1, 8).mean(axis=1)
    states[mixed] = np.where(kept[mixed] < 0, FULL, EMPTY)
    kept[states == MIXED] = 0
    x, y, z = (-(-n // 2) for n in tree.shape)
    fine_from_coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    fine_from_coarse[:3, 3] = 0.5  # a voxel's centre lies between those of its eight
    return replace(tree, keys=tree.keys[:finest.start], states=states, values=kept, depth=tree.depth - 1,
                   shape=(x, y, z), world_from_grid=tree.world_from_grid @ fine_from_coarse,
                   outside=outside, signed_distance=tree.signed_distance and tree.values is not None)


def iou(one: Octree, other: Octree) -> float:
    """The full voxels that both trees have, over those that either has; 1 where neither has any.

    Neither tree is expanded: along the Morton curve a full leaf is an interval, and intervals are intersected.
    """
    if one.shape != other.shape:
        raise ValueError(f"shapes {one.shape} and {other.shape} differ")
    start, length = _intervals(one)
    other_start, other_length = _intervals(other)
    before = np.append(0, np.cumsum(other_length))

    def covered(upto: np.ndarray) -> np.ndarray:
        """How many voxels of `other` come before a place on the curve."""
        last = np.searchsorted(other_start, upto, "right") - 1
        inside = np.minimum(upto - other_start[last], other_length[last]) if len(other_start) else 0
        return np.where(last >= 0, before[last] + inside, 0)

    common = int((covered(start + length) - covered(start)).sum())
    union = int(length.sum() + other_length.sum()) - common
    return common / union if union else 1.0


def _intervals(tree: Octree) -> tuple[np.ndarray, np.ndarray]:
    """Where the full leaves begin on the finest level's Morton curve, ascending, and their voxels."""
    starts, lengths = [], []
    for level in range(tree.depth + 1):
        here, below = tree.level(level), 3 * (tree.depth - level)
        full = tree.keys[here][tree.states[here] == FULL]
        starts.append((full ^ 1 << 3 * level) << below)
        lengths.append(np.full(len(full), 1 << below, np.int64))
    start = np.concatenate(starts)
    order = np.argsort(start)
    return start[order], np.concatenate(lengths)[order]


def write_octree(tree: Octree, path: Path) -> None:
    """Write a tree: the states level by level, from which the keys follow, and the leaves' values."""
    arrays: dict[str, Any] = {"format": np.int64(_FORMAT), "states": tree.states, "depth": np.int64(tree.depth),
              "shape": np.array(tree.shape, np.int64), "world_from_grid": tree.world_from_grid,
              "outside": np.float64(tree.outside), "signed_distance": np.bool_(tree.signed_distance)}
    if tree.values is not None:
        arrays["values"] = tree.values[tree.states != MIXED]
    with open(path, "wb") as file:  # numpy would add .npz to a name
        np.savez_compressed(file, **arrays)


def read_octree(path: Path) -> Octree:
    """Read a tree; InputError where it is missing, damaged, of a newer format, too large or no whole tree."""
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive)
        with np.load(path, allow_pickle=False) as arrays:
            tree = _tree({name: arrays[name] for name in arrays.files})
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zipfile, numpy and zlib fail in their own ways on a damaged file
        raise damaged(path, error) from error
    if not (tree.states == FULL).any():
        raise InputError(f"grid: {path} has no full cell; there is no surface in it")
    return tree


def _check_sizes(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse what must not be unpacked: arrays of any size may come from a few bytes."""
    for name in archive.namelist():
        with archive.open(name) as file:
            shape, dtype = npy_header(file)
        if name == "format.npy":
            with archive.open(name) as file:
                found = int(np.lib.format.read_array(file, allow_pickle=False))
            if found > _FORMAT:
                raise InputError(f"grid: {path} has the octree format {found}, this Maquette reads {_FORMAT}; "
                                 "update Maquette")
        if np.prod(shape, dtype=float) > MOST_CELLS or dtype.itemsize > 8:
            raise InputError(f"grid: {path} is too large ({name.removesuffix('.npy')}: "
                             f"{' × '.join(map(str, shape))}); give at most {MOST_CELLS} cells")


def _tree(arrays: dict[str, np.ndarray]) -> Octree:
    """The tree of a file's arrays; ValueError or KeyError where they do not fit each other."""
    depth, states = int(arrays["depth"]), arrays["states"]
    shape = tuple(int(n) for n in arrays["shape"])
    if not 0 <= depth <= DEEPEST:
        raise ValueError(f"its depth is {depth}, at most {DEEPEST} is possible")
    if len(shape) != 3 or min(shape) < 1 or max(shape) > 1 << depth:
        raise ValueError(f"its shape is {shape}, from 1 to {1 << depth} is possible")
    if states.dtype != np.uint8 or states.ndim != 1 or states.max(initial=0) > MIXED:
        raise ValueError("its states are not 0, 1 and 2")
    place = arrays["world_from_grid"]
    check_place(place)
    keys = keys_from(states, depth)
    values = None
    if "values" in arrays:
        values = np.zeros(len(states), np.float32)
        values[states != MIXED] = arrays["values"]
        if np.isnan(values).any() or ((values < 0) != (states == FULL)).any():
            raise ValueError("its values are not negative in the full cells alone")
    return Octree(keys, states, values, depth, (shape[0], shape[1], shape[2]), place, float(arrays["outside"]),
                  bool(arrays["signed_distance"]))
