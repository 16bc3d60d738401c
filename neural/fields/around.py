"""What lies around a subject's box, where something else than density fills the box."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels import density
from ..kernels.density import Rays
from ..kernels.density_reference import outward
from ..rendering.lattice import Lattice
from ..rendering.rays import moved
from .grid import GridField


@dataclass(frozen=True)
class Surroundings:
    """What rays see beside what is in the box."""

    before: Tensor  # (N, 3) colour between the camera and the box, premultiplied
    transmittance: Tensor  # (N,) share of light that comes through there
    behind: Tensor  # (N, 3) colour behind the box
    distance: Tensor  # (N,) Σ weight · metres from the ray's origin, of what is before the box
    distance_behind: Tensor  # (N,) the same of what is behind it
    stopped_behind: Tensor  # (N,) share of the light that stops behind it, of what gets there


class Around:
    """The shell of a density field without what lies within."""

    def __init__(self, field: GridField):
        """From a field over a lattice with a shell, which stays as it is."""
        cells = field.lattice.cells
        middles = torch.stack(torch.meshgrid(*(torch.arange(n) + 0.5 for n in cells), indexing="ij"), -1)
        outside = outward(middles, cells, field.lattice.shell) > 1
        self._field = field.refined(field.lattice, field.occupied & outside.to(field.occupied.device))

    def seen(self, rays: Rays, lattice: Lattice) -> Surroundings:
        """Beside the part of `rays`, in corner indices of `lattice`, between their near and far.

        For a ray that meets nothing there (far < near) all is behind.
        """
        whole = moved(rays, lattice, self._field.lattice)
        scale, meets = lattice.voxel / self._field.lattice.voxel, rays.far > rays.near
        enters = torch.where(meets, rays.near * scale, whole.near)
        leaves = torch.where(meets, rays.far * scale, whole.near)
        offset = torch.full_like(whole.near, 0.5)
        first = density.render(self._field.rows, Rays(whole.origins, whole.directions, whole.near, enters), offset)
        last = density.render(self._field.rows, Rays(whole.origins, whole.directions, leaves, whole.far), offset)
        behind = last.rgb + last.transmittance[:, None] * self._field.background
        voxel = self._field.lattice.voxel
        return Surroundings(first.rgb, first.transmittance, behind, voxel * first.distance, voxel * last.distance,
                            1 - last.transmittance)

    def tensors(self) -> dict[str, Tensor]:
        """All that it is made of."""
        lattice = self._field.lattice
        about = torch.tensor([*lattice.lower, lattice.voxel, *lattice.cells, lattice.shell], dtype=torch.float64)
        return self._field.tensors() | {"lattice": about}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Around:
        """What `tensors` made."""
        x, y, z, voxel, *cells, shell = tensors["lattice"].tolist()
        lattice = {"lower": [x, y, z], "voxel": voxel, "cells": cells, "shell": shell}
        return cls(GridField.from_tensors(tensors, {"lattice": lattice}))
