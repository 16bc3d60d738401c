"""What is given as a volume to a job's input: a grid, an octree, or a mesh that the worker makes into one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes import Recipe
from ..recipes.errors import InputError
from . import grids, meshes, octree
from .mesh import write_npz

GRID, OCTREE, MESH = "grid.npz", "grid.octree", "mesh.npz"
READABLE = tuple(dict.fromkeys((*grids.READABLE, octree.ENDING, *meshes.READABLE)))


def gather_volume(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Read one volume and write it as input/grid.npz, grid.octree or mesh.npz; returns what an estimate needs."""
    if len(paths) != 1:
        raise InputError(f"input: {len(paths)} inputs are given; voxels take one, a grid, an octree or a mesh")
    path = Path(paths[0])
    if path.suffix.lower() not in READABLE:
        raise InputError(f"input: {path} has an ending that is not read; give one of {' '.join(READABLE)} .vdb")
    input_folder.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in grids.READABLE and not _holds_mesh(path):
        grid = grids.read_grid(path)
        grids.write_npz(grid, input_folder / GRID)
        return {"voxels": grid.values.size, "shape": list(grid.values.shape)}
    if path.suffix.lower() == octree.ENDING:
        tree = octree.read_octree(path)
        shutil.copyfile(path, input_folder / OCTREE)
        return {"cells": len(tree.keys), "shape": list(tree.shape)}
    mesh = meshes.read_mesh(path)
    write_npz(mesh, input_folder / MESH)
    return {"vertices": len(mesh.vertices), "faces": len(mesh.faces)}


def _holds_mesh(path: Path) -> bool:
    """Whether an .npz is a mesh in the job folder's form."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return "vertices" in arrays and "faces" in arrays
    except Exception:  # damaged: the reader says so
        return False
