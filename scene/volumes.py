"""OpenVDB volumes, by the module that Blender's Python has: files and Volume objects to octrees, meshes to level sets.

A .vdb carries no axes; as with Blender's own import, its world is Blender's. A voxel's value stands at its centre.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..formats.mesh import Mesh
from ..formats.octree import DEEPEST, FULL, Octree, from_blocks, write_octree
from ..formats.solids import write_solids
from ..formats.volume import OCTREE
from ..recipes import InputError, Recipe
from ..recipes.voxels import Voxels

_NAMES = ("openvdb", "pyopenvdb")  # from Blender 4.4 on, and before
_HALF_WIDTH = 3.0  # voxels, OpenVDB's own


def is_volume(thing: bpy.types.Object) -> bool:
    return thing.type == "VOLUME"


def gather(thing: bpy.types.Object, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Write a Volume object's grid as input/grid.octree, in the world; returns what an estimate needs."""
    data: Any = thing.data
    data.grids.load()
    path = data.grids.frame_filepath or bpy.path.abspath(data.filepath)
    if not path:
        raise InputError(f'input: volume "{thing.name}" has no .vdb file; give it one, or select the mesh it is made of')
    return write_input(path, recipe, folder, np.array(thing.matrix_world, np.float64))


def write_input(path: str | Path, recipe: Recipe, folder: Path, world_from_object: np.ndarray | None = None
                ) -> dict[str, Any]:
    """Read a .vdb and write it as input/grid.octree, or as the only solid; returns what an estimate needs.

    A solid is cut at the threshold that voxels have where none is chosen.
    """
    if recipe.input not in ("volume", "solids"):
        raise InputError(f"input: {path} is a volume, and {' '.join(recipe.words())} takes none; give its mesh")
    threshold = recipe.to_json().get("threshold", Voxels().threshold)
    tree = read_vdb(Path(path), threshold, world_from_object)
    if recipe.input == "solids":
        return write_solids([tree], folder)
    write_octree(tree, folder / OCTREE)
    return {"cells": len(tree.keys), "shape": list(tree.shape)}


def read_vdb(path: Path, threshold: float, world_from_object: np.ndarray | None = None) -> Octree:
    """A level set, or a fog volume cut at a threshold; of several grids the first level set, else the first scalar.

    InputError where Blender has no OpenVDB, or the file is missing, damaged or without a surface.
    """
    vdb = _module()
    if not path.is_file():
        raise InputError(f"grid: {path} does not exist; check the path")
    try:
        grid = _chosen(vdb, path)
    except InputError:
        raise
    except Exception as error:  # each of OpenVDB's errors has a class of its own
        raise InputError(f"grid: {path} cannot be read ({_line(error)}); it may be damaged or cut short, "
                         "write it again") from error
    if not grid.activeVoxelCount():
        raise InputError(f"grid: {path} has no active voxel in its grid {grid.name!r}; there is no surface in it")
    low, high = (np.array(corner, np.int64) for corner in grid.evalActiveVoxelBoundingBox())
    shape = high - low + 1
    if shape.max() > 1 << DEEPEST:
        raise InputError(f"grid: {path} is too large ({' × '.join(map(str, shape))}); give at most {1 << DEEPEST} voxels "
                         "along an axis")
    tree = _tree(grid, path, low, shape, threshold, np.eye(4) if world_from_object is None else world_from_object)
    if not (tree.states == FULL).any():
        raise InputError(f"grid: {path} has nothing inside: no value of its grid {grid.name!r} is "
                         f"{'negative' if tree.signed_distance else f'at least {threshold:g}; lower --threshold'}")
    return tree


def write_vdb(mesh: Mesh, tree: Octree, path: Path) -> None:
    """Write a closed mesh as a level set with cubes for voxels, as large as its octree's, three on either side."""
    vdb = _module()
    voxel = abs(float(np.linalg.det(tree.world_from_grid[:3, :3]))) ** (1 / 3)
    grid = vdb.FloatGrid.createLevelSetFromPolygons(
        mesh.vertices, triangles=mesh.faces.astype(np.uint32), transform=vdb.createLinearTransform(voxel),
        halfWidth=_HALF_WIDTH)
    grid.name = "surface"
    try:
        vdb.write(str(path), grids=[grid])
    except Exception as error:  # each of OpenVDB's errors has a class of its own
        raise InputError(f"out: {path} cannot be written ({_line(error)}); choose another folder") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _module() -> Any:
    for name in _NAMES:
        if importlib.util.find_spec(name):
            return importlib.import_module(name)
    # bpy as a module of another Python carries it, but does not look there.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = Path(bpy.utils.resource_path("LOCAL"), "python", "lib", version, "site-packages")
    for name in _NAMES:
        spec = PathFinder.find_spec(name, [str(site)])
        if spec and spec.loader:
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
            return sys.modules[name]
    raise InputError(f"volume: this Blender ({bpy.app.version_string}) has no OpenVDB module; name another one by "
                     "--blender, 4.4 or newer has it, or give the volume as .npy")


def _chosen(vdb: Any, path: Path) -> Any:
    grids = vdb.readAllGridMetadata(str(path))
    scalar = [grid for grid in grids if grid.valueTypeName in ("float", "bool")]
    if not scalar:
        raise InputError(f"grid: {path} has no grid of numbers (it has "
                         f"{', '.join(grid.name for grid in grids[:5]) or 'none'}); give a level set or a fog volume")
    scalar.sort(key=lambda grid: grid.gridClass != vdb.GridClass.LEVEL_SET)
    return vdb.read(str(path), scalar[0].name)


def _tree(grid: Any, path: Path, low: np.ndarray, shape: np.ndarray, threshold: float,
          world_from_object: np.ndarray) -> Octree:
    is_bool = grid.valueTypeName == "bool"
    signed = grid.gridClass == "level set" or not is_bool and grid.evalMinMax()[0] < 0
    level = np.float32(0 if signed else threshold)
    sign = np.float32(1 if signed else -1)

    def read(first: np.ndarray, end: np.ndarray) -> np.ndarray:
        block = np.empty(end - first, bool if is_bool else np.float32)
        grid.copyToArray(block, ijk=tuple((first + low).tolist()))
        values = sign * (block.astype(np.float32) - level)
        if np.isnan(values).any():
            raise InputError(f"grid: {path} has values that are not numbers; replace them")
        return values

    outside = float(sign * (np.float32(grid.background) - level))
    return from_blocks(read, tuple(shape.tolist()), world_from_object @ _world_from_index(grid, path, low),
                       outside=max(outside, 0.0), signed_distance=signed)


def _world_from_index(grid: Any, path: Path, low: np.ndarray) -> np.ndarray:
    """From indices that begin at `low` to the file's world."""
    if not grid.transform.isLinear:
        raise InputError(f"grid: {path} has voxels of unequal size (a frustum); resample it to a linear transform")
    at = np.array([grid.transform.indexToWorld(tuple((low + step).tolist()))
                   for step in np.vstack((np.zeros(3, int), np.eye(3, dtype=int)))])
    return np.vstack((np.column_stack((*(at[1:] - at[0]), at[0])), [0, 0, 0, 1]))
