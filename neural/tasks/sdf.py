"""Meshes, point clouds and grids to one watertight mesh through a signed distance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ...formats.grids import Grid
from ...formats.mesh import Mesh
from ...formats.octree import Octree
from ...formats.points import Points
from ...formats.solids import Solid, read_solids
from ...recipes.errors import InputError
from ...recipes.sdf import Sdf
from ...recipes.voxels import Voxels
from ..context import Context
from ..finish import deliver, extracted, finished
from ..geometry.distance import Distance
from ..geometry.mesh_distance import MeshDistance
from ..geometry.point_distance import PointDistance
from ..geometry.solids import Intersection, Offset, Sheet, Union, Wall, difference
from ..meshing.dual_contouring import contour
from ..meshing.marching_cubes import triangulate
from ..meshing.near_surface import near_surface
from ..training.distance import fit_distance
from .voxels import surface, tree_of


def run(context: Context) -> None:
    """Read input/NNN_*.npz, write output/mesh.npz, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, Sdf)
    context.stage("Reading the solids", 0.1)
    parts = [_distance(context, solid) for solid in read_solids(context.input)]
    solid = _shaped(context, parts, recipe)
    if recipe.method == "neural":
        context.stage("Fitting the network", 0.8)
        solid = fit_distance(solid, network=recipe.network, seconds=recipe.seconds, seed=context.seed,
                             device=context.device, checkpoint=context.checkpoint, on_progress=context.progress,
                             on_preview=context.preview)
    context.stage("Extracting the surface", 0.95)
    mesh = extracted(partial(_extracted, context, solid, recipe), recipe.resolution, recipe)
    del parts, solid
    context.stage("Finishing the mesh", 1.0)
    hollow = recipe.inner or recipe.shell > 0
    mesh = finished(mesh, floaters=recipe.floaters, inner=hollow, budget=recipe.budget, quads=recipe.quads,
                    smooth=not recipe.sharp)
    deliver(context, mesh, inner=hollow)
    context.progress(1.0)


def _distance(context: Context, solid: Solid) -> Distance:
    if isinstance(solid, Points):
        if solid.left_out:
            context.warn(f"points: {solid.left_out} that are not finite are left out")
        found = PointDistance(solid.positions, solid.normals)
        if not found.is_closed:
            context.warn(f"points: {found.guessed:.0%} of the surface is made up, because no points lie there; scan "
                         "the other sides, too")
        return found
    if isinstance(solid, Grid):
        solid = tree_of(solid, Voxels().threshold)
    return MeshDistance(surface(solid) if isinstance(solid, Octree) else solid)


def _shaped(context: Context, parts: Sequence[Distance], recipe: Sdf) -> Distance:
    """The parts combined, moved by the offset and hollowed."""
    sheet = next((part for part in parts if isinstance(part, MeshDistance) and not part.is_closed), None)
    if sheet is not None and recipe.shell and len(parts) == 1:
        return Offset(Sheet(sheet.unsigned, recipe.shell), recipe.offset)
    for part in parts:
        if isinstance(part, MeshDistance) and not part.is_closed:
            what = f"it has {part.open_edges} open edges" if part.open_edges else "some of its faces look the wrong way"
            context.warn(f"mesh: {what}; it is closed where its winding number is a half, give --shell to make a wall "
                         "of a sheet")
    solid = _combined(parts, recipe)
    if not recipe.offset and not recipe.shell:
        return solid
    # Combined distances and those of parts that run into each other are not true inside: take them from the surface.
    context.stage("Extracting the surface to move", 0.3)
    solid = MeshDistance(_extracted(context, solid, recipe, recipe.resolution))
    if recipe.offset:
        solid = Offset(solid, recipe.offset)
    return Wall(solid, recipe.shell) if recipe.shell else solid


def _combined(parts: Sequence[Distance], recipe: Sdf) -> Distance:
    if len(parts) == 1:
        return parts[0]
    if recipe.combine == "difference":
        return difference(parts[0], parts[1:], recipe.blend)
    return (Union if recipe.combine == "union" else Intersection)(parts, recipe.blend)


def _extracted(context: Context, solid: Distance, recipe: Sdf, resolution: int) -> Mesh:
    if not np.ptp(solid.box, axis=0).max() > 0:
        raise InputError("solid: it has no size, all of it lies in one place; give one that has")
    cells, figures = near_surface(solid, resolution, device=context.device, on_progress=context.progress)
    context.report["extraction"] = {"resolution": resolution, **figures}
    context.stage("Making the mesh", 0.95)
    mesh = contour(cells, solid, sharp=recipe.sharp) if recipe.quads or recipe.sharp else triangulate(cells)
    if not len(mesh.faces):
        raise InputError("surface: nothing is inside; raise --resolution, close the mesh's holes, give --shell to make "
                         "a wall of a sheet, or check what is combined and how far it is moved inward")
    return mesh
