"""The frame in which one picture's shape is predicted: the crop's own, upright in the picture, at unit size.

A crop is what a camera sees that looks straight at the object: a square of which the object's outline takes `FILL`
of the longer side, in the middle. The view frame has x to the right, y up and z toward that camera, which stands at
(0, 0, distance) with distance = 1 / tan(field of view / 2), so that the crop's border lies at ±1 in the plane z = 0.
Along z the object's nearest and farthest points are as far from 0, which settles the scale that no picture shows.

Places in the crop are as `grid_sample` has them with `align_corners=False`: −1 to 1, x right and y **down**.
Frustum grids, (D, H, W) as a convolution makes them, have their voxels' centres at such places: columns by x, rows by
y, and slices by z from the nearest, z = 1 − 1/D, to the farthest. That is Mesh R-CNN's voxel space (Gkioxari et al.
2019, section 3.2), but with a depth that is linear and whose slices are as thick as wide at z = 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIDE = 128  # pixels of a crop
FILL = 0.85  # of the crop that the object's longer side takes
CHANNELS = 6  # of what a network sees: see `with_rays`


def distance_of(field_of_view: float) -> float:
    """Of the camera from the view frame's origin; `field_of_view` in radians is the crop's, from border to border."""
    return 1 / math.tan(field_of_view / 2)


def project(points: Tensor, distance: Tensor) -> Tensor:
    """Points (B, N, 3) of the view frame to places (B, N, 2) in the crop; distance: (B,) of the cameras."""
    far = distance[:, None, None]
    over = far / (far - points[..., 2:]).clamp(min=1e-3)
    return points[..., :2] * over * points.new_tensor([1.0, -1.0])


def unproject(places: Tensor, z: Tensor, distance: Tensor) -> Tensor:
    """The points (B, N, 3) of the view frame seen at places (B, N, 2) whose z (B, N) is known."""
    far = distance[:, None, None]
    xy = places * places.new_tensor([1.0, -1.0]) * (far - z[..., None]) / far
    return torch.cat((xy, z[..., None]), dim=-1)


def frustum_centres(side: int, distance: Tensor) -> Tensor:
    """The view frame's points (B, side, side, side, 3) of a frustum grid's centres, slices, rows and columns."""
    axis = (torch.arange(side, device=distance.device) + 0.5) * 2 / side - 1
    z, row, column = torch.meshgrid(-axis, axis, axis, indexing="ij")
    places = torch.stack((column, row), dim=-1).reshape(1, -1, 2).expand(len(distance), -1, -1)
    points = unproject(places, z.reshape(1, -1).expand(len(distance), -1), distance)
    return points.reshape(len(distance), side, side, side, 3)


def with_rays(rgba: Tensor, distance: Tensor) -> Tensor:
    """What a network sees of crops (B, 4, S, S), sRGB premultiplied by alpha: (B, 6, S, S).

    The last two channels are where each pixel's ray meets the plane one unit before the camera: they say where in the
    crop a pixel lies, and how strong the perspective is.
    """
    side = rgba.shape[-1]
    axis = (torch.arange(side, device=rgba.device) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    rays = torch.stack((x, y)) / distance[:, None, None, None]
    return torch.cat((rgba, rays.to(rgba.dtype)), dim=1)
