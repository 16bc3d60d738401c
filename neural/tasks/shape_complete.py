"""A partial scan or a broken object to the whole that a model takes it for."""

from __future__ import annotations

import numpy as np

from ...formats.mesh import Mesh
from ...formats.model import FILE
from ...formats.points import Points
from ...formats.solids import read_solids
from ...recipes.errors import InputError
from ...recipes.shape_complete import ShapeComplete
from ..context import Context
from ..finish import deliver, finished
from ..geometry.shape_samples import Frame, surface_points
from ..meshing import topology
from ..predictors.completion import MOST_POINTS, complete
from ..predictors.extraction import extract
from ..predictors.shape_model import load

FEWEST_POINTS = 20
DOUBT = 0.05  # of the scan's diagonal that likely wholes are apart, from which on the user is told


def run(context: Context) -> None:
    """Read input/000_*.npz and input/model.safetensors, write output/mesh.npz, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, ShapeComplete)
    context.stage("Reading the scan", 0.05)
    points, normals = _scan(context)
    model = load(context.input / FILE, context.device)
    context.stage("Finding the shape", 0.7)
    frame = Frame.around(points) if recipe.missing == "nothing" else None
    found = complete(model, points, normals, frame=frame, missing=recipe.missing, seed=context.seed,
                     on_progress=context.progress)
    context.report["completion"] = {"error": found.error, "nearest": found.nearest,
                                    "apart": found.apart, "points": len(points), "normals": normals is not None}
    if found.apart > DOUBT:
        context.warn(f"shape: what is missing is a guess; others that fit as well are {found.apart:.0%} of the scan's "
                     "size away" + "; say with --missing where the rest would be" * (recipe.missing == "search"))
    context.stage("Extracting the surface", 0.95)
    distance = found.corrected() if recipe.seen else found.shape
    mesh = extract(context, distance, recipe.resolution)
    context.stage("Checking the mesh", 1.0)
    deliver(context, finished(mesh, floaters=1.0, budget=recipe.budget, quads=recipe.quads))
    context.progress(1.0)


def _scan(context: Context) -> tuple[np.ndarray, np.ndarray | None]:
    """The points (N, 3) of the scan, and their normals where they are known; a mesh is what was seen of its surface."""
    solids = read_solids(context.input)
    if len(solids) != 1:
        raise InputError(f"input: {len(solids)} inputs are given; completion takes one scan or object")
    solid = solids[0]
    if isinstance(solid, Mesh):
        if not topology.face_areas(solid).sum() > 0:
            raise InputError("mesh: its faces have no area; give one with a surface")
        points, face = surface_points(solid, MOST_POINTS, np.random.default_rng(context.seed))
        a, b, c = np.moveaxis(solid.triangles().astype(np.float64)[face], 1, 0)
        normals = np.cross(b - a, c - a)
        return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)
    if not isinstance(solid, Points):
        raise InputError("input: a grid is given; completion takes a point cloud or a mesh")
    if solid.left_out:
        context.warn(f"points: {solid.left_out} that are not finite are left out")
    points = solid.positions.astype(np.float64)
    if len(points) < FEWEST_POINTS or not solid.diagonal() > 0:
        raise InputError(f"points: {len(points)} in a box of diagonal {solid.diagonal():.6g} m are too few; "
                         f"give {FEWEST_POINTS} or more that are spread over the surface")
    if solid.normals is None:
        context.warn("points: they have no normals, which say what is inside; give some for a better whole")
    return points, None if solid.normals is None else solid.normals.astype(np.float64)
