"""The level surface of a lattice's values as a closed, oriented 2-manifold of triangles.

Marching cubes (Lorensen and Cline 1987) with a table made by rule; kernels/isosurface_table.py says how. What remains
open is what leaves the lattice, and nothing where a grid's surface is `closed`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...formats.mesh import Mesh
from ..kernels.isosurface import cells_surface, grid_surface
from .cells import Cells


def marching_cubes(values: np.ndarray | Tensor, world_from_grid: np.ndarray, level: float = 0.0, *,
                   closed: bool = False) -> Mesh:
    """Triangulate where trilinear `values` cross `level`; what is below it is inside.

    values: (X, Y, Z), one at each corner, not NaN; +inf is outside and pulls the surface all the way to itself.
    world_from_grid: 4×4, takes corner indices to the world.
    closed: close the surface along the grid's border where the inside reaches it.
    The vertices are exact where the values are linear along the cells' edges. A tensor on a GPU is triangulated there.
    """
    if values.ndim != 3:
        raise ValueError(f"values has shape {tuple(values.shape)}; (X, Y, Z) is expected")
    world_from_grid = np.asarray(world_from_grid, np.float64)
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.require(values, np.float32, ["C", "W"]))  # torch takes only what can be written to
    grid = values.float()
    if closed:
        grid = torch.nn.functional.pad(grid, [1] * 6, value=torch.inf)
        world_from_grid = world_from_grid @ np.block([[np.eye(3), -np.ones((3, 1))], [np.zeros((1, 3)), 1]])
    return _mesh(*grid_surface(grid, level, world_from_grid), world_from_grid)


def triangulate(cells: Cells) -> Mesh:
    """Triangulate where the values cross 0 in some cells of a lattice, given in any order.

    The mesh is closed where the cells that the surface crosses are all there.
    """
    return _mesh(*cells_surface(cells.points, cells.values, cells.corners, cells.world_from_lattice),
                 cells.world_from_lattice)


def _mesh(vertices: Tensor, faces: Tensor, world_from_lattice: np.ndarray) -> Mesh:
    mirrored = np.linalg.det(world_from_lattice[:3, :3]) < 0
    return Mesh(vertices.cpu().numpy(), (faces.flip(1) if mirrored else faces).cpu().numpy())
