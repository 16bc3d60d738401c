"""The level surface of a grid of values as a closed, oriented 2-manifold of triangles.

Marching cubes (Lorensen and Cline 1987) with a table made by rule instead of by hand:

* A face of a cell with four crossings is resolved by the sign at its saddle (Nielson and Hamann 1991),
  computed from the four values in the grid's order, so that both cells at the face decide alike.
* The crossings of a cell's faces are linked to loops, and each loop is filled with triangles none of whose
  inner edges lies in a face of the cell; a loop that cannot be filled so gets a vertex at its centre.

Hence each edge of a triangle has exactly two triangles, one each way, and the triangles at a vertex form one
fan: what remains open is what leaves the grid, and nothing where the surface is `closed`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ...formats.mesh import Mesh

# Two crossings that would fall on one corner (its value is zero) keep this share of an edge away from it,
# so that no triangle degenerates.
_APART = 1e-3
_SLAB = 64

# Corner c of a cell lies at (c & 1, c >> 1 & 1, c >> 2 & 1); edge e runs along axis e // 4.
_CORNERS = np.array([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)])
_EDGES = [(c, c | 1 << axis) for axis in range(3) for c in range(8) if not c >> axis & 1]


def _face_rings() -> list[tuple[int, ...]]:
    """The corners of each face, counter-clockwise seen from outside the cell; faces −x +x −y +y −z +z."""
    rings: list[tuple[int, ...]] = []
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        rings += [(0, v, u | v, u), tuple(1 << axis | c for c in (0, u, u | v, v))]
    return rings


_RINGS = _face_rings()
_FACES_OF_EDGE = [{f for f, ring in enumerate(_RINGS) if set(edge) <= set(ring)} for edge in _EDGES]


def marching_cubes(values: np.ndarray, world_from_grid: np.ndarray, level: float = 0.0, *,
                   closed: bool = False) -> Mesh:
    """Triangulate where trilinear `values` cross `level`; what is below it is inside.

    values: (X, Y, Z), one at each corner, not NaN; +inf is outside and pulls the surface all the way to itself.
    world_from_grid: 4×4, takes corner indices to the world.
    closed: close the surface along the grid's border where the inside reaches it.
    The vertices are exact where the values are linear along the cells' edges.
    """
    if values.ndim != 3:
        raise ValueError(f"values has shape {values.shape}; (X, Y, Z) is expected")
    if closed:
        values = np.pad(values, 1, constant_values=np.inf)
    corner_index, masks = _active_cells(values, level)
    corner_values = values.reshape(-1)[corner_index].astype(np.float64) - level
    keys = masks | _joined_faces(corner_values) << 8
    edges, edge_of_cell = _crossed_edges(masks, corner_index)
    points, faces = _fill(keys, edge_of_cell, _crossings(values, level, edges))

    world_from_grid = np.asarray(world_from_grid, np.float64)
    points = (points - closed) @ world_from_grid[:3, :3].T + world_from_grid[:3, 3]
    mirrored = np.linalg.det(world_from_grid[:3, :3]) < 0
    return Mesh(points, faces[:, ::-1] if mirrored else faces)


def _active_cells(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Flat corner indices (N, 8) of the cells that the surface crosses, and which corners are inside as bits (N,)."""
    strides = np.array([values.shape[1] * values.shape[2], values.shape[2], 1])
    found, masks = [], []
    for start in range(0, values.shape[0] - 1, _SLAB):  # a slab at a time: the masks of a whole grid are large
        inside = (values[start:start + _SLAB + 1] < level).astype(np.uint8)
        size = [n - 1 for n in inside.shape]
        mask = np.zeros(size, np.uint8)
        for bit, (x, y, z) in enumerate(_CORNERS):
            mask |= inside[x:x + size[0], y:y + size[1], z:z + size[2]] << bit
        cells = np.argwhere((mask != 0) & (mask != 255))
        masks.append(mask[tuple(cells.T)])
        found.append((cells + [start, 0, 0]) @ strides)
    cells = np.concatenate([np.empty(0, np.int64), *found])
    return cells[:, None] + _CORNERS @ strides, np.concatenate([np.empty(0, np.uint8), *masks]).astype(np.int64)


