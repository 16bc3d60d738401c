"""A texture from posed pictures for a mesh that is there already."""

from __future__ import annotations

import time


from ...formats import capture as captures
from ...formats.mesh import read_npz, write_npz
from ...formats.pictured import MESH
from ...recipes.texture import Texture
from ..context import Context
from ..evaluation.audit import audit
from ..geometry.views import load_views
from ..meshing import raster
from ..meshing.normals import smooth_normals
from ..meshing.texel_density import fitting_side
from ..meshing.texture import colored, seen_colors, texels_of
from ..meshing.unwrap import unwrap


def run(context: Context) -> None:
    """Read input/, write output/mesh.npz: the input's vertices and faces, with UVs and a texture."""
    recipe = context.recipe
    assert isinstance(recipe, Texture)
    start = time.monotonic()
    context.stage("Reading views", 0.3)
    capture = captures.read(context.input / captures.FILE)
    for text in capture.warnings:
        context.warn(text)
    views = load_views(capture, context.warn, recipe.size, context.progress)
    mesh = read_npz(context.input / MESH)
    side = recipe.texture or fitting_side(mesh, views)
    context.stage("Unwrapping", 0.5)
    if mesh.corner_uvs is None:
        mesh = unwrap(mesh, side)
    context.stage("Texturing", 1.0)
    texels = texels_of(mesh, side)
    color, trust = seen_colors(smooth_normals(mesh), texels, views)
    context.progress(0.8)
    mesh = colored(mesh, texels, color, trust)
    context.preview(raster.portrait(mesh))
    write_npz(mesh, context.output / "mesh.npz")
    seen = float((trust > 0).mean()) if len(trust) else 0.0
    context.report |= {"views": {"train": len(views), "test": 0}, "texture": side, "seen": round(seen, 4),
                       "mesh": audit(mesh), "seconds": {"texture": round(time.monotonic() - start, 2)}}
    if seen == 0:
        context.warn("texture: no picture shows the mesh; check that both are in one world")
