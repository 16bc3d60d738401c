"""Two shapes to the steps between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...formats.mesh import Mesh
from ...formats.model import FILE
from ...formats.morph import Morph, write_npz
from ...formats.points import Points
from ...formats.solids import Solid, read_solids
from ...recipes.errors import InputError
from ...recipes.shape_interpolate import ShapeInterpolate
from ..context import Context
from ..evaluation.audit import audit
from ..finish import finished
from ..geometry.mesh_distance import MeshDistance
from ..geometry.shape_samples import Frame, sample_shape
from ..meshing import topology
from ..meshing.morph import shared_topology
from ..meshing.normals import smooth_normals
from ..meshing.raster import portrait
from ..predictors.completion import complete
from ..predictors.extraction import extract
from ..predictors.shape_model import ShapeDistance, ShapeModel, load
from ..training.shape_code import fit_codes

SAMPLES = 20_000  # of a mesh whose code is looked for


class End(NamedTuple):
    """A shape that an interpolation begins or ends at."""

    code: Tensor  # (C,)
    world_from_unit: np.ndarray | None  # (4, 4), None for a shape that is only in the model


def run(context: Context) -> None:
    """Read input/NNN_*.npz and input/model.safetensors, write output/morph.npz, fill the report."""
    recipe = context.recipe
    assert isinstance(recipe, ShapeInterpolate)
    context.stage("Reading the shapes", 0.05)
    model = load(context.input / FILE, context.device)
    solids = read_solids(context.input) if recipe.objects() else []
    if len(solids) != recipe.objects():
        raise InputError(f"input: {len(solids)} objects are given and {recipe.objects()} are needed beside the names "
                         "in --start and --end")
    ends = []
    for number, name in enumerate((recipe.start, recipe.end)):
        context.stage(f"Finding the code of the {'end' if number else 'start'}", 0.3 * (number + 1))
        ends.append(End(model.code_of(name), None) if name else _encoded(context, model, solids.pop(0)))
    distances: list[ShapeDistance] = []
    steps: list[Mesh] = []
    for number, share in enumerate(np.linspace(0, 1, recipe.steps)):
        context.stage(f"Extracting step {number + 1} of {recipe.steps}", 0.6 + 0.3 * (number + 1) / recipe.steps)
        distances.append(between(model, ends[0], ends[1], float(share), recipe.size))
        steps.append(finished(extract(context, distances[-1], recipe.resolution), floaters=1.0))
        context.preview(portrait(steps[-1]))
    context.stage("Moving one mesh through the steps", 1.0)
    morph = _shared(context, steps, distances) or Morph(steps, shared=False)
    context.report["shared_topology"] = morph.shared
    figures = [audit(step) for step in morph.steps]
    context.report["mesh"] = figures[0]
    context.report["steps"] = figures
    write_npz(morph, context.output / "morph.npz")
    context.progress(1.0)


def _shared(context: Context, steps: list[Mesh], distances: list[ShapeDistance]) -> Morph | None:
    """One mesh that moves, for shape keys; None where the steps differ too much for that."""
    recipe = context.recipe
    assert isinstance(recipe, ShapeInterpolate)
    cell = max(float(np.ptp(distance.box, axis=0).max()) for distance in distances) / recipe.resolution
    found = shared_topology(steps, distances, cell, context.device)
    if found is None:
        return None
    vertices, faces = found
    return Morph([smooth_normals(Mesh(step, faces)) for step in vertices], shared=True)


def between(model: ShapeModel, start: End, end: End, share: float, size: float) -> ShapeDistance:
    """The shape at `share` of the way, its code and its place on the straight line; 0 is the start."""
    code = torch.lerp(start.code, end.code, share)
    half = np.diag([size / 2, size / 2, size / 2, 1.0])
    known = [end.world_from_unit, start.world_from_unit]
    places = [next((p for p in pair if p is not None), half) for pair in (known[::-1], known)]
    return ShapeDistance(model.layers, code, (1 - share) * places[0] + share * places[1])


def _encoded(context: Context, model: ShapeModel, solid: Solid) -> End:
    """The code of a mesh, or of a point cloud which is taken to be whole."""
    if isinstance(solid, Points):
        found = complete(model, solid.positions.astype(np.float64), solid.normals,
                         frame=Frame.around(solid.positions), seed=context.seed, on_progress=context.progress)
        return End(found.code, found.world_from_unit)
    if not isinstance(solid, Mesh):
        raise InputError("input: a grid is given; interpolation takes meshes and point clouds")
    if not topology.face_areas(solid).sum() > 0:
        raise InputError("mesh: its faces have no area; give one with a surface")
    rows = sample_shape(solid, MeshDistance(solid), SAMPLES, context.seed)
    if not rows.shape[1]:
        raise InputError("mesh: it bounds no volume; give a solid one")
    samples = torch.from_numpy(rows).flatten(0, 1)[None].to(model.codes.device)
    code, _ = fit_codes(model.layers, model.codes.mean(dim=0, keepdim=True), samples, points=2048, steps=400,
                        seed=context.seed, on_progress=context.progress)
    frame = Frame.around(solid.vertices[solid.faces.reshape(-1)])
    world_from_unit = np.diag([frame.scale] * 3 + [1.0])
    world_from_unit[:3, 3] = frame.centre
    return End(code[0], world_from_unit)
