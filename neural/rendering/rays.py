"""Rays through the pixels of pinhole cameras, in the coordinates of a lattice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.posed import PosedPicture
from ..kernels.density import Ends, Rays
from ..kernels.density_reference import outward, stretch
from .lattice import Lattice

NEAR = 0.1  # share of the way from a camera to the middle of a lattice with a shell that holds nothing
CHUNK = 2**18  # rays that are looked at together
FAR = 50.0  # half sides of the box within a shell; beyond it all is one colour


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in Blender's world, as in `PosedPicture`."""

    fx: float
    fy: float
    cx: float
    cy: float
    world_from_camera: np.ndarray  # (4, 4)

    def on(self, lattice: Lattice) -> np.ndarray:
        """(16,) float32: rotation (9), position in corner indices (3), fx, fy, cx, cy."""
        # In double precision up to here: the world's origin may be far away.
        position = (self.world_from_camera[:3, 3] - lattice.lower) / lattice.voxel
        numbers = [self.world_from_camera[:3, :3].ravel(), position, [self.fx, self.fy, self.cx, self.cy]]
        return np.concatenate(numbers).astype(np.float32)


def camera_of(picture: PosedPicture) -> Camera:
    """The camera that took a picture."""
    return Camera(picture.fx, picture.fy, picture.cx, picture.cy, np.asarray(picture.world_from_camera, np.float64))


def cast(cameras: Tensor, pixels: Tensor, lattice: Lattice) -> tuple[Rays, Tensor]:
    """The rays through pixel centres, and the depth along the camera's axis that one voxel along each adds.

    `cameras` (N, 16) are rows of `Camera.on`, `pixels` (N, 2) columns and rows. A ray's near and far are where it
    enters and leaves the lattice's box; far < near where it passes by. With a shell, the box is FAR times that
    within, and a ray begins at NEAR of the way to the box's middle.
    """
    # Column by column: reductions over a last dimension of three are slow on the CPU.
    r00, r01, r02, r10, r11, r12, r20, r21, r22, *position, fx, fy, cx, cy = cameras.unbind(1)
    u, v = (pixels[:, 0] + 0.5 - cx) / fx, (cy - pixels[:, 1] - 0.5) / fy
    across = [r00 * u + r01 * v - r02, r10 * u + r11 * v - r12, r20 * u + r21 * v - r22]
    axial = torch.rsqrt(across[0].square() + across[1].square() + across[2].square())
    across = [a * axial for a in across]
    near, far = _span(position, across, lattice)
    return Rays(torch.stack(position, 1), torch.stack(across, 1), near, far), axial


def _span(position: Sequence[Tensor], direction: Sequence[Tensor], lattice: Lattice) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a lattice's box, as `cast` says, from their three columns."""
    near, far = torch.zeros_like(position[0]), torch.full_like(position[0], torch.inf)
    if lattice.shell:
        aside = [position[a] - 0.5 * lattice.cells[a] for a in range(3)]
        near = NEAR * torch.sqrt(aside[0].square() + aside[1].square() + aside[2].square())
    beyond = 0.5 * (FAR / (1 + lattice.shell) - 1) if lattice.shell else 0.0  # in sides of the lattice
    for a, size in enumerate(lattice.cells):
        inverse = 1 / torch.where(direction[a].abs() < 1e-9, 1e-9, direction[a])
        low, high = (-beyond * size - position[a]) * inverse, ((1 + beyond) * size - position[a]) * inverse
        near = torch.maximum(near, torch.minimum(low, high))
        far = torch.minimum(far, torch.maximum(low, high))
    return near, far


def moved(rays: Rays, lattice: Lattice, to: Lattice) -> Rays:
    """The same rays in the corner indices of another lattice, from where they enter it to where they leave it."""
    shift = torch.from_numpy((lattice.lower - to.lower) / to.voxel).float().to(rays.origins.device)
    origins = rays.origins * (lattice.voxel / to.voxel) + shift
    return Rays(origins, rays.directions, *_span(origins.unbind(1), rays.directions.unbind(1), to))


