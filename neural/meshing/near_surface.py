"""The cells of a lattice that a function's surface crosses, found without looking at the others.

Blocks of cells are halved from coarse to fine, and those too far from the surface dropped: a block whose value at the
centre exceeds what the function can change by on the way to a corner (its Lipschitz bound times half the diagonal)
holds no surface. So nothing is missed where the bound is true. Where none is known, each block measures its own slope
on its neighbours and reaches a whole side far: conservative for whatever resembles a distance, and for any function a
dilation by one block around each change of sign. What is thinner than a coarsest block may then be missed.

The last blocks, of two cells a side, are not halved: their centres and corners are points of the lattice, and each
cell has one of each at opposite corners, which say whether the other six may differ.

Either way the report says how sure it is: points drawn at random in dropped blocks must have the block's sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...jobs.machine import return_free_memory
from ...recipes.errors import InputError
from ..geometry.distance import Distance
from .cells import Cells

# Cells of free space around the box; on the outermost points everything is outside, which closes every surface.
_MARGIN = 2
_BATCH = 1 << 16  # points that are evaluated at once
_TABLE = 1 << 23  # points of a slab of the lattice, of which two tables are kept
_COARSEST = {True: 32, False: 8}  # cells along a first block's side, where the Lipschitz bound is finite and where not
_CHECKED = 2048  # points that are drawn in the dropped blocks of a level
_ROUNDING = 1.001  # values are float32
_MOST = 1e38  # infinite values are as large as this
_OFFSETS = np.array([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)], np.int32)


class Lattice(NamedTuple):
    shape: tuple[int, int, int]  # cells along x, y and z
    world_from_lattice: np.ndarray  # (4, 4) float64


def lattice_around(box: np.ndarray, resolution: int) -> Lattice:
    """Cubic cells, `resolution` along the longest side of a box (2, 3), with free space around."""
    size = box[1] - box[0]
    cell = float(size.max()) / resolution
    shape = np.maximum(np.ceil(size / cell - 1e-6), 1).astype(int) + 2 * _MARGIN
    world_from_lattice = np.diag([cell, cell, cell, 1.0])
    world_from_lattice[:3, 3] = (box[0] + box[1]) / 2 - cell * shape / 2
    x, y, z = shape.tolist()
    return Lattice((x, y, z), world_from_lattice)


def near_surface(distance: Distance, resolution: int, *, device: torch.device | str = "cpu",
                 on_progress: Callable[[float], None] = lambda fraction: None) -> tuple[Cells, dict[str, Any]]:
    """The cells that the zero surface crosses, of `resolution` cells along the longest side of the function's box.

    The surface is closed: what would leave the lattice, which has two cells of margin around the box, ends one cell
    before its border. Figures: `evaluations` of the function and `evaluations_share` of a dense grid's,
    `cells_visited` whose corners were all evaluated, `cells_crossed` among them, `points_checked` in dropped blocks
    and `points_missed` of them that have the other sign.
    """
    search = _Search(distance, lattice_around(np.asarray(distance.box, np.float64), resolution), torch.device(device))
    blocks = search.blocks(on_progress)
    cells = search.cells(*blocks, lambda fraction: on_progress(0.3 + 0.7 * fraction))
    dense = float(np.prod([n + 1.0 for n in search.lattice.shape]))
    return cells, {"cells_visited": search.visited, "cells_crossed": len(cells.corners),
                   "evaluations": search.evaluations, "evaluations_share": search.evaluations / dense,
                   "points_checked": search.checked, "points_missed": search.missed}


class _Search:
    def __init__(self, distance: Distance, lattice: Lattice, device: torch.device) -> None:
        self.distance, self.lattice, self.device = distance, lattice, device
        self.bounded = bool(np.isfinite(distance.lipschitz))
        self.evaluations = self.visited = self.checked = self.missed = 0
        self.random = torch.Generator().manual_seed(0)
        self.size = torch.tensor(lattice.shape, device=device)

    @property
    def cell(self) -> float:
        return float(self.lattice.world_from_lattice[0, 0])

    def evaluate(self, points: Tensor) -> Tensor:
        """Values (N,) float32 at lattice points (N, 3); all is outside on the lattice's border and beyond."""
        origin = torch.as_tensor(self.lattice.world_from_lattice[:3, 3], device=self.device)
        slope = self.distance.lipschitz if self.bounded else 1.0
        values = torch.empty(len(points), device=self.device)
        for start in range(0, len(points), _BATCH):
            batch = points[start:start + _BATCH].double()
            found = self.distance((batch * self.cell + origin).float())
            if torch.isnan(found).any():
                x, y, z = (batch[torch.isnan(found)][0] * self.cell + origin).tolist()
                raise InputError(f"distance: is not a number at ({x:.6g}, {y:.6g}, {z:.6g}); check what it was made of")
            found = found.clamp(-_MOST, _MOST)
            # In the border's outermost cells everything is outside, by half a cell or more.
            beyond = torch.maximum(1 - batch, batch + 1 - self.size).amax(dim=1)
            outside = (slope * self.cell * (beyond + 0.5)).float()
            values[start:start + _BATCH] = torch.where(beyond >= 0, torch.maximum(found, outside), found)
        self.evaluations += len(points)
        return values

    def blocks(self, on_progress: Callable[[float], None]) -> tuple[Tensor, Tensor, Tensor]:
        """First points (B, 3) int32 of the blocks of two cells a side that may hold surface, in order of x; values
        at their centres, and how much the function may change by over a cell's side."""
        side = _COARSEST[self.bounded]
        blocks = torch.cartesian_prod(*[torch.arange(0, n, side, dtype=torch.int32, device=self.device)
                                        for n in self.lattice.shape])
        while True:
            values = self.evaluate(blocks + side / 2)
            slopes = self._slopes(blocks, values, side)
            # A block next to one with another sign is never dropped: the slope between carries farther than the value.
            reach = slopes * side * (3**0.5 / 2 if self.bounded else 1.0)
            at_border = ((blocks <= 1) | (blocks + side >= self.size - 1)).any(dim=1)
            near = (values.abs() <= reach * _ROUNDING) | (at_border & (values < 0))
            self._check(blocks[~near], values[~near], side)
            blocks, values, slopes = blocks[near], values[near], slopes[near]
            on_progress(0.3 * (1 - (side / _COARSEST[self.bounded])) + 0.05)
            if side == 2:
                order = torch.argsort(blocks[:, 0], stable=True)
                return blocks[order], values[order], slopes[order]
            side //= 2
            offsets = torch.as_tensor(_OFFSETS * side, device=self.device)
            blocks = (blocks[:, None] + offsets).reshape(-1, 3)
            blocks = blocks[(blocks < self.size).all(dim=1)]

    def _slopes(self, blocks: Tensor, values: Tensor, side: int) -> Tensor:
        """What the function may change by over the side of a cell near each block (B,): its bound, or the steepest
        change that the block or one around it sees toward its neighbours."""
        if self.bounded:
            return torch.full_like(values, self.distance.lipschitz * self.cell)
        steps = self.size // side + 2
        strides = torch.stack((steps[1] * steps[2], steps[2], torch.ones_like(steps[0])))
        keys, order = ((blocks // side).long() * strides).sum(dim=1).sort()
        pairs = []  # of neighbours, along each axis
        for stride in strides:
            after = torch.searchsorted(keys, keys + stride).clamp(max=len(keys) - 1)
            found = torch.nonzero(keys[after] == keys + stride)[:, 0]
            pairs.append((order[found], order[after[found]]))
        squares = torch.zeros_like(values)
        for before, after in pairs:
            change = (values[before] - values[after]).abs() / side
            steepest = torch.zeros_like(values)
            steepest[before] = change
            steepest[after] = torch.maximum(steepest[after], change)
            squares += steepest**2
        for before, after in pairs:  # the greatest of the 27 blocks around each
            one, other = squares[after], squares[before]
            squares[before] = torch.maximum(squares[before], one)
            squares[after] = torch.maximum(squares[after], other)
        return squares.sqrt()

    def _check(self, blocks: Tensor, values: Tensor, side: int) -> None:
        """Draw points in dropped blocks: they must have the sign of the block."""
        count = min(_CHECKED, len(blocks) * side**3 // 512)
        drawn = torch.randint(max(len(blocks), 1), (count,), generator=self.random).to(self.device)
        inside = side * torch.rand((count, 3), generator=self.random).to(self.device)
        self.missed += int(((self.evaluate(blocks[drawn] + inside) < 0) != (values[drawn] < 0)).sum())
        self.checked += count

    def cells(self, blocks: Tensor, values: Tensor, slopes: Tensor, on_progress: Callable[[float], None]) -> Cells:
        """The crossed cells of blocks of two cells a side, slab by slab along x."""
        plane = [n + 1 + n % 2 for n in self.lattice.shape[1:]]
        thickness = max(_TABLE // (plane[0] * plane[1]) // 2, 1) * 2
        tables = _Tables(thickness, plane, self.device)
        points = [torch.empty(0, 3, dtype=torch.int32, device=self.device)]
        at_points, corners = [values[:0]], [torch.empty(0, 8, dtype=torch.int32, device=self.device)]
        for start in range(0, self.lattice.shape[0], thickness):
            low, high = torch.searchsorted(blocks[:, 0].contiguous(),
                                           torch.tensor([start, start + thickness], device=self.device,
                                                        dtype=torch.int32)).tolist()
            if high > low:
                found = self._slab(tables, start, blocks[low:high], values[low:high], slopes[low:high])
                for parts, part in zip((points, at_points, corners), found, strict=True):
                    parts.append(part)
            on_progress(min((start + thickness) / self.lattice.shape[0], 1.0))
        del tables
        return Cells(_joined(points), _joined(at_points), _joined(corners), self.lattice.world_from_lattice)

    def _slab(self, tables: _Tables, start: int, blocks: Tensor, values: Tensor, slopes: Tensor
              ) -> tuple[Tensor, Tensor, Tensor]:
        tables.move_to(start)
        offsets = torch.as_tensor(_OFFSETS, device=self.device)
        centres = tables.index(blocks + 1)
        tables.values[centres] = values
        self._fill(tables, tables.index(blocks[:, None] + 2 * offsets))
        # Each cell has the block's centre at one corner and a corner of the block at the opposite one.
        far = tables.values[tables.index(blocks[:, None] + 2 * offsets)]
        here = values[:, None].expand(far.shape)
        greatest, least = torch.maximum(here.abs(), far.abs()), torch.minimum(here.abs(), far.abs())
        # The other six are one side from one of the two and a face's diagonal from the other.
        slope = slopes[:, None] * (_ROUNDING if self.bounded else 2 / 3**0.5)
        near = ((here < 0) != (far < 0)) | ((greatest <= 2**0.5 * slope) & (least <= slope))
        cells = (blocks[:, None] + offsets)[near]
        cells = cells[(cells < self.size).all(dim=1)]
        corners = tables.index(cells[:, None] + offsets)
        self._fill(tables, corners)
        self.visited += len(cells)
        inside = tables.values[corners] < 0
        corners = corners[inside.any(dim=1) & ~inside.all(dim=1)]
        points, at_points = tables.number(corners)
        return points, at_points, tables.numbers[corners]

    def _fill(self, tables: _Tables, wanted: Tensor) -> None:
        new = tables.unknown(wanted)
        tables.values[new] = self.evaluate(tables.points(new))


def _joined(parts: list[Tensor]) -> Tensor:
    """One tensor of several, whose memory it frees."""
    whole = torch.cat(parts)
    parts.clear()
    return_free_memory()
    return whole


class _Tables:
    """Values and numbers of all points of a slab of the lattice; the last plane is the next slab's first."""

    def __init__(self, thickness: int, plane: list[int], device: torch.device) -> None:
        self.thickness, self.plane, self.first, self.count = thickness, plane, -thickness, 0
        size = (thickness + 1) * plane[0] * plane[1]
        self.values = torch.full((size,), torch.nan, device=device)
        self.numbers = torch.full((size,), -1, dtype=torch.int32, device=device)

    def move_to(self, first: int) -> None:
        """Let the slab begin at x = `first`; its first plane is known where the slab before ended there."""
        area = self.plane[0] * self.plane[1]
        known = area if first == self.first + self.thickness else 0
        for table, nothing in ((self.values, torch.nan), (self.numbers, -1)):
            table[:known] = table[len(table) - known:].clone()
            table[known:] = nothing
        self.first = first

    def index(self, points: Tensor) -> Tensor:
        """Where lattice points (…, 3) stand in the tables, int64."""
        x, y, z = points.long().unbind(-1)
        return ((x - self.first) * self.plane[0] + y) * self.plane[1] + z

    def points(self, index: Tensor) -> Tensor:
        row = index // self.plane[1]
        return torch.stack((row // self.plane[0] + self.first, row % self.plane[0], index % self.plane[1]),
                           dim=1).int()

    def unknown(self, index: Tensor) -> Tensor:
        """Those of some places, each once and in order, that have no value yet."""
        index = index.reshape(-1)
        self.values[index[torch.isnan(self.values[index])]] = torch.inf
        return torch.nonzero(self.values == torch.inf)[:, 0]

    def number(self, corners: Tensor) -> tuple[Tensor, Tensor]:
        """Number the corners' places that have no number yet: their points, and the values there."""
        corners = corners.reshape(-1)
        self.numbers[corners[self.numbers[corners] < 0]] = -2
        new = torch.nonzero(self.numbers == -2)[:, 0]
        self.numbers[new] = torch.arange(self.count, self.count + len(new), dtype=torch.int32, device=new.device)
        self.count += len(new)
        return self.points(new), self.values[new]