def _joined_faces(corner_values: np.ndarray) -> np.ndarray:
    """Bits (N,) of the faces at whose saddle the bilinear values are inside. It matters where a face is ambiguous."""
    joined = np.zeros(len(corner_values), np.int64)
    for face, ring in enumerate(_RINGS):
        a, b, d, c = corner_values[:, sorted(ring)[:2] + sorted(ring)[:1:-1]].T  # in the grid's order, not the ring's
        with np.errstate(invalid="ignore"):
            product = a * d - b * c
        ambiguous = ((a < 0) == (d < 0)) & ((b < 0) == (c < 0)) & ((a < 0) != (b < 0))
        joined |= (ambiguous & np.where(a < 0, product > 0, product < 0)).astype(np.int64) << face
    return joined


def _crossed_edges(masks: np.ndarray, corner_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid's crossed edges as 3 · corner + axis, sorted (E,), and for each cell's edge its place there (N, 12)."""
    lower, upper = np.array(_EDGES).T
    crossed = (masks[:, None] >> lower & 1) != (masks[:, None] >> upper & 1)
    keys = (3 * corner_index[:, lower] + np.repeat([0, 1, 2], 4))[crossed]
    edges, place = np.unique(keys, return_inverse=True)
    edge_of_cell = np.full(crossed.shape, -1, np.int64)
    edge_of_cell[crossed] = place
    return edges, edge_of_cell


def _crossings(values: np.ndarray, level: float, edges: np.ndarray) -> np.ndarray:
    """Where the values cross the level on each edge, in grid units, (E, 3) float64."""
    strides = np.array([values.shape[1] * values.shape[2], values.shape[2], 1])
    lower, axis = np.divmod(edges, 3)
    upper = lower + strides[axis]
    at_lower, at_upper = (values.reshape(-1)[i].astype(np.float64) - level for i in (lower, upper))
    with np.errstate(divide="ignore"):
        share = 1 / (1 - at_upper / at_lower)  # this form takes an infinite value, and a zero, at either end

    near_lower, near_upper = share < _APART, share > 1 - _APART
    corner = np.where(near_lower, lower, upper)[near_lower | near_upper]
    _, place, count = np.unique(corner, return_inverse=True, return_counts=True)
    crowded = np.zeros(len(edges), bool)
    crowded[near_lower | near_upper] = count[place] > 1
    share = np.where(crowded, np.clip(share, _APART, 1 - _APART), share)

    points = np.stack(np.unravel_index(lower, values.shape), axis=1).astype(np.float64)
    points[np.arange(len(edges)), axis] += share
    return points


def _fill(keys: np.ndarray, edge_of_cell: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of all cells: the crossings with the loops' centres behind them, (V, 3), and faces (F, 3)."""
    faces, centres, total = [], [], len(points)
    order = np.argsort(keys, kind="stable")
    unique, start = np.unique(keys[order], return_index=True)
    for key, cells in zip(unique.tolist(), np.split(order, start[1:]), strict=False):
        triangles, loops = _table(key)
        nodes = edge_of_cell[cells]
        for loop in loops:
            centres.append(points[nodes[:, loop]].mean(axis=1))
            nodes = np.column_stack((nodes, total + np.arange(len(cells))))
            total += len(cells)
        faces.append(nodes[:, triangles].reshape(-1, 3))
    return np.concatenate([points, *centres]), np.concatenate([np.empty((0, 3), np.int64), *faces])


@cache
def _table(key: int) -> tuple[np.ndarray, list[list[int]]]:
    """Triangles of a cell over its edges 0 to 11 and 12 + i for the centre of the i-th of the loops given with them."""
    triangles: list[tuple[int, int, int]] = []
    centred: list[list[int]] = []
    for loop in _loops(key & 255, key >> 8):
        filled = _triangulate(tuple(loop))
        if filled is None:
            centre = len(_EDGES) + len(centred)
            filled = [(a, b, centre) for a, b in zip(loop, loop[1:] + loop[:1], strict=True)]
            centred.append(loop)
        triangles += filled
    return np.array(triangles), centred


def _loops(mask: int, joined: int) -> list[list[int]]:
    """The cell's crossed edges in closed loops, counter-clockwise seen from outside the surface."""
    edge_of = {frozenset(edge): e for e, edge in enumerate(_EDGES)}
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
        return [loop]
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
