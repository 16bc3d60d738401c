"""How a cell of marching cubes is filled with triangles: a table made by rule instead of by hand.

* A face of a cell with four crossings is resolved by the sign at its saddle (Nielson and Hamann 1991),
  computed from the four values in the lattice's order, so that both cells at the face decide alike.
* The crossings of a cell's faces are linked to loops, and each loop is filled with triangles none of whose
  inner edges lies in a face of the cell; a loop that cannot be filled so gets a vertex at its centre.

Hence each edge of a triangle has exactly two triangles, one each way, and the triangles at a vertex form one fan.

Corner c of a cell lies at (c & 1, c >> 1 & 1, c >> 2 & 1) from its first; edge e runs along axis e // 4. A cell's
key is its corners that are inside, as 8 bits, and above them its ambiguous faces whose saddle is inside, as 6.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

CORNERS = np.array([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)])
EDGES = np.array([(c, c | 1 << axis) for axis in range(3) for c in range(8) if not c >> axis & 1])


def _face_rings() -> list[tuple[int, ...]]:
    """The corners of each face, counter-clockwise seen from outside the cell; faces −x +x −y +y −z +z."""
    rings: list[tuple[int, ...]] = []
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        rings += [(0, v, u | v, u), tuple(1 << axis | c for c in (0, u, u | v, v))]
    return rings


_RINGS = _face_rings()
_FACES_OF_EDGE = [{f for f, ring in enumerate(_RINGS) if set(edge) <= set(ring)} for edge in EDGES.tolist()]
# The corners of each face in the lattice's order, which is the same for the cells on both of its sides: the first
# and the last lie across from each other, and so do the two between.
FACES = np.array([sorted(ring) for ring in _RINGS])


class Table(NamedTuple):
    ambiguous: np.ndarray  # (256,) uint8: the faces with four crossings, as bits
    first: np.ndarray  # (2^14 + 1,) int32: the triangles of a key begin here and end where the next key's begin
    triangles: np.ndarray  # (T, 3) int8 nodes of the cell: 0 to 11 are its edges, 12 is the centre of its loop
    centre: np.ndarray  # (2^14,) int16 the loop that has a centre, −1 where there is none; no cell has two
    loops: np.ndarray  # (L, 12) int8 edges around the centre, −1 behind the last


@cache
def table() -> Table:
    ambiguous = np.array([_ambiguous(mask) for mask in range(256)], np.uint8)
    triangles: list[tuple[int, int, int]] = []
    loops: list[list[int]] = []
    first, centre = np.zeros((1 << 14) + 1, np.int32), np.full(1 << 14, -1, np.int16)
    for key in range(1 << 14):
        if not key >> 8 & ~ambiguous[key & 255]:  # a face that is not ambiguous is never marked
            filled, centred = _fill(key)
            if centred:
                centre[key] = len(loops)
            triangles += filled
            loops += centred
        first[key + 1] = len(triangles)
    return Table(ambiguous, first, np.array(triangles, np.int8), centre,
                 np.array([loop + [-1] * (12 - len(loop)) for loop in loops], np.int8))


def _ambiguous(mask: int) -> int:
    inside = [[mask >> c & 1 for c in ring] for ring in _RINGS]
    return sum(1 << face for face, (a, b, c, d) in enumerate(inside) if a == c != b == d)


def _fill(key: int) -> tuple[list[tuple[int, int, int]], list[list[int]]]:
    """Triangles of a cell over its nodes, and the loops that have a centre."""
    triangles: list[tuple[int, int, int]] = []
    centred: list[list[int]] = []
    for loop in loops_of(key & 255, key >> 8):
        filled = _triangulate(tuple(loop))
        if filled is None:
            centre = len(EDGES) + len(centred)
            filled = [(a, b, centre) for a, b in zip(loop, loop[1:] + loop[:1], strict=True)]
            centred.append(loop)
        triangles += filled
    return triangles, centred


def loops_of(mask: int, joined: int) -> list[list[int]]:
    """The cell's crossed edges in closed loops, counter-clockwise seen from outside the surface."""
    edge_of = {frozenset(edge): e for e, edge in enumerate(EDGES.tolist())}
    following = {}
    for face, ring in enumerate(_RINGS):
        inside = [mask >> c & 1 for c in ring]
        # Walking round the face, the crossings alternate between leaving and entering the inside.
        steps = [(i, edge_of[frozenset((ring[i], ring[(i + 1) % 4]))]) for i in range(4)
                 if inside[i] != inside[(i + 1) % 4]]
        for place, (i, edge) in enumerate(steps):
            if inside[i]:  # here the walk leaves; the contour comes from the next crossing where the inside is
                other = 1 if joined >> face & 1 else -1  # joined, round the outside, else from the one before
                following[steps[(place + other) % len(steps)][1]] = edge
    loops = []
    while following:
        loop = [next(iter(following))]
        while (edge := following.pop(loop[-1])) != loop[0]:
            loop.append(edge)
        loops.append(loop)
    return loops


def _triangulate(loop: tuple[int, ...]) -> list[tuple[int, int, int]] | None:
    """Fill a loop with triangles whose inner edges lie in no face of the cell; None where there is no such filling."""
    if len(loop) == 3:
        return [loop]  # type: ignore[list-item]
    first, last = loop[0], loop[-1]
    for middle in range(1, len(loop) - 1):
        sides = [(first, loop[middle])] * (middle > 1) + [(loop[middle], last)] * (middle < len(loop) - 2)
        if any(_FACES_OF_EDGE[a] & _FACES_OF_EDGE[b] for a, b in sides):
            continue
        left = _triangulate(loop[:middle + 1]) if middle > 1 else []
        right = _triangulate(loop[middle:]) if middle < len(loop) - 2 else []
        if left is not None and right is not None:
            return [*left, (first, loop[middle], last), *right]
    return None
