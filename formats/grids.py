"""Grids of values: .npy, .npz and .binvox.

A grid's indices run x, y, z. Tools of deep learning often store z, y, x (PyTorch3D, volumes of (D, H, W)): save such
a grid as .npz with `axes="zyx"` beside `values`, or transpose it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes.errors import InputError
from .binvox import read_binvox, read_size

READABLE = (".npy", ".npz", ".binvox")
MOST_VALUES = 2**30
_NAMES = ("values", "grid", "voxels")


@dataclass(frozen=True)
class Grid:
    """Values at the centres of voxels: signed distances in any unit, negative inside, or occupancies from 0 to 1."""

    values: np.ndarray  # (X, Y, Z) float32
    world_from_grid: np.ndarray  # (4, 4) float64, takes a voxel's indices to its centre
    signed_distance: bool


def read_grid(path: Path) -> Grid:
    """Read a grid; InputError where it is missing, damaged, empty, constant, too large, not 3-D or not finite.

    .npz: `values`, `grid` or `voxels`, or its only array; optional `world_from_grid` and `axes` ("xyz" or "zyx").
    Without a place of its own the grid's voxels are cubes and its longest side spans −1 to 1. Values are signed
    distances where any is negative, else occupancies.
    """
    read = {".npy": _read_npy, ".npz": _read_npz, ".binvox": _read_binvox}.get(path.suffix.lower())
    if read is None:
        raise InputError(f"grid: {path} has an ending that is not read; give one of {' '.join(READABLE)}")
    check_file(path)
    try:
        values, world_from_grid = read(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zipfile, numpy and zlib fail in their own ways on a damaged file
        raise damaged(path, error) from error
    return Grid(values, _place(path, values.shape, world_from_grid), _check_values(path, values))


def check_file(path: Path) -> None:
    """InputError where there is no file at `path` or nothing in it."""
    if not path.is_file():
        raise InputError(f"grid: {path} does not exist; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"grid: {path} is empty (0 bytes); write it again")


def damaged(path: Path, error: Exception) -> InputError:
    """What to say where reading a file has ended with `error`."""
    line = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return InputError(f"grid: {path} cannot be read ({line}); it may be damaged or cut short, write it again")


def write_npz(grid: Grid, path: Path) -> None:
    """The job folder's own form."""
    np.savez(path, values=grid.values, world_from_grid=grid.world_from_grid, signed_distance=grid.signed_distance)


def read_npz(path: Path) -> Grid:
    """Read what `write_npz` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Grid(arrays["values"], arrays["world_from_grid"], bool(arrays["signed_distance"]))


def _read_npy(path: Path) -> tuple[np.ndarray, None]:
    with open(path, "rb") as file:
        _check_shape(path, *npy_header(file))
    return np.load(path, allow_pickle=False).astype(np.float32), None


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        arrays = [name for name in names if name not in ("world_from_grid", "axes", "signed_distance")]
        name = next((n for n in _NAMES if n in names), arrays[0] if len(arrays) == 1 else None)
        if name is None:
            raise InputError(f"grid: {path} has no array named values (it has {', '.join(names[:5]) or 'none'}); "
                             "save the grid under that name")
        with archive.open(f"{name}.npy") as file:  # before anything is unpacked
            _check_shape(path, *npy_header(file))
    with np.load(path, allow_pickle=False) as content:
        axes = str(content["axes"]) if "axes" in content else "xyz"
        if axes not in ("xyz", "zyx"):
            raise InputError(f"grid: {path} has axes {axes!r}; give xyz or zyx")
        values = content[name].astype(np.float32)
        values = np.ascontiguousarray(values.T) if axes == "zyx" else values
        return values, content["world_from_grid"].astype(np.float64) if "world_from_grid" in content else None


def _read_binvox(path: Path) -> tuple[np.ndarray, np.ndarray]:
    _check_shape(path, read_size(path), np.dtype(bool))
    voxels, world_from_grid = read_binvox(path)
    return voxels.astype(np.float32), world_from_grid


def npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array in an open .npy file, without reading the array."""
    major, _ = np.lib.format.read_magic(file)
    read: Callable = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _check_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    form = " × ".join(map(str, shape)) or "a single number"
    if dtype.kind not in "biuf":
        raise InputError(f"grid: {path} holds values of type {dtype}; give numbers or booleans")
    if len(shape) != 3:
        raise InputError(f"grid: {path} has {len(shape)} axes ({form}); give three, x, y and z")
    if 0 in shape:
        raise InputError(f"grid: {path} is empty ({form}); give at least one voxel along each axis")
    if np.prod(shape, dtype=float) > MOST_VALUES:
        raise InputError(f"grid: {path} is too large ({form}); give at most 1024 × 1024 × 1024 values")


def _check_values(path: Path, values: np.ndarray) -> bool:
    """Whether they are signed distances."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        count = int((~np.isfinite(values)).sum())
        raise InputError(f"grid: {path} has {count} values that are not finite; replace them")
    if low == high:
        raise InputError(f"grid: {path} is constant, all {values.size} values are {low:g}; there is no surface in it")
    if low >= 0 and high > 1:
        raise InputError(f"grid: {path} has values from {low:g} to {high:g}; give occupancies from 0 to 1, or signed "
                         "distances that are negative inside")
    return low < 0


def _place(path: Path, shape: tuple[int, ...], world_from_grid: np.ndarray | None) -> np.ndarray:
    if world_from_grid is None:
        cell = 2 / max(shape)
        world_from_grid = np.diag([cell, cell, cell, 1.0])
        world_from_grid[:3, 3] = cell * (1 - np.array(shape)) / 2
    try:
        check_place(world_from_grid)
    except ValueError as error:
        raise InputError(f"grid: {path} has {error}; mend it or leave it out") from error
    return world_from_grid


def check_place(world_from_grid: np.ndarray) -> None:
    """ValueError where this is no transform that a grid can have."""
    if world_from_grid.shape != (4, 4) or not np.isfinite(world_from_grid).all() or \
            not np.allclose(world_from_grid[3], [0, 0, 0, 1]) or np.linalg.det(world_from_grid[:3, :3]) == 0:
        raise ValueError("a world_from_grid that is not an invertible affine 4 × 4 matrix")
