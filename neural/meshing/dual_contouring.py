"""The surface of a signed distance as quads, one vertex for each sheet in a cell, sharp edges kept if asked for.

Dual contouring (Ju, Losasso, Schaefer and Warren 2002) on the manifold of `sheets`. It differs in that a vertex that
would leave its cell is the best one in the cell, and in that a quad's diagonal is the one nearer to the surface.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from ...formats.mesh import Mesh
from ..geometry.distance import Distance
from . import topology
from .cells import Cells
from .sheets import Sheets, find_sheets

_BATCH = 1 << 19  # points at a time
_STEP = 0.02  # of a cell, for the gradient's differences
# Crossings are found to this share of their edge, which ridges that pass nearby make slow.
_NEAR = 1e-3
_SECANTS = 8
# Vertices keep this share of a cell from its walls: those of two cells never fall together.
_WALL = 1e-3
# Of the greatest eigenvalue: planes that turn less than about 16 degrees within a cell are one.
_FLAT = 0.02
# Of the same: how strongly a vertex that is kept in its cell is drawn to the mean, so that no face folds over.
_DRAWN = 0.05


def contour(cells: Cells, distance: Distance | None, *, sharp: bool) -> Mesh:
    """Quads around the lattice's crossed edges, counter-clockwise seen from outside.

    sharp: put each vertex where the tangent planes at its sheet's crossings meet, so that edges and corners come out
    (8 to 10 evaluations of `distance` for each crossed edge); else on the surface near the crossings' mean (8 for each
    vertex), or without a distance at their mean (Gibson's surface nets, 1998). The mesh is an oriented manifold, closed
    where the cells cover the surface; a vertex lies in its sheet's cell, so that an edge which runs along a wall of
    the cells may come out as teeth. It has no vertices and no faces where nothing is crossed.
    """
    sheets = find_sheets(cells)
    field = None if distance is None else _Field(cells, distance)
    crossings = _crossings(cells, sheets, field if sharp else None)
    if field is None:
        points = _means(sheets, crossings).clamp(*_box(cells, sheets))
    elif sharp:
        normals = field.gradient(crossings)
        normals /= torch.linalg.vector_norm(normals, dim=1, keepdim=True).clamp_min(1e-30)
        points = _featured(cells, sheets, crossings, normals)
    else:
        points = _projected(cells, sheets, field, crossings)
    return _quads(cells, sheets, crossings, points)


class _Field:
    """A distance as a function of lattice coordinates."""

    def __init__(self, cells: Cells, distance: Distance) -> None:
        matrix = torch.as_tensor(cells.world_from_lattice, dtype=torch.float64, device=cells.points.device)
        self._linear, self._shift = matrix[:3, :3].T, matrix[:3, 3]
        self._distance = distance

    def __call__(self, points: Tensor) -> Tensor:
        parts = [self._distance((part @ self._linear + self._shift).float()) for part in points.split(_BATCH)]
        return torch.cat(parts).double() if parts else points.new_empty(0)

    def gradient(self, points: Tensor) -> Tensor:
        """By central differences, (N, 3); a covector in lattice coordinates, as planes there need it."""
        steps = _STEP * torch.eye(3, dtype=points.dtype, device=points.device)
        return torch.stack([(self(points + step) - self(points - step)) / (2 * _STEP) for step in steps], dim=1)


def _along(cells: Cells, sheets: Sheets, share: Tensor) -> Tensor:
    """The points at a share of each crossed edge, in lattice coordinates, (E, 3) float64."""
    return cells.points[sheets.ends[:, 0]].double().scatter_add_(1, sheets.axis[:, None], share[:, None])


def _share(at_lower: Tensor, at_upper: Tensor) -> Tensor:
    """Where a line between two values crosses zero; takes an infinite value, and a zero, at either end."""
    return 1 / (1 - at_upper / at_lower)


def _crossings(cells: Cells, sheets: Sheets, field: _Field | None) -> Tensor:
    """Where the surface crosses the edges, (E, 3): between the values, or by secant steps to where `field` is zero."""
    at_lower, at_upper = cells.values[sheets.ends].double().T
    lower, upper = torch.zeros_like(at_lower), torch.ones_like(at_lower)
    share = _share(at_lower, at_upper)
    if field is None:
        return _along(cells, sheets, share)
    near = _NEAR * (at_lower - at_upper).abs()
    rows = torch.arange(len(share), device=share.device)
    for _ in range(_SECANTS):
        value = field(_along(cells, sheets, share)[rows])
        rows, value = (kept[value.abs() > near[rows]] for kept in (rows, value))
        on_lower = (value < 0) == (at_lower[rows] < 0)
        # Half the value at the end that stays (the Illinois rule): none stays for good.
        for here, ends, values in ((on_lower, lower, at_lower), (~on_lower, upper, at_upper)):
            ends[rows] = torch.where(here, share[rows], ends[rows])
            values[rows] = torch.where(here, value, values[rows] / 2)
        share[rows] = lower[rows] + (upper - lower)[rows] * _share(at_lower[rows], at_upper[rows])
    return _along(cells, sheets, share)


def _sums(sheets: Sheets, values: Tensor) -> Tensor:
    """Of values (E, K) at the crossed edges, the sum over each sheet's, (V, K)."""
    count = len(sheets.cell)
    total = values.new_zeros(count + 1, values.shape[1])  # the last for edges of missing cells
    for around in sheets.around.T:
        total.index_add_(0, torch.where(around < 0, count, around), values)
    return total[:-1]


def _means(sheets: Sheets, crossings: Tensor) -> Tensor:
    return _sums(sheets, crossings) / _sums(sheets, torch.ones_like(crossings[:, :1]))


def _box(cells: Cells, sheets: Sheets) -> tuple[Tensor, Tensor]:
    """What of its cell a sheet's vertex may lie in, lower and upper corners (V, 3)."""
    corner = cells.points[cells.corners[sheets.cell, 0].long()].double()
    return corner + _WALL, corner + 1 - _WALL


def _projected(cells: Cells, sheets: Sheets, field: _Field, crossings: Tensor) -> Tensor:
    """The means of the sheets' crossings, taken to the surface by two Newton steps along one gradient."""
    lower, upper = _box(cells, sheets)
    points = _means(sheets, crossings).clamp(lower, upper)
    gradient = field.gradient(points)
    direction = gradient / gradient.square().sum(dim=1, keepdim=True).clamp_min(1e-30)
    for _ in range(2):
        points = (points - field(points)[:, None] * direction).clamp(lower, upper)
    return points


def _featured(cells: Cells, sheets: Sheets, crossings: Tensor, normals: Tensor) -> Tensor:
    """Where the planes through each sheet's crossings meet, nearest to the crossings' mean, (V, 3).

    Minimises Σ (n · (x − p))² over the sheet's crossings p with normals n, as in the paper's section 2.3.
    """
    means = _means(sheets, crossings)
    squares = _sums(sheets, (normals[:, :, None] * normals[:, None, :]).flatten(1)).reshape(-1, 3, 3)
    pulls = _sums(sheets, normals * (normals * crossings).sum(dim=1, keepdim=True))
    pulls -= (squares @ means[:, :, None])[:, :, 0]  # relative to the mean
    values, vectors = torch.linalg.eigh(squares)
    values = torch.where(values > _FLAT * values[:, 2:], values, 0)
    inverse = torch.where(values > 0, 1 / values, 0)
    offsets = (vectors @ (inverse[:, :, None] * (vectors.mT @ pulls[:, :, None])))[:, :, 0]
    lower, upper = _box(cells, sheets)
    lower, upper = lower - means, upper - means
    outside = ((offsets < lower) | (offsets > upper)).any(dim=1)
    values, vectors = values[outside], vectors[outside]
    drawn = vectors @ torch.diag_embed(values + _DRAWN * values[:, 2:]) @ vectors.mT
    offsets[outside] = _bounded(drawn, pulls[outside], lower[outside], upper[outside])
    return means + offsets


def _bounded(squares: Tensor, pulls: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The minima (N, 3) of x·Sx − 2 b·x in boxes: the best of those with some coordinates held at a wall."""
    best, least = torch.zeros_like(pulls), torch.full_like(pulls[:, 0], torch.inf)
    for walls in itertools.product((-1, 0, 1), repeat=3):
        held = torch.tensor(walls).to(pulls)
        at = torch.where(held < 0, lower, torch.where(held > 0, upper, pulls))
        system = torch.where((held != 0)[:, None], torch.eye(3).to(squares), squares)
        x = torch.linalg.solve(system, at).clamp(lower, upper)
        value = ((squares @ x[:, :, None])[:, :, 0] * x - 2 * pulls * x).sum(dim=1)
        best[value < least] = x[value < least]
        least = torch.minimum(least, value)
    return best


def _quads(cells: Cells, sheets: Sheets, crossings: Tensor, points: Tensor) -> Mesh:
    """One quad for each crossed edge whose four cells are there."""
    whole = (sheets.around >= 0).all(dim=1)
    around, axis, crossings = sheets.around[whole], sheets.axis[whole], crossings[whole]
    around = torch.where(_other_diagonal(points, around, axis, crossings)[:, None], around.roll(-1, dims=1), around)
    mirrored = bool(np.linalg.det(cells.world_from_lattice[:3, :3]) < 0)
    leaves = (cells.values[sheets.ends[whole, 0]] < 0) != mirrored  # the inside, towards the edge's end
    around = torch.where(leaves[:, None], around, around[:, [0, 3, 2, 1]])

    used, corners = torch.unique(around, return_inverse=True)
    faces = corners[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).cpu().numpy()
    world = np.asarray(cells.world_from_lattice, np.float64)
    vertices = points[used].cpu().numpy() @ world[:3, :3].T + world[:3, 3]
    if not whole.all():  # at a border a vertex may be left with quads that share no edge
        fan = topology.fans(faces, topology.neighbours(topology.edges(faces)))
        vertices, faces = vertices[topology.vertex_of_fans(faces, fan)], fan.reshape(-1, 3)
    return Mesh(vertices, faces, quads=len(corners))


def _other_diagonal(points: Tensor, around: Tensor, axis: Tensor, crossings: Tensor) -> Tensor:
    """Whether a quad (Q, 4) of `points` should be cut from its second corner to its fourth, (Q,) bool.

    The lattice's edge runs through the quad, and seen along it the corners lie in the four quadrants. Of the
    diagonals that leave both triangles unfolded that one is better which passes nearer to the surface's crossing
    with the edge, on a ridge the one along it; where the quad is flat the shorter one.
    """
    corners = points[around] - crossings[:, None]
    u, v, height = (corners.gather(2, ((axis + i) % 3)[:, None, None].expand(-1, 4, 1))[:, :, 0] for i in (1, 2, 3))
    misses = []
    for a, b, c, d in ((0, 1, 2, 3), (1, 2, 3, 0)):
        turn = u[:, a] * v[:, c] - u[:, c] * v[:, a]  # on which side of the diagonal the edge passes
        miss = torch.zeros_like(turn)
        for tip, side in ((b, turn < 0), (d, turn >= 0)):
            area = ((u[:, c] - u[:, a]) * (v[:, tip] - v[:, a]) - (u[:, tip] - u[:, a]) * (v[:, c] - v[:, a]))
            weights = [u[:, c] * v[:, tip] - u[:, tip] * v[:, c], u[:, tip] * v[:, a] - u[:, a] * v[:, tip], turn]
            at = sum(w * height[:, k] for w, k in zip(weights, (a, c, tip), strict=True)) / area
            miss = torch.where(side, at.abs().nan_to_num(torch.inf), miss)
            miss += torch.where((area > 0) == (tip == d), 0, 10)
        misses.append(miss)
    length = [(corners[:, a] - corners[:, c]).norm(dim=1) for a, c in ((0, 2), (1, 3))]
    return misses[1] + 0.01 * length[1] < misses[0] + 0.01 * length[0]
