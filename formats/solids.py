"""What is given as solids to a job's input: meshes, point clouds, grids and octrees, a file each in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes import Recipe
from ..recipes.errors import InputError
from . import grids, meshes, octree, points
from .grids import Grid
from .mesh import Mesh, read_npz, write_npz
from .octree import Octree
from .points import Points

_OCTREE = ".octree"
READABLE = tuple(dict.fromkeys((*meshes.READABLE, *points.READABLE, *grids.READABLE, _OCTREE)))
FEWEST_STEPS = 1000  # of float32 along the longest side of a solid
Solid = Mesh | Points | Grid | Octree


def gather_solids(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Read the files and write them as the job's input; returns what an estimate needs."""
    if not paths:
        raise InputError(f"input: none is given; give one or more meshes, point clouds or grids ({' '.join(READABLE)})")
    return write_solids([read_solid(path) for path in paths], input_folder)


def read_solid(path: Path) -> Solid:
    """Read a file by what it holds: a .ply or .obj without faces is a point cloud, an .npy of two axes too."""
    ending = path.suffix.lower()
    if ending not in READABLE:
        raise InputError(f"input: {path} has an ending that is not read; give one of {' '.join(READABLE)} .vdb")
    if not path.is_file():
        raise InputError(f"input: {path} does not exist; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"input: {path} is empty (0 bytes); write it again")
    if ending == _OCTREE:
        return octree.read_octree(path)
    if ending in points.READABLE and _holds_points(path, ending):
        return points.read_points(path)
    if ending in grids.READABLE and not _holds(path, ending, "vertices", "faces"):
        return grids.read_grid(path)
    return meshes.read_mesh(path)


def write_solids(solids: Sequence[Solid], input_folder: Path) -> dict[str, Any]:
    """Write input/000_mesh.npz, 001_points.npz and so on; returns the counts of faces, points and voxels."""
    input_folder.mkdir(parents=True, exist_ok=True)
    summary = {"solids": len(solids), "faces": 0, "points": 0, "voxels": 0}
    for number, solid in enumerate(solids):
        if isinstance(solid, Mesh | Points):
            _check_place(number, solid.vertices if isinstance(solid, Mesh) else solid.positions)
        if isinstance(solid, Mesh):
            write_npz(solid, input_folder / f"{number:03d}_mesh.npz")
            summary["faces"] += len(solid.faces)
        elif isinstance(solid, Points):
            points.write_npz(solid, input_folder / f"{number:03d}_points.npz")
            summary["points"] += len(solid.positions)
        elif isinstance(solid, Octree):
            octree.write_octree(solid, input_folder / f"{number:03d}_octree{_OCTREE}")
            summary["voxels"] += len(solid.keys)
        else:
            grids.write_npz(solid, input_folder / f"{number:03d}_grid.npz")
            summary["voxels"] += solid.values.size
    return summary


def _check_place(number: int, places: np.ndarray) -> None:
    """Refuse what lies so far from the origin that its places (N, 3) float32 have run together."""
    places = places[np.isfinite(places).all(axis=1)]
    if not len(places):
        return
    size, away = float(np.ptp(places, axis=0).max()), float(np.abs(places).max())
    step = float(np.spacing(np.float32(away)))
    if size < FEWEST_STEPS * step and (size > 0 or step > 1e-3):
        raise InputError(f"input: solid {number + 1} is {size:.3g} m large and {away:.3g} m from the origin, where places "
                         f"are {step:.2g} m apart; move it to the origin")


def read_solids(input_folder: Path) -> list[Solid]:
    """What `write_solids` wrote, in its order."""
    readers = {"mesh": read_npz, "points": points.read_npz, "grid": grids.read_npz, "octree": octree.read_octree}
    return [readers[path.stem[4:]](path) for path in sorted(input_folder.glob("[0-9][0-9][0-9]_*.*"))]


def _holds_points(path: Path, ending: str) -> bool:
    if ending == ".ply":
        return points.ply_faces(path) == 0
    if ending == ".obj":
        with open(path, encoding="utf-8", errors="replace") as file:
            return not any(line.startswith("f ") for line in file)
    return ending in points.TEXT or _holds(path, ending, "points")


def _holds(path: Path, ending: str, *names: str) -> bool:
    """Whether an .npz has arrays of these names; for an .npy, whether it has the two axes of a list of points."""
    try:
        if ending == ".npy":
            return names == ("points",) and np.load(path, allow_pickle=False, mmap_mode="r").ndim == 2
        if ending == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return all(name in arrays for name in names)
    except Exception:  # noqa: BLE001  damaged: the reader says so
        return False
    return False
