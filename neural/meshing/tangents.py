"""The tangent space that renderers give a mesh with texture coordinates."""

from __future__ import annotations

import numpy as np

from ...formats.mesh import Mesh


def tangent_frames(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tangents, bitangents and normals at the faces' corners, (F, 3, 3) each, as MikkTSpace defines them.

    Mikkelsen 2008, as Blender, glTF and most engines bake and shade: corners of one vertex with one texture
    coordinate and one handedness have one tangent, the sum of their faces' unit tangents in the plane of the vertex's
    normal, weighted by the faces' angles there. The bitangent is normal × tangent, turned round where the texture is
    mirrored. One deviation: corners count together though their faces do not share an edge. The mesh has normals and
    corner_uvs; a face without an area in the texture gets a tangent that means nothing.
    """
    assert mesh.normals is not None and mesh.corner_uvs is not None
    normal = mesh.normals[mesh.faces].astype(np.float64)
    place = mesh.triangles().astype(np.float64)
    uv = mesh.corner_uvs.astype(np.float64)
    along, across = place[:, 1] - place[:, 0], place[:, 2] - place[:, 0]
    (u1, v1), (u2, v2) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    area = u1 * v2 - u2 * v1
    handed = np.where(area < 0, -1.0, 1.0)
    of_face = (v2[:, None] * along - v1[:, None] * across) * handed[:, None] * (area != 0)[:, None]
    flat = _unit(of_face[:, None] - normal * (normal * of_face[:, None]).sum(axis=-1, keepdims=True))
    angle = _angles(place, normal)
    key = np.column_stack((mesh.faces.reshape(-1), uv.reshape(-1, 2), np.repeat(handed, 3)))
    _, group = np.unique(key, axis=0, return_inverse=True)
    group = group.reshape(-1)
    weighted = (flat * angle[..., None]).reshape(-1, 3)
    total = np.stack([np.bincount(group, weighted[:, axis]) for axis in range(3)], axis=1)
    tangent = _unit(total[group].reshape(-1, 3, 3))
    free = (tangent == 0).all(axis=-1)
    tangent[free] = _any_across(normal[free])
    return tangent, handed[:, None, None] * np.cross(normal, tangent), normal


def _angles(place: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The faces' angles (F, 3) at their corners, between edges that are laid into the plane of the normal there."""
    edges = [np.roll(place, shift, axis=1) - place for shift in (-1, 1)]
    first, second = (_unit(e - normal * (normal * e).sum(axis=-1, keepdims=True)) for e in edges)
    return np.arccos(np.clip((first * second).sum(axis=-1), -1, 1))


def _any_across(normal: np.ndarray) -> np.ndarray:
    """A unit vector perpendicular to each normal (N, 3)."""
    axis = np.eye(3)[np.abs(normal).argmin(axis=1)]
    return _unit(np.cross(normal, axis))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
