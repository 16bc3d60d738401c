"""Frustum grids in networks, and the surface of what one holds; `view` says where a grid's voxels lie."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...formats.mesh import Mesh
from ..meshing.clean import remove_floaters, remove_inner_shells
from ..meshing.marching_cubes import marching_cubes
from .view import unproject

SLOPE = 0.01  # of the leaky ReLU, as in 3D-R2N2
SUREST = 4.0  # log odds: surer voxels would only pull the surface into steps
CRUMB = 5.0  # percent of the largest part's area; less is dropped
THINNEST = 0.5  # log odds above the threshold of the likeliest voxel behind a pixel that shows the object
LEAST = 0.003  # of the grid that is filled at least: where a network sees nothing, what it sees most


class Larger(nn.Module):
    """A volume (B, C, N, N, N) twice as large, as 3D-R2N2's decoder makes it (Choy et al. 2016, section 3.3).

    Zeros are put between the voxels, two convolutions follow, and the input with its zeros is added. The first of them
    and the zeros are one transposed convolution. Deviation: the grid is a picture's frustum, so a map of the picture
    at the volume's new size says of each pixel what lies in which slice, and is added in between.
    """

    def __init__(self, channels: int, made: int, side: int, seen: int) -> None:
        super().__init__()
        self.first = nn.ConvTranspose3d(channels, made, 3, stride=2, padding=1, output_padding=1)
        self.second = nn.Conv3d(made, made, 3, padding=1)
        self.shortcut = nn.Conv3d(channels, made, 1)
        self.along = AlongRays(seen, made, side)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """seen: (B, seen, side, side), a map of the picture."""
        x = x.contiguous(memory_format=torch.channels_last_3d)
        inner = self.first(x)
        inner = F.leaky_relu(inner + self.along(seen), SLOPE)
        inner = F.leaky_relu(self.second(inner), SLOPE)
        return inner + unpool(self.shortcut(x))


def unpool(x: Tensor) -> Tensor:
    """A volume (B, C, N, N, N) twice as large, zero at all but every second voxel."""
    larger = x.new_zeros(*x.shape[:2], *(2 * side for side in x.shape[2:]))
    larger[..., ::2, ::2, ::2] = x
    return larger


class AlongRays(nn.Module):
    """A map (B, seen, H, W) to a volume (B, made, D, H, W): what each pixel says of its ray's slices."""

    def __init__(self, seen: int, made: int, depth: int) -> None:
        super().__init__()
        self.made = made
        self.linear = nn.Linear(seen, depth * made)

    def forward(self, seen: Tensor) -> Tensor:
        along = self.linear(seen.movedim(1, -1)).unflatten(-1, (-1, self.made))
        return along.permute(0, 4, 3, 1, 2)


def surface(log_odds: Tensor, alpha: Tensor, threshold: float, distance: Tensor) -> Mesh:
    """The closed surface, in the view frame, of where a frustum grid (D, H, W) is filled with more than a chance.

    log_odds: of being filled, at the voxels' centres; alpha: (S, S) of the picture, which rules out what lies beside
    the object's outline, and behind whose every pixel there is something; threshold: the chance; distance: (), the
    camera's. There is always a surface: where hardly a voxel reaches the threshold it is lowered. Parts that are small
    beside the largest, and hollows, are dropped.
    """
    level = math.log(threshold / (1 - threshold))
    grid = within_outline(torch.nan_to_num(log_odds.float()) - level, alpha.float())
    values = grid.clamp(-SUREST, SUREST).cpu().numpy()
    values -= min(0.0, float(np.quantile(values, 1 - LEAST)) - 1e-3)
    mesh = marching_cubes(np.pad(-values, 1, constant_values=SUREST), _places_from_padded(len(grid)))
    mesh = remove_inner_shells(remove_floaters(mesh, CRUMB))
    far = distance.reshape(1).cpu()
    places = torch.from_numpy(mesh.vertices) * torch.tensor([1.0, -1.0, 1.0])
    z = torch.minimum(places[:, 2], 0.99 * far)  # the border's voxels may lie behind a near camera
    return Mesh(unproject(places[None, :, :2], z[None], far)[0].numpy(), mesh.faces)


def within_outline(values: Tensor, alpha: Tensor) -> Tensor:
    """Values (D, H, W), positive inside, that agree with a picture's alpha (S, S).

    Where half of a ray's pixels see the object lies the outline, and beyond it all is outside. A ray through the
    object on which nothing is inside is raised until its likeliest voxel just is.
    """
    side = values.shape[-1]
    seen = F.interpolate(alpha[None, None], (side, side), mode="area")[0, 0]
    lacking = (THINNEST - values.amax(dim=0)).clamp(min=0)
    inside = SUREST * (2 * seen - 1)
    return torch.minimum(values + torch.where(seen > 0.5, lacking, 0.0), inside)


def _places_from_padded(side: int) -> np.ndarray:
    """(4, 4) from a padded grid's indices (slice, row, column) to x right, y up in the crop and z."""
    step, first = 2 / side, 1 - 1 / side + 2 / side  # of the padding's centres, nearest and uppermost
    return np.array([[0, 0, step, -first], [0, -step, 0, first], [-step, 0, 0, first], [0, 0, 0, 1.0]])
