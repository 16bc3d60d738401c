"""A voxel grid, or a mesh made into one, to a mesh."""

from __future__ import annotations

import numpy as np

from ...formats import grids
from ...formats.grids import Grid
from ...formats.mesh import Mesh, read_npz, write_npz
from ...formats.volume import GRID, MESH
from ...recipes.errors import InputError
from ...recipes.voxels import Voxels
from ..context import Context
from ..evaluation.audit import audit
from ..meshing.cubify import cubify
from ..meshing.marching_cubes import marching_cubes
from ..meshing.normals import smooth_normals
from ..meshing.raster import portrait
from ..meshing.voxelise import signed_distance_grid

# Puts a value that equals the threshold inside, as cubify does.
_INCLUDED = float(np.finfo(np.float32).tiny)


def run(context: Context) -> None:
    """Read input/grid.npz or input/mesh.npz, write output/mesh.npz, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, Voxels)
    context.stage("Reading the volume", 0.5)
    grid = _grid(context, recipe)
    context.report["grid"] = {"shape": list(grid.values.shape),
                              "values": "signed distance" if grid.signed_distance else "occupancy"}
    context.stage("Making the mesh", 0.9)
    mesh = mesh_of(grid, recipe)
    if not len(mesh.faces):
        raise InputError(_nothing(grid, recipe))
    write_npz(mesh, context.output / "mesh.npz")
    context.stage("Checking the mesh", 1.0)
    context.report["mesh"] = audit(mesh)
    context.preview(portrait(mesh))
    context.progress(1.0)


def mesh_of(grid: Grid, recipe: Voxels) -> Mesh:
    """The grid's surface by the recipe's method, in the world.

    Beyond the grid there is nothing: a signed distance ends at the outer voxels' centres, an occupancy falls to 0
    one voxel farther out.
    """
    if recipe.method == "cubify":
        filled = grid.values <= 0 if grid.signed_distance else grid.values >= recipe.threshold
        return _corner_to_world(cubify(filled, 0.5, "corner"), grid)
    if grid.signed_distance:
        return smooth_normals(marching_cubes(grid.values, grid.world_from_grid, closed=True))
    values = np.pad(recipe.threshold - grid.values, 1, constant_values=recipe.threshold)
    world_from_padded = grid.world_from_grid.copy()
    world_from_padded[:3, 3] -= grid.world_from_grid[:3, :3].sum(axis=1)
    return smooth_normals(marching_cubes(values, world_from_padded, _INCLUDED, closed=True))


def _grid(context: Context, recipe: Voxels) -> Grid:
    if (context.input / GRID).exists():
        return grids.read_npz(context.input / GRID)
    mesh = read_npz(context.input / MESH)
    if not mesh.diagonal() > 0:
        raise InputError("mesh: all its vertices lie in one place; give a mesh with a size")
    return Grid(*signed_distance_grid(mesh, recipe.resolution), signed_distance=True)


def _corner_to_world(mesh: Mesh, grid: Grid) -> Mesh:
    """From cubify's [−1, 1]³, which the voxels fill, to the world."""
    half = np.array(grid.values.shape) / 2
    grid_from_cube = np.diag([*half, 1.0])
    grid_from_cube[:3, 3] = half - 0.5
    return mesh.transformed(grid.world_from_grid @ grid_from_cube)


def _nothing(grid: Grid, recipe: Voxels) -> str:
    if grid.signed_distance:
        return "mesh: nothing of it is inside at this resolution; close its holes or raise --resolution"
    return (f"threshold: no value of the grid reaches {recipe.threshold:g} (the largest is {grid.values.max():g}); "
            "lower it")
