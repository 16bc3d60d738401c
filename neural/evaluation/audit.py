"""What is wrong with a mesh's connections, in numbers."""

from __future__ import annotations

import numpy as np

from ...formats.mesh import Mesh
from ..meshing import topology

# A face with less than this share of the bounding box's squared diagonal has no area: its direction is noise.
_NO_AREA = 1e-14


def audit(mesh: Mesh) -> dict[str, int]:
    """Count a mesh's parts and defects; `genus` and `inward_components` are absent where the mesh is not a closed
    manifold, `quads` where it has none.

    open_edges have one face, nonmanifold_edges more than two, flipped_edges two that run the same way.
    nonmanifold_vertices have faces in more than one fan. components share no vertex. inner_shells are components
    inside another, closed one; inward_components others whose faces look inward. zero_area_faces are smaller than 1e-14 of the squared diagonal. faces are triangles,
    two for each of the quads: quads / (faces − quads) is the share of quads among the polygons.
    """
    used = int(np.count_nonzero(topology.used_vertices(mesh)))
    found = topology.edges(mesh.faces)
    one, two, flipped = _counts(found)
    edges = len(found.start) - 1
    fan = topology.fans(mesh.faces, topology.neighbours(found))
    del found
    fans_at = np.bincount(topology.vertex_of_fans(mesh.faces, fan), minlength=1)
    del fan
    component = topology.face_components(mesh)
    components = int(component.max(initial=-1)) + 1
    inner = topology.inner_components(mesh, component)
    result = {
        "vertices": len(mesh.vertices), "faces": len(mesh.faces), "open_edges": one,
        "nonmanifold_edges": edges - one - two, "flipped_edges": flipped,
        "nonmanifold_vertices": int((fans_at > 1).sum()), "components": components,
        "inner_shells": len(inner),
        "zero_area_faces": int((topology.face_areas(mesh) <= _NO_AREA * mesh.diagonal() ** 2).sum())}
    if mesh.quads:
        result["quads"] = mesh.quads
    if components and two == edges and not flipped and not result["nonmanifold_vertices"]:
        result["genus"] = components - (used - edges + len(mesh.faces)) // 2
        result["inward_components"] = int((np.delete(_volumes(mesh, component), inner) < 0).sum())
    return result


def _volumes(mesh: Mesh, component: np.ndarray) -> np.ndarray:
    """Six times the signed volume of each component (C,), m³."""
    volumes = np.zeros(int(component.max()) + 1)
    middle = mesh.vertices.mean(axis=0, dtype=np.float64)
    for part in topology.chunks(len(mesh.faces)):
        a, b, c = np.moveaxis(mesh.vertices[mesh.faces[part]] - middle, 1, 0)
        volumes += np.bincount(component[part], np.einsum("ij,ij->i", a, np.cross(b, c)), len(volumes))
    return volumes


def _counts(found: topology.Edges) -> tuple[int, int, int]:
    """How many edges have one side, how many have two, and of how many these run the same way."""
    one = two = flipped = 0
    starts, ends = found.start[:-1], found.start[1:]
    for part in topology.chunks(len(starts)):
        count = ends[part] - starts[part]
        first = starts[part][count == 2]
        one, two = one + int((count == 1).sum()), two + len(first)
        flipped += int((found.forward[first] == found.forward[first + 1]).sum())
    return one, two, flipped


def is_closed(figures: dict[str, int]) -> bool:
    """Whether an audited mesh bounds a volume."""
    return figures["faces"] > 0 and figures["open_edges"] == 0 and figures["flipped_edges"] == 0
