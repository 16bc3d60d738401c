"""Long edges cut in half, so that a surface can bend everywhere."""

from __future__ import annotations

import numpy as np

from ...formats.mesh import Mesh
from . import topology

# Of a triangle with corners 0 1 2 and middles 3 4 5 of its sides 01 12 20, by which sides are cut (bits 0, 1, 2).
_PARTS = {0: [(0, 1, 2)], 1: [(0, 3, 2), (3, 1, 2)], 2: [(1, 4, 0), (4, 2, 0)], 4: [(2, 5, 1), (5, 0, 1)],
          3: [(3, 1, 4), (0, 3, 4), (0, 4, 2)], 6: [(4, 2, 5), (1, 4, 5), (1, 5, 0)],
          5: [(5, 0, 3), (2, 5, 3), (2, 3, 1)], 7: [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)]}


def split_long_edges(mesh: Mesh, longest: float, most: int = 30_000) -> Mesh:
    """Cut edges in half until none is longer, or until there would be more than `most` faces; vertices and faces alone.

    What was closed stays closed: the faces on both sides of an edge are cut.
    """
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces
    while True:
        found = topology.edges(faces)
        ends = found.ends
        long = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1) > longest
        if not long.any() or len(faces) + 2 * long.sum() > most:
            return Mesh(vertices, faces)
        number = np.where(long, len(vertices) + np.cumsum(long) - 1, -1)
        middle = np.full(faces.size, -1)
        middle[found.corner] = np.repeat(number, found.count)
        corners = np.concatenate((faces, middle.reshape(-1, 3)), axis=1)
        pattern = (corners[:, 3:] >= 0) @ [1, 2, 4]
        vertices = np.concatenate((vertices, vertices[ends[long]].mean(axis=1)))
        faces = np.concatenate([corners[pattern == bits][:, parts].reshape(-1, 3)
                                for bits, parts in _PARTS.items()]).astype(np.int32)
