"""Rays through the pixels of pinhole cameras, in the coordinates of a lattice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.posed import PosedPicture
from ..kernels.density import Rays
from .lattice import Lattice

NEAR = 0.1  # share of the way from a camera to the middle of a lattice with a shell that holds nothing
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
    near, far = torch.zeros_like(u), torch.full_like(u, torch.inf)
    if lattice.shell:
        aside = [position[a] - 0.5 * lattice.cells[a] for a in range(3)]
        near = NEAR * torch.sqrt(aside[0].square() + aside[1].square() + aside[2].square())
    beyond = 0.5 * (FAR / (1 + lattice.shell) - 1) if lattice.shell else 0.0  # in sides of the lattice
    for a in range(3):
        across[a] = across[a] * axial
        inverse = 1 / torch.where(across[a].abs() < 1e-9, 1e-9, across[a])
        size = lattice.cells[a]
        low, high = (-beyond * size - position[a]) * inverse, ((1 + beyond) * size - position[a]) * inverse
        near = torch.maximum(near, torch.minimum(low, high))
        far = torch.minimum(far, torch.maximum(low, high))
    return Rays(torch.stack(position, 1), torch.stack(across, 1), near, far), axial


class Pixels:
    """The known pixels of many pictures with their colours, and the rays through them."""

    def __init__(self, pictures: Sequence[PosedPicture], device: torch.device):
        self._cameras = [camera_of(p) for p in pictures]
        view, pixel, rgba = [], [], []
        for number, picture in enumerate(pictures):
            known = np.ones(picture.rgba_srgb.shape[:2], bool) if picture.weight is None else picture.weight > 0
            view.append(np.full(known.sum(), number, np.int32))
            pixel.append(np.argwhere(known)[:, ::-1].astype(np.int16))
            rgba.append(picture.rgba_srgb[known])
        self._view = torch.from_numpy(np.concatenate(view)).to(device)
        self._pixel = torch.from_numpy(np.concatenate(pixel)).to(device)
        self._has_alpha = torch.tensor([p.has_alpha for p in pictures], device=device)
        self.rgba = torch.from_numpy(np.concatenate(rgba)).to(device)  # (N, 4) premultiplied sRGB

    def __len__(self) -> int:
        return len(self.rgba)

    def has_alpha(self, index: Tensor) -> Tensor:
        """Whether the alpha of pixels (M,) is known, (M,) bool."""
        return self._has_alpha[self._view[index].long()]

    def rays(self, index: Tensor, lattice: Lattice) -> Rays:
        """The rays through pixels (M,)."""
        cameras = torch.from_numpy(np.stack([c.on(lattice) for c in self._cameras])).to(self.rgba.device)
        return cast(cameras[self._view[index].long()], self._pixel[index], lattice)[0]


def picture_rays(camera: Camera, width: int, height: int, lattice: Lattice, device: torch.device,
                 chunk: int = 2**14) -> Iterator[tuple[Rays, Tensor]]:
    """The rays of a whole picture row by row, in chunks that fit in memory, with their depth per voxel."""
    on = torch.from_numpy(camera.on(lattice)).to(device)
    for start in range(0, width * height, chunk):
        index = torch.arange(start, min(start + chunk, width * height), device=device)
        pixels = torch.stack([index % width, index // width], 1)
        yield cast(on.expand(len(index), 16), pixels, lattice)
