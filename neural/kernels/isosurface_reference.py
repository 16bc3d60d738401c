"""All cells at once, in few large steps: on a GPU nothing leaves it before the mesh is there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .isosurface_table import CORNERS, EDGES, FACES, table

# Two crossings that would fall on one corner (its value is zero) keep this share of an edge away from it,
# so that no triangle degenerates.
APART = 1e-3
_SLAB = 64


def grid_surface(values: Tensor, level: float, world_from_grid: np.ndarray) -> tuple[Tensor, Tensor]:
    size = torch.tensor(values.shape, device=values.device)

    def coordinates(index: Tensor) -> Tensor:
        return torch.stack((index // (size[1] * size[2]), index // size[2] % size[1], index % size[2]), dim=1)

    return _surface(values.reshape(-1), _active_cells(values, level), coordinates, level, world_from_grid)


def cells_surface(points: Tensor, values: Tensor, corners: Tensor, world_from_lattice: np.ndarray
                  ) -> tuple[Tensor, Tensor]:
    return _surface(values, corners.long(), lambda index: points[index], 0.0, world_from_lattice)


def _active_cells(values: Tensor, level: float) -> Tensor:
    """Flat corner indices (N, 8) of the cells that the surface crosses."""
    strides = torch.tensor([values.shape[1] * values.shape[2], values.shape[2], 1], device=values.device)
    found = []
    for start in range(0, values.shape[0] - 1, _SLAB):  # a slab at a time: the masks of a whole grid are large
        inside = values[start:start + _SLAB + 1].double() < level
        size = [n - 1 for n in inside.shape]
        parts = [inside[x:x + size[0], y:y + size[1], z:z + size[2]] for x, y, z in CORNERS.tolist()]
        some, every = parts[0].clone(), parts[0].clone()
        for part in parts[1:]:
            some |= part
            every &= part
        cells = torch.nonzero(some & ~every)
        cells[:, 0] += start
        found.append((cells * strides).sum(dim=1))
    cells = torch.cat([strides[:0], *found])
    return cells[:, None] + (torch.as_tensor(CORNERS, device=cells.device) * strides).sum(dim=1)


def _surface(values: Tensor, corners: Tensor, coordinates: Callable[[Tensor], Tensor], level: float,
             world_from_lattice: np.ndarray) -> tuple[Tensor, Tensor]:
    device = values.device
    tables = {name: torch.as_tensor(array, device=device) for name, array in table()._asdict().items()}
    at_corners = values[corners].double() - level
    keys = cell_keys(at_corners, tables["ambiguous"])

    low, high = torch.as_tensor(EDGES.T.copy(), device=device)
    crossed = (at_corners[:, low] < 0) != (at_corners[:, high] < 0)
    keys_of_edges = 3 * corners[:, low] + torch.arange(12, device=device) // 4
    edges, place = torch.unique(keys_of_edges[crossed], return_inverse=True)
    upper = torch.empty_like(edges)
    upper[place] = corners[:, high][crossed]
    vertices = _crossings(values, level, edges, upper, coordinates)
    nodes = torch.full((len(corners), 13), -1, dtype=torch.long, device=device)
    nodes[:, :12][crossed] = place

    centred = torch.nonzero(tables["centre"][keys] >= 0)[:, 0]
    loops = tables["loops"][tables["centre"][keys[centred]].long()].long()
    around = vertices[nodes[centred[:, None], loops.clamp(min=0)].clamp(min=0)] * (loops >= 0)[..., None]
    nodes[centred, 12] = len(edges) + torch.arange(len(centred), device=device)
    vertices = torch.cat((vertices, around.sum(dim=1) / (loops >= 0).sum(dim=1, keepdim=True)))

    first = tables["first"].long()
    count = first[keys + 1] - first[keys]
    cell = torch.repeat_interleave(torch.arange(len(keys), device=device), count)
    place = torch.arange(len(cell), device=device) - (count.cumsum(0) - count)[cell]  # of a triangle in its cell
    faces = nodes[cell[:, None], tables["triangles"][first[keys][cell] + place].long()]
    world = torch.as_tensor(world_from_lattice, dtype=torch.float64, device=device)
    return (vertices @ world[:, :3].T + world[:, 3]).float(), faces.int()


def cell_keys(at_corners: Tensor, ambiguous: Tensor) -> Tensor:
    """The cells' keys (N,) from the values at their corners (N, 8) less the level."""
    bits = torch.arange(8, device=at_corners.device)
    keys = ((at_corners < 0).long() << bits).sum(dim=1)
    faces = ambiguous[keys].long()
    for face, (a, b, c, d) in enumerate(FACES.tolist()):
        straight, across = at_corners[:, a] * at_corners[:, d], at_corners[:, b] * at_corners[:, c]
        joined = torch.where(at_corners[:, a] < 0, straight > across, straight < across)
        keys |= (joined & (faces >> face & 1).bool()).long() << 8 + face
    return keys


def _crossings(values: Tensor, level: float, edges: Tensor, upper: Tensor, coordinates: Callable[[Tensor], Tensor]
               ) -> Tensor:
    """Where the values cross the level between the edges' lower and upper ends, in lattice units, (E, 3) float64."""
    lower, axis = edges // 3, edges % 3
    at_lower, at_upper = (values[index].double() - level for index in (lower, upper))
    share = 1 / (1 - at_upper / at_lower)  # this form takes an infinite value, and a zero, at either end
    near = torch.nonzero((share < APART) | (share > 1 - APART))[:, 0]
    _, place, count = torch.unique(torch.where(share[near] < APART, lower[near], upper[near]), return_inverse=True,
                                   return_counts=True)
    crowded = near[count[place] > 1]
    share[crowded] = share[crowded].clamp(APART, 1 - APART)
    points = coordinates(lower).double()
    points[torch.arange(len(edges), device=edges.device), axis] += share
    return points
