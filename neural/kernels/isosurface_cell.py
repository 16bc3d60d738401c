"""What the fused loops over grids and over cells in any order share: one cell's key, crossings and faces."""

from __future__ import annotations

from .dispatch import called
from .isosurface_table import FACES


@called
def share_between(at_lower, at_upper):  # noqa: ANN001, ANN201
    return 1.0 / (1.0 - at_upper / at_lower)  # this form takes an infinite value, and a zero, at either end


@called
def cell_key(corner_values, ambiguous):  # noqa: ANN001, ANN201
    """The cell's key from the values at its corners (8,) less the level.

    Products are compared, not subtracted: both cells at a face must decide alike, whatever the compiler contracts.
    """
    mask = 0
    for c in range(8):
        if corner_values[c] < 0.0:
            mask |= 1 << c
    key = mask
    if ambiguous[mask] != 0:
        for face in range(6):
            if ambiguous[mask] >> face & 1:
                a, b = corner_values[FACES[face, 0]], corner_values[FACES[face, 1]]
                c, d = corner_values[FACES[face, 2]], corner_values[FACES[face, 3]]
                if (a * d > b * c) if a < 0.0 else (a * d < b * c):
                    key |= 1 << 8 + face
    return key


@called
def put_vertex(points, v, world, x, y, z):  # noqa: ANN001, ANN201
    for i in range(3):
        points[v, i] = world[i, 0] * x + world[i, 1] * y + world[i, 2] * z + world[i, 3]


@called
def put_faces(faces, rings, nodes, face, ring, start, key, first, triangles, centre, loops):  # noqa: ANN001, ANN201
    """Write the faces of a cell, and the ring around its centre where it has one."""
    if centre[key] >= 0:
        nodes[12] = start + ring
        for i in range(12):
            edge = loops[centre[key], i]
            rings[ring, i] = nodes[edge] if edge >= 0 else -1
    for t in range(first[key], first[key + 1]):
        for i in range(3):
            faces[face, i] = nodes[triangles[t, i]]
        face += 1
