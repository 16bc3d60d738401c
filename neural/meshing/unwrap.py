"""Texture coordinates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...formats.mesh import Mesh

# Texels between two charts: bilinear filtering and the first level of a mip map do not reach across, the second's
# samples at the rim mix in a tenth.
PADDING = 4
# Asked of the packing, which comes out up to half as long again as wide and is shrunk to the square.
_PACKED = 6


def unwrap(mesh: Mesh, texture_side: int) -> Mesh:
    """Cut the surface into charts and lay them out in the unit square, `PADDING` texels apart at `texture_side`.

    Sets `corner_uvs`; vertices stay whole. A quad that a seam divides becomes two triangles.
    """
    import xatlas

    inner = texture_side - PADDING  # half of it on each side: a texture that repeats has a seam there, too
    atlas = xatlas.Atlas()
    # It takes what is small for degenerate: the box is scaled to one.
    atlas.add_mesh((mesh.vertices - mesh.vertices.mean(axis=0)) / max(mesh.diagonal(), 1e-30),
                   mesh.faces.astype(np.uint32))
    # Extracted surfaces are uneven everywhere: smooth outlines of charts cost much time and give more charts.
    charts = xatlas.ChartOptions()
    charts.roundness_weight = charts.straightness_weight = 0.0
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.create_image = inner, _PACKED, False
    atlas.generate(charts, pack)
    vertex, faces, uvs = atlas[0]
    if not np.array_equal(vertex[faces], mesh.faces):
        raise AssertionError("xatlas has changed the order of faces or corners")
    uvs = (np.clip(uvs, 0, 1) * inner + PADDING / 2) / texture_side
    first, second = faces[0:2 * mesh.quads:2], faces[1:2 * mesh.quads:2]
    unwrapped = replace(mesh, corner_uvs=uvs[faces])
    return unwrapped.chosen_faces(np.ones(len(faces), bool), whole=(first[:, [0, 2]] == second[:, :2]).all(axis=1))
