"""The surface of a model's shape as a mesh."""

from __future__ import annotations

from ...formats.mesh import Mesh
from ...recipes.errors import InputError
from ..context import Context
from ..geometry.distance import Distance
from ..meshing.marching_cubes import triangulate
from ..meshing.near_surface import near_surface


def extract(context: Context, distance: Distance, resolution: int) -> Mesh:
    """The zero surface with `resolution` cells along the longest side; its figures go into the report."""
    cells, figures = near_surface(distance, resolution, device=context.device, on_progress=context.progress)
    context.report["extraction"] = figures
    mesh = triangulate(cells)
    if not len(mesh.faces):
        raise InputError("shape: nothing of it is inside; raise --resolution or choose another shape")
    return mesh
