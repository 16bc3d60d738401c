"""A normal map: what a surface with fewer faces has lost, in its texture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...formats.mesh import Mesh
from ..kernels.closest import closest_triangles
from ..kernels.closest_tree import TriangleTree
from .normals import smooth_normals
from .tangents import tangent_frames
from .texture import Texels, spread, texels_of

# A fine normal that leans further from the mesh's own is another sheet's, or noise: it does not count.
_STEEPEST = 0.1
# Texels at once, which bounds the memory.
_AT_ONCE = 250_000


def bake_normal_map(mesh: Mesh, fine: Mesh, side: int) -> Mesh:
    """Give an unwrapped mesh with normals a `normal_map` (side, side, 3) of the fine surface that it was made from.

    Each texel has the fine surface's smooth normal at the point that is closest to it, in the tangent space of
    `tangents`, x along u, y along v (OpenGL's convention, +Y), as bytes 127.5 · (1 + n). A renderer that interpolates
    the frames as MikkTSpace asks, without making them unit again, gets that normal back.
    """
    texels = texels_of(mesh, side)
    fine = smooth_normals(fine)
    tree = TriangleTree(fine.triangles().astype(np.float64))
    local = np.empty((len(texels.face), 3), np.float32)
    frames = np.stack(tangent_frames(mesh), axis=-1)
    for start in range(0, len(local), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        local[part] = _local(mesh, fine, tree, frames, texels.face[part], texels.weights[part])
    picture = np.full((side, side, 3), [0, 0, 1], np.float32)
    picture[texels.covered] = local
    spread(picture, texels.covered)
    return replace(mesh, normal_map=np.round(127.5 * (1 + picture)).astype(np.uint8))


def _local(mesh: Mesh, fine: Mesh, tree: TriangleTree, frames: np.ndarray, face: np.ndarray,
           weights: np.ndarray) -> np.ndarray:
    """Unit normals (N, 3) in tangent space at places on faces (N,) with weights (N, 3) of their corners.

    frames: (F, 3, 3, 3) tangent, bitangent and normal in columns, at each corner.
    """
    point = np.einsum("nc,nck->nk", weights, mesh.vertices[mesh.faces[face]])
    wanted = _fine_normals(fine, tree, point)
    frame = np.einsum("nc,ncka->nka", weights, frames[face])
    # Frames of a degenerate face do not span space; a trace of the identity keeps them solvable.
    local = np.linalg.solve(frame + 1e-9 * np.eye(3), wanted[..., None])[..., 0]
    local /= np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-30)
    return np.where(local[:, 2:] > _STEEPEST, local, [0.0, 0.0, 1.0])


def _fine_normals(fine: Mesh, tree: TriangleTree, points: np.ndarray) -> np.ndarray:
    """The smooth normals (N, 3) of the fine surface where it is closest to points (N, 3)."""
    assert fine.normals is not None
    _, nearest = closest_triangles(points, tree)
    a, b, c = np.moveaxis(fine.vertices[fine.faces[nearest]].astype(np.float64), 1, 0)
    across = np.cross(b - a, c - a)
    square = np.maximum((across**2).sum(axis=1), 1e-300)
    # Shares of the foot on the face's plane, pushed into the face.
    second = (np.cross(points - a, c - a) * across).sum(axis=1) / square
    third = (np.cross(b - a, points - a) * across).sum(axis=1) / square
    shares = np.clip(np.stack((1 - second - third, second, third), axis=1), 0, 1)
    normal = np.einsum("nc,nck->nk", shares, fine.normals[fine.faces[nearest]])
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
