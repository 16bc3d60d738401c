"""Signed distance and colour on the corners of a lattice that lie near a surface."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..kernels import surface
from ..rendering.lattice import Lattice
from ..rendering.rays import Camera, picture_rays
from .around import Around
from .common import Rendered, packed, shaped, unpacked

RENDER_STEP = 0.5  # voxels between the samples of a picture


class SurfaceField:
    """A field of `surface.Rows` over a lattice.

    Corners further from the surface than the band hold nothing but on which side they are. With something `around`,
    its pictures show that too and are opaque; it is no part of what is stored.
    """

    around: Around | None = None

    def __init__(self, lattice: Lattice, distances: Tensor, band: float, width: float,
                 corner_index: Tensor | None = None):
        """A grey field from signed distances (X + 1, Y + 1, Z + 1) in voxels; `width` is that of NeuS's logistic.

        Rows are the corners `corner_index` (R, 3), or those within `band` and their neighbours.
        """
        self.lattice, self.width, self.band = lattice, width, band
        self.inside = distances < 0
        device = distances.device
        if corner_index is None:
            # Every cell that the band touches has all its corners.
            corner_index = torch.nonzero(F.max_pool3d((distances.abs() < band)[None].float(), 3, 1, 1)[0])
        self.corner_index = corner_index  # (R, 3)
        number = len(self.corner_index)
        row = torch.full(lattice.corners, -1, dtype=torch.int32, device=device)
        row[tuple(corner_index.T)] = torch.arange(number, dtype=torch.int32, device=device)
        color = torch.zeros(number, surface.COLORS, device=device)
        color[:, :3] = 0.5
        skip = torch.zeros(lattice.cells, dtype=torch.uint8, device=device)
        self.rows = surface.Rows(distances[tuple(corner_index.T)], color, row, skip)
        self.refresh()

    @property
    def box(self) -> np.ndarray:
        return self.lattice.box

    def refresh(self) -> None:
        """Find anew which cells are seen: those with all corners in the band and Φ neither 0 nor 1 in all of them."""
        reach = surface.REACH * self.width
        dense = torch.full(self.lattice.corners, torch.inf, device=self.rows.sdf.device)
        dense[tuple(self.corner_index.T)] = self.rows.sdf
        high = F.max_pool3d(dense[None], 2, 1)[0]
        low = -F.max_pool3d(-dense[None], 2, 1)[0]
        seen = (low < reach) & (high > -reach) & high.isfinite()
        far = ndimage.distance_transform_cdt(~seen.cpu().numpy(), "chessboard") if seen.any() else np.full(seen.shape, 99)
        self.rows.skip.copy_(torch.from_numpy(np.minimum(far, 255).astype(np.uint8)))

    def neighbours(self) -> Tensor:
        """The rows (R, 6) int32 at ±x, ±y, ±z of each row; all −1 where one of them is missing."""
        row = F.pad(self.rows.row, (1, 1, 1, 1, 1, 1), value=-1)
        steps = [[s if a == axis else 0 for a in range(3)] for axis in range(3) for s in (-1, 1)]
        at = self.corner_index + 1
        around = torch.stack([row[tuple((at + torch.tensor(s, device=at.device)).T)] for s in steps], 1)
        around[(around < 0).any(1)] = -1
        return around

    def dense(self) -> Tensor:
        """Signed distances in voxels at all corners, cut off where the band ends."""
        beyond = self.band + 2
        values = beyond - 2 * beyond * self.inside.float()
        values[tuple(self.corner_index.T)] = self.rows.sdf
        return values

    def colors_at(self, index: Tensor) -> Tensor:
        """Colours (N, 12) at positions (N, 3) in corner indices, from the rows around; the nearest row's where none is."""
        size = torch.tensor(self.lattice.corners, device=index.device)
        cell = index.floor().long()
        total = torch.zeros(len(index), surface.COLORS, device=index.device)
        weight = torch.zeros(len(index), 1, device=index.device)
        for offset in itertools.product((0, 1), repeat=3):
            at = (cell + torch.tensor(offset, device=index.device)).clamp(min=0).minimum(size - 1)
            rows = self.rows.row[tuple(at.T)].long()
            # A corner off the point's cell counts a little, so that there is a colour wherever a row is near.
            w = ((1 - (index - at).abs()).clamp(min=1e-3).prod(1) * (rows >= 0))[:, None]
            total += w * self.rows.color[rows]
            weight += w
        colors = total / weight.clamp(min=1e-12)
        missing = weight[:, 0] == 0
        if missing.any():
            lost = ndimage.distance_transform_edt((self.rows.row < 0).cpu().numpy(), return_distances=False,
                                                  return_indices=True)
            nearest = torch.from_numpy(lost).to(index.device)
            at = index[missing].round().long().clamp(min=0).minimum(size - 1)
            there = nearest[:, at[:, 0], at[:, 1], at[:, 2]].long()
            colors[missing] = self.rows.color[self.rows.row[tuple(there)].long()]
        return colors

    def refined(self, lattice: Lattice, band: float, width: float) -> SurfaceField:
        """The same surface on another lattice, or with another band; distances are measured anew from it."""
        scale = lattice.voxel / self.lattice.voxel
        lower = torch.from_numpy((lattice.lower - self.lattice.lower) / self.lattice.voxel).float()
        values = self.dense()
        if lattice is self.lattice:
            # What lies beside the surface stays, so that the surface does not move.
            values = torch.where(values.abs() < 1, values, redistance(values))
        else:
            axes = [lower[a] + scale * torch.arange(lattice.corners[a]) for a in range(3)]
            values = redistance(resample(values, axes) / scale)
        field = SurfaceField(lattice, values, band, width)
        index = field.corner_index * scale + lower.to(values.device)
        field.rows.color.copy_(self.colors_at(index))
        field.around = self.around
        return field

    def render(self, fx: float, fy: float, cx: float, cy: float, width: int, height: int,
               world_from_camera: np.ndarray) -> Rendered:
        """See `Field.render`; after a change of the rows `refresh` comes first."""
        camera = Camera(fx, fy, cx, cy, np.asarray(world_from_camera, np.float64))
        parts = []
        for rays, axial in picture_rays(camera, width, height, self.lattice, self.rows.sdf.device):
            with torch.no_grad():
                seen = surface.render(self.rows, rays, torch.full_like(rays.near, 0.5), self.width, RENDER_STEP)
            alpha = stopped = 1 - seen.transmittance
            distance = seen.distance * self.lattice.voxel
            rgb = seen.rgb.clamp(min=0).minimum(alpha[:, None])
            if self.around is not None:
                beside = self.around.seen(rays, self.lattice)
                rgb = beside.before + beside.transmittance[:, None] * (rgb + (1 - alpha[:, None]) * beside.behind)
                distance = beside.distance + beside.transmittance * (distance + (1 - alpha) * beside.distance_behind)
                stopped = 1 - beside.transmittance * (1 - alpha) * (1 - beside.stopped_behind)
                alpha = torch.ones_like(alpha)
            depth = torch.where(stopped > 0.01, distance / stopped.clamp(min=1e-6) * axial, torch.nan)
            parts.append(torch.cat([rgb, alpha[:, None], depth[:, None], F.normalize(seen.normal, dim=1)], 1).cpu())
        image = torch.cat(parts).view(height, width, 8).numpy()
        return Rendered(image[..., :3], image[..., 3], image[..., 4], image[..., 5:])

    def level_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Field.level_grid`: signed distances in metres."""
        return (self.dense() * self.lattice.voxel).cpu().numpy(), self.lattice.world_from_grid

    def tensors(self) -> dict[str, Tensor]:
        """See `Field.tensors`: the rows in the order of their corners."""
        has_row = self.rows.row >= 0
        order = self.rows.row[has_row].long()
        return {"inside": packed(self.inside), "has_row": packed(has_row), "sdf": self.rows.sdf[order],
                "color": self.rows.color[order]}

    def about(self) -> dict[str, Any]:
        """See `Field.about`."""
        return {"lattice": self.lattice.to_json(), "band": self.band, "width": self.width}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], about: dict[str, Any]) -> SurfaceField:
        """See `Field.from_tensors`."""
        lattice, band, width = Lattice.from_json(about["lattice"]), float(about["band"]), float(about["width"])
        if not (0 < band < math.inf and 0 < width < math.inf):
            raise ValueError(f"a surface has a band of {band} and a width of {width} voxels")
        corner_index = torch.nonzero(unpacked(tensors["has_row"], lattice.corners))
        distances = 1 - 2 * unpacked(tensors["inside"], lattice.corners).float()
        distances[tuple(corner_index.T)] = shaped(tensors["sdf"], len(corner_index))
        field = cls(lattice, distances, band, width, corner_index)
        field.rows.color.copy_(shaped(tensors["color"], len(corner_index), surface.COLORS))
        return field


def resample(values: Tensor, axes: list[Tensor]) -> Tensor:
    """Trilinear samples of `values` (X, Y, Z) at the product of three axes of indices, nearest beyond its border."""
    for axis, at in enumerate(axes):
        at = at.to(values.device).clamp(0, values.shape[axis] - 1)
        low = at.floor().long().clamp(max=max(values.shape[axis] - 2, 0))
        shape = [-1 if a == axis else 1 for a in range(3)]
        part = (at - low).view(shape)
        values = values.index_select(axis, low) * (1 - part) + values.index_select(axis, low + 1) * part
    return values


def redistance(values: Tensor) -> Tensor:
    """Signed distances in voxels to the zero level of `values` (X, Y, Z), whose slope there need not be 1.

    Each corner takes the distance to the foot point, one Newton step along the gradient, of the nearest corner
    beside the surface.
    """
    inside = values < 0
    beside = torch.zeros_like(inside)
    for axis in range(3):
        change = inside.diff(dim=axis)
        beside.narrow(axis, 0, change.shape[axis]).logical_or_(change)
        beside.narrow(axis, 1, change.shape[axis]).logical_or_(change)
    if not beside.any():
        return values
    at = torch.nonzero(beside)
    slope = torch.stack([_slope(values, at, axis) for axis in range(3)], 1)
    step = -values[beside][:, None] * slope / slope.square().sum(1, keepdim=True).clamp(min=1e-6)
    # The surface crosses an edge from this corner, so it is at most one voxel away.
    step *= (1 / step.norm(dim=1, keepdim=True).clamp(min=1e-6)).clamp(max=1)
    foot = at + step
    number = torch.zeros(values.shape, dtype=torch.int64, device=values.device)
    number[beside] = torch.arange(len(at), device=values.device)
    nearest = ndimage.distance_transform_edt((~beside).cpu().numpy(), return_distances=False, return_indices=True)
    index = torch.from_numpy(nearest).to(values.device).long()
    foot = foot[number[index[0], index[1], index[2]]]
    square = torch.zeros_like(values)
    for axis in range(3):
        shape = [-1 if a == axis else 1 for a in range(3)]
        square += (foot[..., axis] - torch.arange(values.shape[axis], device=values.device).view(shape)).square()
    return torch.where(inside, -square.sqrt(), square.sqrt())


def _slope(values: Tensor, at: Tensor, axis: int) -> Tensor:
    """Differences along `axis` at corners (N, 3): central, one-sided at the border."""
    high, low = at.clone(), at.clone()
    high[:, axis] = (at[:, axis] + 1).clamp(max=values.shape[axis] - 1)
    low[:, axis] = (at[:, axis] - 1).clamp(min=0)
    return (values[tuple(high.T)] - values[tuple(low.T)]) / (high[:, axis] - low[:, axis])
