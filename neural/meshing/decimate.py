"""Fewer faces by quadric edge collapses (Garland and Heckbert 1997)."""

from __future__ import annotations

import numpy as np

from ...formats.mesh import Mesh
from . import topology
from .clean import keep_faces, split_nonmanifold


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """Reduce a mesh to at most `faces` triangles; one that has no more is returned as it is.

    A closed manifold stays one: where a collapse has pinched the surface it is cut apart, and the crumbs that come
    loose are dropped. Normals, UVs, texture and colours are not carried over.
    """
    if len(mesh.faces) <= faces:
        return mesh
    import fast_simplification

    # Its thresholds are absolute: the box is scaled to one.
    centre, size = mesh.vertices.mean(axis=0, dtype=np.float64), max(mesh.diagonal(), 1e-30)
    result, target = mesh, faces
    while len(result.faces) > faces and target > faces / 2:
        points, triangles = fast_simplification.simplify((mesh.vertices - centre) / size, mesh.faces,
                                                         target_count=target)
        result = split_nonmanifold(Mesh(points * size + centre, triangles))
        target -= max(len(result.faces) - faces, 1)  # cutting apart adds a few
    component = topology.face_components(result)
    crumbs = int(component.max(initial=-1)) - int(topology.face_components(mesh).max(initial=-1))
    if crumbs > 0:
        smallest = np.argsort(np.bincount(component, topology.face_areas(result)), kind="stable")[:crumbs]
        result = keep_faces(result, ~np.isin(component, smallest))
    return result
