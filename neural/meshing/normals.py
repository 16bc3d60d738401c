"""Normals for smooth shading."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...formats.mesh import Mesh


def smooth_normals(mesh: Mesh) -> Mesh:
    """The mesh with normals that weigh the faces at a vertex by their angle there (Thürmer and Wüthrich 1998).

    The result does not depend on how the surface is cut into triangles. A vertex without a face points up.
    """
    corners = mesh.triangles().astype(np.float64)
    following, previous = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
    across = np.cross(following, previous)  # along the face's normal, at each of its corners
    area = np.linalg.norm(across, axis=2)
    angle = np.arctan2(area, (following * previous).sum(axis=2))
    weighted = across * (angle / np.maximum(area, 1e-300))[..., None]
    vertex, count = mesh.faces.reshape(-1), len(mesh.vertices)
    normals = np.stack([np.bincount(vertex, weighted[..., axis].reshape(-1), count) for axis in range(3)], axis=1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return replace(mesh, normals=np.where(length > 1e-12, normals / np.maximum(length, 1e-300), [0.0, 0.0, 1.0]))
