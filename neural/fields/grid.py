"""Density and view-dependent colour on the corners of a sparse lattice."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import density
from ..rendering.lattice import Lattice
from ..rendering.rays import Camera, picture_rays
from .common import Rendered, filled, packed, shaped, unpacked

REFERENCE = 128  # a voxel of the box's longest side over this has the optical thickness 1 per unit of density
RENDER_STEP = 0.5  # voxels between the samples of a picture


class GridField:
    """A field of `density.Rows` over a lattice. Cells that are not occupied hold nothing.

    In the shell of a lattice that has one lies what the cameras see beside the subject; it is part of every picture
    of the field, which is opaque then, and no part of its box and surface.

    The density between corners is the softplus of the interpolated value, so that a surface can be sharper than
    a voxel (Sun et al. 2022, DVGO, section 4.1).
    """

    def __init__(self, lattice: Lattice, occupied: Tensor, background: Tensor):
        """An even field over the cells `occupied` (X, Y, Z) bool, before the colour `background` (3,) sRGB."""
        self.lattice, self.background = lattice, background
        device = occupied.device
        index = torch.nonzero(occupied)
        cell = torch.full(lattice.cells, -1, dtype=torch.int32, device=device)
        cell[tuple(index.T)] = torch.arange(len(index), dtype=torch.int32, device=device)
        # Numbered through a dense grid: sorting eight corners a cell would take far longer.
        offsets = list(itertools.product((0, 1), repeat=3))
        row = torch.zeros(lattice.corners, dtype=torch.bool, device=device)
        for x, y, z in offsets:
            row[x:x + lattice.cells[0], y:y + lattice.cells[1], z:z + lattice.cells[2]] |= occupied
        self.corner_index = torch.nonzero(row)  # (R, 3)
        row = row.int()
        row[row > 0] = torch.arange(len(self.corner_index), dtype=torch.int32, device=device)
        corners = torch.stack([row[x:, y:, z:][tuple(index.T)] for x, y, z in offsets], 1)
        blocks = F.max_pool3d(occupied[None].float(), 4, ceil_mode=True)[0] > 0
        table = torch.zeros(len(self.corner_index), density.WIDTH, device=device)
        thickness = REFERENCE / max(lattice.within.cells)
        self.rows = density.Rows(table, cell, corners, blocks, thickness, lattice.shell)

    @property
    def box(self) -> np.ndarray:
        return self.lattice.within.box

    @property
    def occupied(self) -> Tensor:
        return self.rows.cell >= 0

    def row_at(self, corners: Tensor) -> Tensor:
        """The rows (N,) of corners (N, 3) that the field has."""
        rows = torch.zeros(self.lattice.corners, dtype=torch.int64, device=corners.device)
        rows[tuple(self.corner_index.T)] = torch.arange(len(self.corner_index), device=corners.device)
        return rows[tuple(corners.T)]

    def values_at(self, points: Tensor) -> Tensor:
        """Rows (N, 16) interpolated at `points` (N, 3) in corner indices; a point in an empty cell takes the
        nearest values of a neighbouring cell, and zeros where all around it is empty."""
        values = torch.zeros(len(points), density.WIDTH, device=points.device)
        size = torch.tensor(self.lattice.cells, device=points.device)
        left = torch.arange(len(points), device=points.device)
        for reach in (0.0, 0.01, 1.0):
            for sign in itertools.product((-1, 1), repeat=3) if reach else [(0, 0, 0)]:
                at = points[left]
                index = (at + reach * torch.tensor(sign, device=points.device)).floor().long()
                index = index.clamp(min=0).minimum(size - 1)
                cells = self.rows.cell[tuple(index.T)]
                found = cells >= 0
                fraction = (at[found] - index[found]).clamp(0, 1)
                x, y, z = (torch.stack([1 - fraction[:, a], fraction[:, a]], 1) for a in range(3))
                weights = (x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]).flatten(1)
                corners = self.rows.corners[cells[found].long()]
                for k in range(8):
                    values[left[found]] += weights[:, k, None] * self.rows.table[corners[:, k].long()]
                left = left[~found]
        return values

    def albedo(self, points: np.ndarray) -> np.ndarray:
        """The colour without its view-dependent part at world points (N, 3): (N, 3) float32 sRGB, grey where empty."""
        index = torch.from_numpy((np.asarray(points) - self.lattice.lower) / self.lattice.voxel).float()
        values = self.values_at(index.to(self.rows.table.device))
        return torch.sigmoid(density.SH0 * values[:, 1:density.USED:4]).cpu().numpy()

    def refined(self, lattice: Lattice, occupied: Tensor) -> GridField:
        """The same field on the cells `occupied` of another lattice."""
        field = GridField(lattice, occupied, self.background)
        lower = torch.from_numpy((lattice.lower - self.lattice.lower) / self.lattice.voxel).float()
        points = field.corner_index * (lattice.voxel / self.lattice.voxel) + lower.to(occupied.device)
        field.rows.table.copy_(self.values_at(points))
        return field

    def render(self, fx: float, fy: float, cx: float, cy: float, width: int, height: int,
               world_from_camera: np.ndarray) -> Rendered:
        """See `Field.render`."""
        camera = Camera(fx, fy, cx, cy, np.asarray(world_from_camera, np.float64))
        parts = []
        for rays, axial in picture_rays(camera, width, height, self.lattice, self.rows.table.device):
            with torch.no_grad():
                offset = torch.full_like(rays.near, 0.5)
                seen = density.render(self.rows, rays, offset, RENDER_STEP)
            alpha = 1 - seen.transmittance
            depth = seen.distance / alpha.clamp(min=1e-6) * axial * self.lattice.voxel
            depth = torch.where(alpha > 0.01, depth, torch.nan)
            normal = F.normalize(seen.normal, dim=1)
            rgb = seen.rgb
            if self.lattice.shell:  # What lets light through shows the far background.
                rgb, alpha = rgb + seen.transmittance[:, None] * self.background, torch.ones_like(alpha)
            parts.append(torch.cat([rgb, alpha[:, None], depth[:, None], normal], 1).cpu())
        image = torch.cat(parts).view(height, width, 8).numpy()
        return Rendered(image[..., :3], image[..., 3], image[..., 4], image[..., 5:])

    def depth_at(self, camera: Camera, width: int, height: int, opacity: float) -> np.ndarray:
        """The depth (H, W) in metres along the camera's axis at which this share of light is lost, else NaN."""
        parts = []
        for rays, axial in picture_rays(camera, width, height, self.lattice, self.rows.table.device):
            offset = torch.full_like(rays.near, 0.5)
            distance = density.distance_at(self.rows, rays, offset, opacity, RENDER_STEP)
            parts.append(torch.where(distance.isfinite(), distance * axial * self.lattice.voxel, torch.nan).cpu())
        return torch.cat(parts).view(height, width).numpy()

    def level_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Field.level_grid`: the surface is where a voxel stops half of the light.

        Values are that level less the density before its softplus, in units of the level. What is enclosed is
        inside: pruning leaves it empty, since nobody sees it.
        """
        half = np.log(2) / self.rows.thickness
        level = np.log(np.expm1(half)) - density.SHIFT
        values = np.ones(self.lattice.corners, np.float32)
        values[tuple(self.corner_index.cpu().numpy().T)] = 1 - self.rows.table[:, 0].cpu().numpy() / level
        values = filled(values)
        within = self.lattice.within
        first = [(all_ - part) // 2 for all_, part in zip(self.lattice.cells, within.cells, strict=True)]
        values = values[tuple(slice(f, f + n) for f, n in zip(first, within.corners, strict=True))]
        return values.clip(-1, 1), within.world_from_grid

    def tensors(self) -> dict[str, Tensor]:
        """See `Field.tensors`: rows follow from the occupied cells, in the order of their corners."""
        return {"occupied": packed(self.occupied), "table": self.rows.table[:, :density.USED],
                "background": self.background}

    def about(self) -> dict[str, Any]:
        """See `Field.about`."""
        return {"lattice": self.lattice.to_json()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], about: dict[str, Any]) -> GridField:
        """See `Field.from_tensors`."""
        lattice = Lattice.from_json(about["lattice"])
        field = cls(lattice, unpacked(tensors["occupied"], lattice.cells), shaped(tensors["background"], 3))
        field.rows.table[:, :density.USED] = shaped(tensors["table"], len(field.corner_index), density.USED)
        return field
