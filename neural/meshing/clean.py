"""Removing what a captured object does not have: floaters, hidden shells, edges with more than two faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...formats.mesh import Mesh
from . import topology


def remove_floaters(mesh: Mesh, percent: float) -> Mesh:
    """Drop the components with less than `percent` of the largest one's area."""
    component = topology.face_components(mesh)
    area = np.bincount(component, topology.face_areas(mesh))
    return keep_faces(mesh, (area >= percent / 100 * area.max(initial=0))[component])


def remove_inner_shells(mesh: Mesh) -> Mesh:
    """Drop the components that lie wholly inside others: no camera has seen them, nobody will."""
    component = topology.face_components(mesh)
    return keep_faces(mesh, ~np.isin(component, topology.inner_components(mesh, component)))


def keep_faces(mesh: Mesh, keep: np.ndarray) -> Mesh:
    """The chosen faces (F,) bool, and the vertices that they use in their order; a quad stays one if whole."""
    if not keep.all():
        mesh = mesh.chosen_faces(keep)
    used = topology.used_vertices(mesh)
    if used.all():
        return mesh
    number = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return replace(mesh, vertices=mesh.vertices[used], faces=topology.gathered(number, mesh.faces),
                   normals=None if mesh.normals is None else mesh.normals[used],
                   colors=None if mesh.colors is None else mesh.colors[used])


def remove_folds(mesh: Mesh) -> Mesh:
    """Drop faces that name a vertex twice, and faces that lie back to back on the same three vertices."""
    corners = np.sort(mesh.faces, axis=1)
    whole = (np.diff(corners, axis=1) > 0).all(axis=1)
    _, same = np.unique(corners, axis=0, return_inverse=True)
    first = mesh.faces.argmin(axis=1)
    rows = np.arange(len(first))
    turn = np.where(mesh.faces[rows, (first + 1) % 3] < mesh.faces[rows, (first + 2) % 3], 1, -1)
    facing = np.bincount(same, turn).astype(int)[same]  # what is left where the others cancel out
    rank = _rank_within(same * 2 + (turn > 0))
    return keep_faces(mesh, whole & (facing * turn > 0) & (rank < np.abs(facing)))


def _rank_within(group: np.ndarray) -> np.ndarray:
    """How many earlier elements are of the same group."""
    order = np.argsort(group, kind="stable")
    start = np.flatnonzero(np.append(True, np.diff(group[order]) != 0)[:len(group)])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.repeat(start, np.diff(np.append(start, len(order))))
    return rank


def split_nonmanifold(mesh: Mesh) -> Mesh:
    """Cut the surface apart where it touches itself along an edge or at a vertex; positions and faces alone.

    Around an edge with more than two faces those stay joined between which the inside lies. A vertex with several
    fans of faces becomes several vertices, each moved a hundredth of the way into its fan, so that a reader which
    joins equal positions does not join them again. An edge whose ends stay joined elsewhere gets a vertex in its
    middle for each of the sheets that meet there.
    """
    mesh = remove_folds(mesh)
    found = topology.edges(mesh.faces)
    corner_fan = topology.fans(mesh.faces, [*topology.neighbours(found, most=2), _pairs_at_crowded(mesh, found)])
    old = topology.vertex_of_fans(mesh.faces, corner_fan)
    several = np.bincount(old, minlength=len(mesh.vertices))[old] > 1
    if several.any():
        position = mesh.vertices[old].astype(np.float64)
        ends = mesh.vertices[np.roll(mesh.faces, -1, axis=1)].reshape(-1, 3).astype(np.float64)
        total = np.stack([np.bincount(corner_fan, ends[:, axis]) for axis in range(3)], axis=1)
        mean = total / np.bincount(corner_fan)[:, None]
        position[several] += 0.01 * (mean - position)[several]
        mesh = Mesh(position, corner_fan.reshape(-1, 3))
    while len(pairs := _pairs_at_crowded(mesh, topology.edges(mesh.faces))):
        mesh = _split_middles(mesh, pairs)
    return mesh


def _split_middles(mesh: Mesh, pairs: np.ndarray) -> Mesh:
    """Give each pair of faces a vertex of their own in the middle of the side they share, one pair a face."""
    faces = mesh.faces.copy()
    added: list[np.ndarray] = []
    points: list[np.ndarray] = []
    touched: set[int] = set()
    for pair in pairs.tolist():
        if touched & {corner // 3 for corner in pair}:
            continue
        touched |= {corner // 3 for corner in pair}
        ends = [mesh.faces[pair[0] // 3, (pair[0] + i) % 3] for i in (0, 1)]
        tips = [mesh.faces[corner // 3, (corner + 2) % 3] for corner in pair]
        middle = mesh.vertices[ends].mean(axis=0)
        points.append(middle + 0.01 * (mesh.vertices[tips].mean(axis=0) - middle))
        new = len(mesh.vertices) + len(points) - 1
        for corner in pair:
            face, here = divmod(corner, 3)
            other = mesh.faces[face].copy()
            other[here] = new
            faces[face, (here + 1) % 3] = new
            added.append(other)
    return Mesh(np.concatenate((mesh.vertices, points)), np.concatenate((faces, added)))


def _pairs_at_crowded(mesh: Mesh, found: topology.Edges) -> np.ndarray:
    """At each edge with more than two sides, the sides (P, 2) that have the inside between them."""
    pairs = [np.empty((0, 2), np.int64)]
    vertices = mesh.vertices.astype(np.float64)
    vertex = mesh.faces.reshape(-1)
    edges = np.flatnonzero(found.count > 2)
    for edge, ends in zip(edges, found.ends[edges], strict=True):
        sides = slice(found.start[edge], found.start[edge + 1])
        corner, forward = found.corner[sides], found.forward[sides]
        origin, end = vertices[ends]
        axis = (end - origin) / max(np.linalg.norm(end - origin), 1e-300)
        away = vertices[vertex[topology.next_corner(topology.next_corner(corner))]] - origin
        across = away - (away @ axis)[:, None] * axis
        angle = np.arctan2(across @ np.cross(axis, across[0]), across @ across[0])
        pairs.append(_pair_by_angle(corner, forward, angle))
    return np.concatenate(pairs)


def _pair_by_angle(corner: np.ndarray, forward: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turning about the edge's direction, the inside begins behind a side that runs backward and ends at one forward.

    (A face's normal is the edge's direction × the way into the face where the side runs forward, so that the inside
    lies before it.) Nested wedges are closed from within, as brackets are.
    """
    order = np.argsort(angle, kind="stable")
    pairs: list[tuple[int, int]] = []
    begun: list[int] = []
    for place in np.concatenate((order, order)):  # round twice: a wedge may begin before the first side
        side = int(corner[place])
        if any(side in pair for pair in pairs) or (not forward[place] and side in begun):
            continue
        if not forward[place]:
            begun.append(side)
        elif begun:
            pairs.append((begun.pop(), side))
    return np.array(pairs, np.int64).reshape(-1, 2)