class Pixels:
    """The known pixels of many pictures with their colours, and the rays through them.

    `correct` changes colours, cameras and how much the pictures count, between steps.
    """

    def __init__(self, pictures: Sequence[PosedPicture], device: torch.device):
        self._pictures = list(pictures)  # as last corrected
        known = [_known(p) for p in pictures]
        pixel = [np.argwhere(k)[:, ::-1].astype(np.int16) for k in known]
        self._counts = torch.tensor([len(p) for p in pixel])
        view = torch.arange(len(pixel), dtype=torch.int32).repeat_interleave(self._counts)
        self._view, self._pixel = view.to(device), torch.from_numpy(np.concatenate(pixel)).to(device)
        self._has_alpha = torch.tensor([p.has_alpha for p in pictures], device=device)
        rgba = np.concatenate([p.rgba_srgb[k] for p, k in zip(pictures, known, strict=True)])
        self.rgba = torch.from_numpy(rgba).to(device)  # (N, 4) premultiplied sRGB
        self._depth: tuple[Tensor, Tensor] | None = None  # metres and weight, (N,) each
        if any(p.depth is not None for p in pictures):
            pairs = [_depth(p)[:, k] for p, k in zip(pictures, known, strict=True)]
            depth, weight = torch.from_numpy(np.concatenate(pairs, axis=1)).to(device)
            self._depth = depth, weight
        self._weight: Tensor | None = None  # (V,) in 0 to 1; None is 1 for all
        self._on: tuple[Lattice, Tensor] | None = None  # the cameras' rows on the lattice asked for last

    def __len__(self) -> int:
        return len(self.rgba)

    def has_alpha(self, index: Tensor) -> Tensor:
        """Whether the alpha of pixels (M,) is known, (M,) bool."""
        return self._has_alpha[self._view[index].long()]

    def rays(self, index: Tensor, lattice: Lattice) -> Rays:
        """The rays through pixels (M,)."""
        return self._cast(index, lattice)[0]

    def ends(self, index: Tensor, lattice: Lattice, precision: float, weight: float) -> Ends | None:
        """Where the rays through pixels (M,) end by the pictures' depth; None where no picture has any.

        A depth is good to the share `precision` of it, and to a step of the ray there.
        """
        if self._depth is None:
            return None
        rays, axial = self._cast(index, lattice)
        depth, trust = self._depth[0][index], self._depth[1][index]
        distance = depth / (axial * lattice.voxel)
        step = torch.ones_like(distance)
        if lattice.shell:
            step = stretch(outward(rays.origins + distance[:, None] * rays.directions, lattice.cells, lattice.shell))
        return Ends(distance, torch.hypot(precision * distance, step), weight * trust)

    def _cast(self, index: Tensor, lattice: Lattice) -> tuple[Rays, Tensor]:
        if self._on is None or self._on[0] is not lattice:
            rows = torch.from_numpy(np.stack([camera_of(p).on(lattice) for p in self._pictures]))
            self._on = lattice, rows.to(self.rgba.device)
        return cast(self._on[1][self._view[index].long()], self._pixel[index], lattice)

    def drawn(self, index: Tensor, random: torch.Generator) -> Tensor:
        """Which of the pixels (M,) a step takes, (M,) bool: of a picture that counts by half every other one."""
        if self._weight is None:
            return torch.ones(len(index), dtype=torch.bool, device=index.device)
        chance = torch.rand(len(index), generator=random).to(index.device)
        return chance < self._weight[self._view[index].long()]

    def correct(self, pictures: Sequence[PosedPicture], weight: Sequence[float]) -> bool:
        """Go on with pictures of other colours and cameras, the same otherwise, which count by `weight`, 0 to 1.

        Whether rays have become others.
        """
        moved, end = False, 0
        for old, new, count in zip(self._pictures, pictures, self._counts.tolist(), strict=True):
            start, end = end, end + count
            if new.rgba_srgb is not old.rgba_srgb:
                self.rgba[start:end] = torch.from_numpy(new.rgba_srgb[_known(new)]).to(self.rgba.device)
            moved |= new.world_from_camera is not old.world_from_camera
        self._pictures = list(pictures)
        self._weight = torch.tensor(weight, device=self.rgba.device) if min(weight) < 1 else None
        if moved:
            self._on = None
        return moved

    def meeting(self, lattice: Lattice) -> Tensor:
        """Numbers of the pixels whose rays meet the lattice's box, (M,)."""
        found = []
        for index in torch.arange(len(self), device=self.rgba.device).split(CHUNK):
            rays = self.rays(index, lattice)
            found.append(index[rays.far > rays.near])
        return torch.cat(found)


def _depth(picture: PosedPicture) -> np.ndarray:
    """(2, H, W) float32: depth, 1 where it is not known, and its weight, 0 there."""
    shape = picture.rgba_srgb.shape[:2]
    if picture.depth is None:
        return np.stack([np.ones(shape, np.float32), np.zeros(shape, np.float32)])
    weight = np.ones(shape, np.float32) if picture.depth_weight is None else picture.depth_weight
    known = np.isfinite(picture.depth) & (picture.depth > 0)
    return np.stack([np.where(known, picture.depth, 1), np.where(known, weight, 0)]).astype(np.float32)


def _known(picture: PosedPicture) -> np.ndarray:
    return np.ones(picture.rgba_srgb.shape[:2], bool) if picture.weight is None else picture.weight > 0


def picture_rays(camera: Camera, width: int, height: int, lattice: Lattice, device: torch.device,
                 chunk: int = 2**14) -> Iterator[tuple[Rays, Tensor]]:
    """The rays of a whole picture row by row, in chunks that fit in memory, with their depth per voxel."""
    on = torch.from_numpy(camera.on(lattice)).to(device)
    for start in range(0, width * height, chunk):
        index = torch.arange(start, min(start + chunk, width * height), device=device)
        pixels = torch.stack([index % width, index // width], 1)
        yield cast(on.expand(len(index), 16), pixels, lattice)
