"""The sheets that a level surface has in the cells of a lattice, and how they hang together.

A cell's crossed edges form loops, by the same rule as in marching cubes; each loop bounds one sheet of the surface.
Dual methods give each sheet a vertex and each crossed edge the quad of the sheets around it (Nielson, "Dual Marching
Cubes", 2004; Schaefer, Ju and Warren, "Manifold Dual Contouring", 2007). That is the dual of marching cubes' closed
manifold, and one itself, except where two sheets meet twice in the face between their cells: their common edge would
have four faces. There the face is resolved the other way (Wenger, "Isosurfaces", 2013, section 5.4), which parts
both sheets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..kernels.isosurface_reference import cell_keys
from ..kernels.isosurface_table import EDGES, FACES, loops_of, table
from .cells import Cells

_CHUNK = 1 << 20  # cells at a time: their twelve edges take a hundred bytes each
_EDGES_OF_FACE = [[e for e, edge in enumerate(EDGES.tolist()) if set(edge) <= set(face)] for face in FACES.tolist()]


@dataclass(frozen=True)
class Sheets:
    """The surface's sheets (V,) and the lattice's crossed edges (E,), on the cells' device."""

    cell: Tensor  # (V,) int64 row of Cells.corners that a sheet lies in
    ends: Tensor  # (E, 2) int64 rows of Cells.points that an edge runs from and to
    axis: Tensor  # (E,) int64 axis that it runs along
    around: Tensor  # (E, 4) int64 sheets round it, counter-clockwise seen from its end; −1 where a cell is missing


def find_sheets(cells: Cells) -> Sheets:
    """Group the crossed edges of each cell to sheets. Where a value is not below 0 its corner is outside."""
    device = cells.points.device
    active, keys = _active(cells)
    keys, table_row = torch.unique(keys, return_inverse=True)
    tables = [_table(key) for key in keys.tolist()]
    sheet_of_edge = torch.tensor([t.sheet_of_edge for t in tables], dtype=torch.int64, device=device).reshape(-1, 12)
    count = torch.tensor([t.count for t in tables], dtype=torch.int64, device=device)[table_row]
    first = torch.cumsum(count, 0) - count

    number = torch.zeros(3 * len(cells.points), dtype=torch.int32, device=device)  # by an edge's first point and axis
    for _, _, _, key, _ in _crossed_edges(cells, active, sheet_of_edge, table_row):
        number[key] = 1
    key = torch.nonzero(number)[:, 0]
    number[key] = torch.arange(len(key), dtype=torch.int32, device=device)
    upper = torch.empty_like(key)
    around = torch.full((len(key), 4), -1, dtype=torch.int64, device=device)
    slot = torch.tensor([_slot(corner, edge // 4) for edge, (corner, _) in enumerate(EDGES.tolist())], device=device)
    for rows, edge, sheet, place, end in _crossed_edges(cells, active, sheet_of_edge, table_row):
        place = number[place].long()
        upper[place] = end
        around[place, slot[edge]] = first[rows] + sheet
    return Sheets(torch.repeat_interleave(active, count), torch.stack((key // 3, upper), dim=1), key % 3, around)


def _crossed_edges(cells: Cells, active: Tensor, sheet_of_edge: Tensor, table_row: Tensor
                   ) -> Iterator[tuple[Tensor, ...]]:
    """Each active cell's crossed edges, in chunks.

    Rows of `active`; which of the twelve edges; its sheet; 3 · its first point + its axis; its last point.
    """
    lower, upper = torch.tensor(EDGES, device=active.device).T
    for rows in torch.arange(len(active), device=active.device).split(_CHUNK):
        sheet = sheet_of_edge[table_row[rows]]
        place, edge = torch.nonzero(sheet >= 0, as_tuple=True)
        corners = cells.corners[active[rows]].long()
        first, last = corners[place, lower[edge]], corners[place, upper[edge]]
        yield rows[place], edge, sheet[place, edge], 3 * first + edge // 4, last


def _slot(corner: int, axis: int) -> int:
    """Which of the four cells round an edge along `axis` a cell is in which it begins at `corner`."""
    u, v = corner >> (axis + 1) % 3 & 1, corner >> (axis + 2) % 3 & 1
    return {(1, 1): 0, (0, 1): 1, (0, 0): 2, (1, 0): 3}[u, v]


@dataclass(frozen=True)
class _Table:
    sheet_of_edge: list[int]  # (12,) −1 where the edge is not crossed
    count: int
    met_twice: int  # bits of the faces in which a sheet lies twice


@cache
def _table(key: int) -> _Table:
    """The sheets of a cell with its inside corners as bits 0 to 7 and its joined faces as bits 8 to 13."""
    sheet_of_edge = np.full(12, -1, np.int8)
    loops = loops_of(key & 255, key >> 8)
    for sheet, loop in enumerate(loops):
        sheet_of_edge[loop] = sheet
    met_twice = sum(1 << face for face, edges in enumerate(_EDGES_OF_FACE)
                    if sheet_of_edge[edges].min() >= 0 and np.ptp(sheet_of_edge[edges]) == 0)
    return _Table(sheet_of_edge.tolist(), len(loops), met_twice)


def _active(cells: Cells) -> tuple[Tensor, Tensor]:
    """The cells that the surface crosses (A,) and their keys in `isosurface_table`, no sheet meeting another twice."""
    count = torch.cat([(cells.values[part.long()] < 0).sum(dim=1) for part in cells.corners.split(_CHUNK)])
    active = torch.nonzero((count > 0) & (count < 8))[:, 0]
    ambiguous = torch.tensor(table().ambiguous, device=active.device)
    keys = torch.cat([cell_keys(cells.values[cells.corners[part].long()].double(), ambiguous)
                      for part in active.split(_CHUNK)])
    unclear = torch.nonzero(ambiguous[keys & 255])[:, 0]
    corners = cells.corners[active[unclear]].cpu().numpy().astype(np.int64)
    keys[unclear] = torch.from_numpy(_parted(keys[unclear].cpu().numpy(), corners)).to(keys)
    return active, keys


def _parted(keys: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Keys (N,) of cells with corners (N, 8) that resolve otherwise the faces where two sheets meet twice.

    A sheet that lies twice in a face is two when the face is resolved the other way; others are never joined by it.
    So each turn leaves less to do. In one round a cell has at most one of its faces turned.
    """
    keys = keys.copy()
    while True:
        unique, row = np.unique(keys, return_inverse=True)
        met_twice = np.array([_table(key).met_twice for key in unique.tolist()], np.int64)[row]
        cell, face = np.nonzero(met_twice[:, None] >> np.arange(6) & 1)
        shared = 3 * corners[cell, FACES[face, 0]] + face // 2
        order = np.argsort(shared, kind="stable")
        first = order[:-1][shared[order[1:]] == shared[order[:-1]]]
        second = order[1:][shared[order[1:]] == shared[order[:-1]]]
        if not len(first):
            return keys
        earliest = np.full(len(keys), len(first))
        pair = np.arange(len(first))
        np.minimum.at(earliest, cell[first], pair)
        np.minimum.at(earliest, cell[second], pair)
        now = (earliest[cell[first]] == pair) & (earliest[cell[second]] == pair)
        for side in (first[now], second[now]):
            keys[cell[side]] ^= 256 << face[side]
