"""The surface whose inside has given normals: Poisson reconstruction (Kazhdan, Bolitho and Hoppe 2006) by Fourier.

The normals, each times the area that it stands for, are spread over a regular grid; the indicator function whose
gradient comes nearest to them solves Laplace χ = div V, a division in Fourier space (Peng et al. 2021, Shape As
Points, section 3.1). The surface is where χ has the mean of its values at the points.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...formats.mesh import Mesh
from ..meshing.marching_cubes import marching_cubes
from .oriented_points import OrientedPoints

_MOST = 256  # points of the grid along a side
_WIDTH = 0.7  # cells, of the Gaussian that smooths the spread normals
_BORDER = 0.2  # of the points' longest side around them, since Fourier's world repeats
_SHOWN = 0.05  # of it that the surface may reach beyond them


def poisson(points: OrientedPoints, cell: float) -> Mesh:
    """A closed surface, its cells `cell` metres wide or as small as the grid allows; sets the sign of all normals."""
    low, high = points.positions.min(axis=0), points.positions.max(axis=0)
    longest = float((high - low).max())
    size = longest * (1 + 2 * _BORDER)
    side = int(np.clip(2 * np.ceil(size / cell / 2), 32, _MOST))
    cell, origin = size / side, (low + high - size) / 2

    index, weight = _trilinear((points.positions - origin) / cell, side)
    flux = torch.from_numpy(points.normals * points.areas[:, None]).float()
    waves = [2 * np.pi * torch.fft.fftfreq(side)[:, None, None], 2 * np.pi * torch.fft.fftfreq(side)[:, None],
             2 * np.pi * torch.fft.rfftfreq(side)]
    square = sum(wave**2 for wave in waves)
    spectrum = torch.zeros(side, side, side // 2 + 1, dtype=torch.complex64)
    for axis in range(3):
        spread = torch.zeros(side**3).index_add_(0, index.reshape(-1), (weight * flux[:, axis, None]).reshape(-1))
        spectrum -= 1j * waves[axis] * torch.fft.rfftn(spread.reshape(side, side, side))
    spectrum *= torch.exp(-0.5 * _WIDTH**2 * square) / square.clamp_min(1e-12)
    values = torch.fft.irfftn(spectrum, s=(side, side, side))

    at_points = (weight * values.reshape(-1)[index]).sum(dim=1).numpy()
    level = float(np.average(at_points, weights=points.areas))
    if values[0, 0, 0] < level:  # the corner of the grid is outside: all normals faced in
        values, level = -values, -level
    first = np.floor((low - _SHOWN * longest - origin) / cell).astype(int)
    last = np.ceil((high + _SHOWN * longest - origin) / cell).astype(int) + 1
    world_from_grid = np.diag([cell, cell, cell, 1.0])
    world_from_grid[:3, 3] = origin + cell * first
    shown = values[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    return marching_cubes(shown.numpy(), world_from_grid, level, closed=True)


def _trilinear(places: np.ndarray, side: int) -> tuple[Tensor, Tensor]:
    """Flat indices (N, 8) of the grid points around places (N, 3) in cells, and their weights (N, 8)."""
    corner = np.array([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)])
    first = np.floor(places).astype(np.int64)
    share = (places - first)[:, None]
    at = (first[:, None] + corner) % side
    index = (at[..., 0] * side + at[..., 1]) * side + at[..., 2]
    weight = np.where(corner, share, 1 - share).prod(axis=2)
    return torch.from_numpy(index), torch.from_numpy(weight).float()
