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

    The surface stays as it is, in other order. Greedy matching, as in Remacle et al., "Blossom-Quad" (2012), without
    the blossoms: no triangle is left between two that could have been joined.
    """
    sides = _joinable(mesh)
    quads = _corners(mesh, sides)
    cost = _cost(mesh, quads)
    order = np.argsort(cost, kind="stable")
    order = order[np.isfinite(cost[order])]
    pairs = order[_matched(sides[order] // 3, len(mesh.faces))]

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
    lengths = np.linalg.norm(to_next, axis=2)
    a, b, c, d = np.moveaxis(corners, 1, 0)
    normals = [_unit(np.cross(b - a, c - a)), _unit(np.cross(c - a, d - a))]
    bend = np.degrees(np.arccos(np.clip((normals[0] * normals[1]).sum(axis=1), -1, 1)))
    normal = _unit(normals[0] + normals[1])[:, None]
    angle = np.degrees(np.arctan2((np.cross(to_next, to_last) * normal).sum(axis=2), (to_next * to_last).sum(axis=2)))
    worst = np.abs(angle - 90).max(axis=1)
    fits = (bend < _BEND) & (angle > _SHARPEST).all(axis=1) & (angle < _BLUNTEST).all(axis=1) & (lengths > 0).all(axis=1)
    return np.where(fits, worst + 2 * bend, np.inf)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-300)


def _matched(faces: np.ndarray, count: int) -> np.ndarray:
    """Of pairs of faces (P, 2), best first, those that one takes who takes the first that is free again and again.

    In rounds: a pair is taken when it is the first free one of both of its faces.
    """
    taken, free = [np.empty(0, np.int64)], np.arange(len(faces))
    while len(free):
        best = np.full(count, len(faces))
        np.minimum.at(best, faces[free].ravel(), np.repeat(free, 2))
        now = free[(best[faces[free]] == free[:, None]).all(axis=1)]
        taken.append(now)
        used = np.zeros(count, bool)
        used[faces[now]] = True
        free = free[~used[faces[free]].any(axis=1)]
    return np.concatenate(taken)
