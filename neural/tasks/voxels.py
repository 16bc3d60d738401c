"""A voxel grid or an octree, or a mesh made into one, to a mesh."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...formats import grids
from ...formats.grids import Grid
from ...formats.mesh import Mesh, read_npz
from ...formats.octree import EMPTY, FULL, MIXED, Octree, from_blocks, halved, padded_block, read_octree, write_octree
from ...formats.volume import GRID, MESH, OCTREE
from ...recipes.errors import InputError
from ...recipes.voxels import Voxels
from ..context import Context
from ..finish import deliver, extracted, finished
from ..meshing import octree
from ..meshing.dual_contouring import contour
from ..meshing.marching_cubes import triangulate
from ..meshing.voxelise import voxelise

# Puts a value that equals the threshold inside.
_LEAST = np.finfo(np.float32).tiny


def run(context: Context) -> None:
    """Read input/grid.npz, input/grid.octree or input/mesh.npz, write output/grid.octree and mesh.npz, report."""
    recipe = context.recipe
    assert isinstance(recipe, Voxels)
    context.stage("Reading the volume", 0.6)
    tree = _tree(context, recipe)
    context.report["grid"] = {
        "shape": list(tree.shape), "values": _values(tree), "levels": tree.depth + 1,
        "leaves": {name: int((tree.states == state).sum()) for name, state in (("empty", EMPTY), ("full", FULL))},
        "cells_share": len(tree.keys) / np.prod(tree.shape, dtype=float)}
    write_octree(tree, context.output / OCTREE)
    context.stage("Making the mesh", 0.8)
    is_mesh = (context.input / MESH).exists()
    resolution = recipe.resolution if is_mesh else max(tree.shape)
    trees = [tree]  # the first is given away, so that it is gone before its mesh is there
    del tree

    def extract(resolution: int) -> Mesh:
        if trees:
            return surface(trees.pop(), recipe.method, recipe.quads)
        coarser = _tree(context, replace(recipe, resolution=resolution) if is_mesh else recipe)
        while not is_mesh and max(coarser.shape) > resolution:
            coarser = halved(coarser)
        if not (coarser.states == FULL).any():
            raise InputError(f"budget: nothing is inside at the resolution {resolution} that it asks for; raise it")
        return surface(coarser, recipe.method, recipe.quads)

    mesh = extracted(extract, resolution, recipe)
    context.stage("Finishing the mesh", 1.0)
    # What is hollow stays so: the grid says it.
    mesh = finished(mesh, inner=True, budget=recipe.budget, quads=recipe.quads, smooth=recipe.method != "cubify")
    deliver(context, mesh, inner=True)
    context.progress(1.0)


def surface(tree: Octree, method: str = "marching-cubes", quads: bool = False) -> Mesh:
    """The surface of an octree by a method of the recipe."""
    if method == "cubify":
        return octree.cubify(tree)
    cells = octree.surface_cells(tree)
    del tree  # gone by now where the caller has given it away
    return contour(cells, None, sharp=False) if quads else triangulate(cells)


def tree_of(grid: Grid, threshold: float) -> Octree:
    """A grid as an octree of signed distances or of what its occupancies lack to the threshold.

    Beyond the grid there is nothing: a signed distance ends at the outer voxels' centres, an occupancy falls to 0
    one voxel farther out. InputError where nothing is inside.
    """
    def read(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        if grid.signed_distance:
            return padded_block(grid.values, low, high, np.inf)
        lacking = np.float32(threshold) - padded_block(grid.values, low, high, 0)
        return np.where(lacking <= 0, np.minimum(lacking, -_LEAST), lacking)

    outside = np.inf if grid.signed_distance else threshold
    tree = from_blocks(read, grid.values.shape, grid.world_from_grid, outside=outside,
                       signed_distance=grid.signed_distance)
    if not (tree.states == FULL).any():
        raise InputError(f"grid: no value reaches the threshold of {threshold:g} (the largest is "
                         f"{grid.values.max():g}); lower that, or raise the values")
    return tree


def _tree(context: Context, recipe: Voxels) -> Octree:
    if (context.input / GRID).exists():
        return tree_of(grids.read_npz(context.input / GRID), recipe.threshold)
    if (context.input / OCTREE).exists():
        return read_octree(context.input / OCTREE)
    mesh = read_npz(context.input / MESH)
    if not mesh.diagonal() > 0:
        raise InputError("mesh: all its vertices lie in one place; give a mesh with a size")
    tree = voxelise(mesh, recipe.resolution, context.progress)
    if not (tree.states == FULL).any():
        raise InputError("mesh: nothing of it is inside at this resolution; close its holes or raise --resolution")
    return tree


def _values(tree: Octree) -> str:
    if tree.values is None:
        return "states"
    return "signed distance" if tree.signed_distance else "occupancy"
