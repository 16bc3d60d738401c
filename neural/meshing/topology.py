"""Which faces, edges and vertices of a mesh hang together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ...formats.mesh import Mesh
from ..kernels.columns import inside_another
from ..kernels.connections import components, sides_by_edge

# Faces of a component that are tried before it counts as lying inside another: two parts that overlap do not.
_POINTS = 64
_AT_ONCE = 1 << 16  # faces; whole arrays of indices and of float64 would be larger than the mesh


@dataclass(frozen=True)
class Edges:
    """The sides of all faces, those of one edge next to each other.

    A side goes from the corner `corner` of the flattened faces to the next corner of the same face.
    """

    vertex: np.ndarray  # (3F,) int32 the flattened faces
    start: np.ndarray  # (E + 1,) int32 where each edge's sides begin
    corner: np.ndarray  # (S,) int32 the corner that a side begins at
    forward: np.ndarray  # (S,) whether it runs from the lesser vertex to the greater

    @property
    def count(self) -> np.ndarray:
        """How many sides each edge has (E,): 2 in a closed manifold."""
        return np.diff(self.start)

    @property
    def ends(self) -> np.ndarray:
        """The edges' vertices (E, 2) int32, the lesser first."""
        corner = self.corner[self.start[:-1]]
        ends = np.stack((self.vertex[corner], self.vertex[next_corner(corner)]), axis=1)
        ends.sort(axis=1)
        return ends


def edges(faces: np.ndarray) -> Edges:
    """The edges of faces (F, 3). A side of no length, from a vertex to itself, is none."""
    faces = np.ascontiguousarray(faces, np.int32)
    corner, start, forward = sides_by_edge(faces)
    return Edges(faces.reshape(-1), start, corner, forward)


def next_corner(corner: np.ndarray) -> np.ndarray:
    """The corner after one in its face, in flattened faces."""
    return corner + 1 - 3 * (corner % 3 == 2)


def fans(faces: np.ndarray, pairs: Iterable[np.ndarray]) -> np.ndarray:
    """Number the fans of triangles around vertices, (3F,) one number a corner, in the order of their first corners.

    pairs: parts (P, 2) of the sides, given by the corners they begin at, across which the surface goes on.
    """
    vertex = faces.reshape(-1)

    def joined() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for one, other in (part.T for part in pairs):
            turned = vertex[one] != vertex[other]  # opposite sides begin at opposite ends
            yield one, np.where(turned, next_corner(other), other)
            yield next_corner(one), np.where(turned, other, next_corner(other))

    return components(len(vertex), joined())


def vertex_of_fans(faces: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """The vertex that each fan is around, of the numbers that `fans` gives."""
    vertex, found = faces.reshape(-1), np.empty(int(fan.max(initial=-1)) + 1, np.int32)
    for part in chunks(len(fan)):
        found[fan[part]] = vertex[part]
    return found


def neighbours(found: Edges, most: int | None = None) -> Iterator[np.ndarray]:
    """Parts (P, 2) of the sides, by their corners, that share an edge: each with the next one there.

    most: leave out edges with more sides than this.
    """
    for part in chunks(len(found.start) - 1):
        start = found.start[part.start:part.stop + 1]
        corner = found.corner[start[0]:start[-1]]
        same = np.ones(len(corner), bool)
        same[start[1:] - start[0] - 1] = False  # the last side of each edge
        if most is not None:
            count = np.diff(start)
            same &= np.repeat(count <= most, count)
        first = np.flatnonzero(same)
        yield np.stack((corner[first], corner[first + 1]), axis=1)


def face_components(mesh: Mesh) -> np.ndarray:
    """The connected component of each face (F,), by their first vertices; what shares a vertex is connected."""
    a = mesh.faces[:, 0]
    of_vertex = components(len(mesh.vertices), ((mesh.faces[rows, i], mesh.faces[rows, i + 1])
                                                for rows in chunks(len(a)) for i in (0, 1)))
    return _renumbered(gathered(of_vertex, a))


def _renumbered(component: np.ndarray) -> np.ndarray:
    """Numbers without gaps, in the same order."""
    used = marked(int(component.max(initial=-1)) + 1, component)
    return gathered(np.cumsum(used, dtype=np.int32) - np.int32(1), component)


def used_vertices(mesh: Mesh) -> np.ndarray:
    """Which vertices a face names, (V,) bool."""
    return marked(len(mesh.vertices), mesh.faces)


def marked(count: int, index: np.ndarray) -> np.ndarray:
    """Which of `count` numbers are in an array, (count,) bool."""
    found = np.zeros(count, bool)
    for rows in chunks(len(index)):
        found[index[rows]] = True
    return found


def gathered(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """table[index] without a copy of the index in 64 bits."""
    found = np.empty((*index.shape, *table.shape[1:]), table.dtype)
    for rows in chunks(len(index)):
        found[rows] = table[index[rows]]
    return found


def chunks(count: int) -> Iterator[slice]:
    """Slices that cover `count` rows."""
    return (slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE))


def face_areas(mesh: Mesh) -> np.ndarray:
    """(F,) float64, square metres."""
    areas = np.empty(len(mesh.faces))
    for rows in chunks(len(areas)):
        a, b, c = np.moveaxis(mesh.vertices[mesh.faces[rows]].astype(np.float64), 1, 0)
        areas[rows] = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return areas


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
    walls = order[~is_open[component[order]]]
    faces, group = mesh.faces[walls], component[walls]
    del found, unpaired, walls
    inner = np.arange(count)
    for points in (1, _POINTS):  # one point rules out most components
        spread = [order[np.linspace(start[i], start[i + 1] - 1, points).astype(int)] for i in inner]
        probe = np.concatenate([np.empty(0, np.int64), *spread])
        centres = mesh.vertices[mesh.faces[probe]].astype(np.float64).mean(axis=1)
        inside = inside_another(centres, component[probe], mesh.vertices, faces, group)
        inner = inner[inside.reshape(-1, points).all(axis=1)]
    return inner

