"""Pairing a mesh's triangles to quads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...formats.mesh import Mesh
from . import topology

# A quad bends less than this across its diagonal, and its corners lie between these.
_BEND = 40.0
_SHARPEST, _BLUNTEST = 20.0, 160.0


def pair_quads(mesh: Mesh) -> Mesh:
    """Join neighbouring triangles to quads, the flattest and most rectangular first; quads that are there stay.

    The surface stays as it is, in other order. Greedy matching, and then a quad gives way to two wherever triangles
    are left on both of its sides; the blossoms of Remacle et al., "Blossom-Quad" (2012), would find some more.
    """
    sides = _joinable(mesh)
    quads = _corners(mesh, sides)
    cost = _cost(mesh, quads)
    order = np.argsort(cost, kind="stable")
    order = order[np.isfinite(cost[order])]
    pairs = order[_matching(sides[order] // 3, len(mesh.faces))]

    first, second = sides[pairs].T
    here = np.arange(3)
    # (a, b, c) and (a, c, d) where the side runs from c to a in the first and from a to c in the second.
    rows = np.stack((first // 3, second // 3), axis=1).reshape(-1)
    turns = np.stack((first % 3 + 1, second % 3), axis=1).reshape(-1)
    corners = (turns[:, None] + here) % 3
    left = np.ones(len(mesh.faces), bool)
    left[rows] = False
    old = np.arange(2 * mesh.quads)
    rest = np.flatnonzero(left)[2 * mesh.quads:]
    rows = np.concatenate((old, rows, rest))[:, None]
    corners = np.concatenate((np.tile(here, (len(old), 1)), corners, np.tile(here, (len(rest), 1))))
    return replace(mesh, faces=mesh.faces[rows, corners], quads=mesh.quads + len(pairs),
                   corner_uvs=None if mesh.corner_uvs is None else mesh.corner_uvs[rows, corners])


def _joinable(mesh: Mesh) -> np.ndarray:
    """Sides (P, 2), by the corners they begin at, where two triangles of no quad meet with no seam between."""
    found = topology.edges(mesh.faces)
    two = found.start[:-1][found.count == 2]
    sides = np.stack((found.corner[two], found.corner[two + 1]), axis=1)
    opposite = found.forward[two] != found.forward[two + 1]
    sides = sides[opposite & (sides >= 6 * mesh.quads).all(axis=1)]
    if mesh.corner_uvs is None:
        return sides
    uvs = mesh.corner_uvs.reshape(-1, 2)
    one, other = sides.T
    whole = (uvs[one] == uvs[topology.next_corner(other)]) & (uvs[topology.next_corner(one)] == uvs[other])
    return sides[whole.all(axis=1)]


def _corners(mesh: Mesh, sides: np.ndarray) -> np.ndarray:
    """The quads (P, 4) of vertices that the triangles at two sides would make, the side between first and third."""
    one, other = sides.T
    after = topology.next_corner
    corners = np.stack((after(one), after(after(one)), one, after(after(other))), axis=1)
    return mesh.faces.reshape(-1)[corners]


def _cost(mesh: Mesh, quads: np.ndarray) -> np.ndarray:
    """How far quads are from flat and rectangular, (P,) from 0; infinite beyond the limits."""
    corners = mesh.vertices[quads].astype(np.float64)
    to_next = np.roll(corners, -1, axis=1) - corners
    to_last = -np.roll(to_next, 1, axis=1)
    a, b, c, d = np.moveaxis(corners, 1, 0)
    normals = [_unit(np.cross(b - a, c - a)), _unit(np.cross(c - a, d - a))]
    bend = np.degrees(np.arccos(np.clip((normals[0] * normals[1]).sum(axis=1), -1, 1)))
    normal = _unit(normals[0] + normals[1])[:, None]
    angle = np.degrees(np.arctan2((np.cross(to_next, to_last) * normal).sum(axis=2), (to_next * to_last).sum(axis=2)))
    worst = np.abs(angle - 90).max(axis=1)
    between = (angle > _SHARPEST) & (angle < _BLUNTEST) & (np.linalg.norm(to_next, axis=2) > 0)
    fits = (bend < _BEND) & between.all(axis=1)
    return np.where(fits, worst + 2 * bend, np.inf)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-300)


def _matching(faces: np.ndarray, count: int) -> np.ndarray:
    """Which of the pairs of faces (P, 2), best first, are taken, so that no face is in two."""
    taken = np.zeros(len(faces), bool)
    taken[_first_come(faces, count)] = True
    while True:
        pair_of = np.full(count, -1)
        pair_of[faces[taken]] = np.flatnonzero(taken)[:, None]
        free = pair_of[faces] < 0
        reach = np.flatnonzero(free[:, 0] != free[:, 1])  # pairs of a free face and a taken one
        ends = np.where(free[reach, :1], faces[reach], faces[reach, ::-1])
        best = np.full(count, -1)
        best[ends[::-1, 1]] = reach[::-1]  # for each taken face the best pair with a free one
        old = pair_of[ends[:, 1]]
        partner = faces[old].sum(axis=1) - ends[:, 1]
        other = best[partner]
        last = faces[other].sum(axis=1) - partner
        found = np.flatnonzero((other >= 0) & (last != ends[:, 0]))
        rows = np.column_stack((ends, partner, last))[found]
        now = found[_first_come(rows, count)]
        if not len(now):
            return np.flatnonzero(taken)
        taken[old[now]] = False
        taken[reach[now]] = taken[other[now]] = True


def _first_come(faces: np.ndarray, count: int) -> np.ndarray:
    """Of groups of faces (P, K), best first, those that one takes who takes the first that is free again and again.

    In rounds: a group is taken when it is the first free one of all of its faces.
    """
    taken, free = [np.empty(0, np.int64)], np.arange(len(faces))
    while len(free):
        best = np.full(count, len(faces))
        np.minimum.at(best, faces[free].ravel(), np.repeat(free, faces.shape[1]))
        now = free[(best[faces[free]] == free[:, None]).all(axis=1)]
        taken.append(now)
        used = np.zeros(count, bool)
        used[faces[now]] = True
        free = free[~used[faces[free]].any(axis=1)]
    return np.concatenate(taken)
