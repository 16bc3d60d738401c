"""Which faces, edges and vertices of a mesh hang together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ...formats.mesh import Mesh
from ..kernels.columns import inside_another

# Faces of a component that are tried before it counts as lying inside another: two parts that overlap do not.
_POINTS = 64


@dataclass(frozen=True)
class Edges:
    """The sides of all faces, those of one edge next to each other.

    A side goes from the corner `corner` of the flattened faces to the next corner of the same face.
    """

    ends: np.ndarray  # (E, 2) vertices, the lesser first
    start: np.ndarray  # (E + 1,) where each edge's sides begin
    corner: np.ndarray  # (S,) the corner that a side begins at
    forward: np.ndarray  # (S,) whether it runs from the lesser vertex to the greater

    @property
    def count(self) -> np.ndarray:
        """How many sides each edge has: 2 in a closed manifold."""
        return np.diff(self.start)


def edges(faces: np.ndarray) -> Edges:
    """The edges of faces (F, 3). A side of no length, from a vertex to itself, is none."""
    sides = np.stack((faces, np.roll(faces, -1, axis=1)), axis=-1).reshape(-1, 2).astype(np.int64)
    corner = np.flatnonzero(sides[:, 0] != sides[:, 1])
    sides = sides[corner]
    lesser, greater = sides.min(axis=1), sides.max(axis=1)
    key = lesser * (int(faces.max(initial=0)) + 1) + greater
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[:len(key)])
    ends = np.stack((lesser, greater), axis=1)[order[first]]
    return Edges(ends, np.append(first, len(key)), corner[order], (sides[:, 0] < sides[:, 1])[order])


def next_corner(corner: np.ndarray) -> np.ndarray:
    """The corner after one in its face, in flattened faces."""
    return corner + 1 - 3 * (corner % 3 == 2)


def fans(faces: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Number the fans of triangles around vertices, (3F,) one number a corner.

    pairs: (P, 2) sides, given by the corners they begin at, across which the surface goes on.
    """
    vertex = faces.reshape(-1)
    one, other = pairs.T
    turned = vertex[one] != vertex[other]  # opposite sides begin at opposite ends
    begin = np.where(turned, next_corner(other), other)
    end = np.where(turned, other, next_corner(other))
    return _components(len(vertex), np.concatenate((one, next_corner(one))), np.concatenate((begin, end)))


def neighbours(found: Edges) -> np.ndarray:
    """Sides (P, 2), by their corners, that share an edge: each with the next one there."""
    same = np.ones(max(len(found.corner) - 1, 0), bool)
    same[found.start[1:-1] - 1] = False
    return np.stack((found.corner[:-1], found.corner[1:]), axis=1)[same]


def face_components(mesh: Mesh) -> np.ndarray:
    """The connected component of each face (F,); what shares a vertex is connected."""
    a, b, c = mesh.faces.T
    of_vertex = _components(len(mesh.vertices), np.concatenate((a, b)), np.concatenate((b, c)))
    return np.unique(of_vertex[a], return_inverse=True)[1]


def face_areas(mesh: Mesh) -> np.ndarray:
    """(F,) float64, square metres."""
    a, b, c = np.moveaxis(mesh.triangles().astype(np.float64), 1, 0)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def inner_components(mesh: Mesh, component: np.ndarray) -> np.ndarray:
    """Numbers of the components that lie wholly inside other, closed, components."""
    count = int(component.max(initial=-1)) + 1
    if count < 2:
        return np.empty(0, np.int64)
    found = edges(mesh.faces)
    unpaired = found.count != 2
    is_open = np.isin(np.arange(count), component[found.corner[found.start[:-1][unpaired]] // 3])
    order = np.argsort(component, kind="stable")
    start = np.searchsorted(component[order], np.arange(count + 1))
    triangles = mesh.triangles().astype(np.float64)
    walls = order[~is_open[component[order]]]
    inner = np.arange(count)
    for points in (1, _POINTS):  # one point rules out most components
        spread = [order[np.linspace(start[i], start[i + 1] - 1, points).astype(int)] for i in inner]
        probe = np.concatenate([np.empty(0, np.int64), *spread])
        inside = inside_another(triangles[probe].mean(axis=1), component[probe], triangles[walls], component[walls])
        inner = inner[inside.reshape(-1, points).all(axis=1)]
    return inner


def _components(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    graph = coo_matrix((np.ones(len(one), bool), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1]
