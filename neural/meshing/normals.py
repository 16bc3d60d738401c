"""Normals for smooth shading."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...formats.mesh import Mesh
from .topology import chunks


def smooth_normals(mesh: Mesh) -> Mesh:
    """The mesh with normals that weigh the faces at a vertex by their angle there (Thürmer and Wüthrich 1998).

    The result does not depend on how the surface is cut into triangles. A vertex without a face points up.
    """
    normals = np.zeros((len(mesh.vertices), 3))
    for rows in chunks(len(mesh.faces)):
        faces = mesh.faces[rows]
        corners = mesh.vertices[faces].astype(np.float64)
        following, previous = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
        across = np.cross(following, previous)  # along the face's normal, at each of its corners
        area = np.linalg.norm(across, axis=2)
        angle = np.arctan2(area, (following * previous).sum(axis=2))
        weighted = across * (angle / np.maximum(area, 1e-300))[..., None]
        # Faces that lie together have vertices that do.
        first, last = (int(faces.min()), int(faces.max())) if len(faces) else (0, 0)
        for axis in range(3):
            normals[first:last + 1, axis] += np.bincount(faces.reshape(-1) - first, weighted[..., axis].reshape(-1))
    unit = np.empty((len(normals), 3), np.float32)
    for rows in chunks(len(normals)):
        length = np.linalg.norm(normals[rows], axis=1, keepdims=True)
        unit[rows] = np.where(length > 1e-12, normals[rows] / np.maximum(length, 1e-300), [0.0, 0.0, 1.0])
    return replace(mesh, normals=unit)
