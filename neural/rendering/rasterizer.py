"""Triangle meshes to pictures, and the pictures' gradients to the meshes.

Which face a pixel shows does not change with a small move of a vertex, so weights, depth, texture and normals have
the analytic gradients of the face that is seen. What such a move does change is where the silhouette ends. Alpha has
one of two gradients:

* `soft`: alpha is a logistic function of the signed distance from the pixel's centre to the silhouette's outline, in
  units of sigma pixels. This is SoftRas' silhouette (Liu et al. 2019, section 3.2) with two deviations. The distance
  is not squared, which leaves the strongest gradient at the outline, where SoftRas has none. And of all faces the
  nearest edge of their union's outline counts, in place of the product over faces that SoftRas and DIB-R (Chen et al.
  2019) take: alpha is 1/2 on the outline however many faces meet there, so a fit is not drawn inwards, and a pixel
  costs one edge.
* `nmr`: alpha is 0 or 1, and the gradient replaces its step by a linear ramp as long as the way to the edge: the
  Neural 3D Mesh Renderer (Kato et al. 2018, section 3.2). It reaches along rows and columns over the whole picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from ..kernels.rasterizer import HALF_PIECE, outline, ramp_gradient, visible
from ..predictors.view import project

# Soft alpha closer than this to 0 or 1 is 0 or 1.
CLEAR = 1e-3
# The shortest ramp of the Neural 3D Mesh Renderer, in halves of the picture's side: its own default.
SHORTEST = 1e-3


@dataclass(frozen=True)
class Fragments:
    """What is seen at the pixels' centres."""

    face: Tensor  # (B, H, W) int32, −1 where there is none
    weights: Tensor  # (B, H, W, 3) of the face's corners, right in perspective; 0 where there is no face
    depth: Tensor  # (B, H, W) along the camera's axis; 0 where there is no face
    alpha: Tensor  # (B, H, W) the silhouette, 0 to 1


def rasterize(corners: Tensor, height: int, width: int, *, gradient: Literal["soft", "nmr", "none"] = "soft",
              sigma: float = 1.0) -> Fragments:
    """Draw triangles (B, F, 3, 3) with corners x, y in pixels, y down and pixel centres at +0.5, and depth.

    The nearest face wins. Faces that reach behind the camera, have no area or are not finite are left out, so that
    meshes of a batch may be filled up with zeros. gradient: of alpha; sigma: of the soft one, in pixels.
    """
    face = visible(corners, height, width)
    weights, depth = _weights(corners, face)
    alpha = (face >= 0).to(corners.dtype)
    if gradient == "soft":
        alpha = _soft(corners, face, alpha, sigma)
    elif gradient == "nmr":
        alpha = _Ramps.apply(corners, face, alpha)
    return Fragments(face, weights, depth, alpha)


def pixels_of(points: Tensor, distance: Tensor, side: int) -> Tensor:
    """Points (B, N, 3) of the view frame to x, y in pixels of a crop and depth (B, N, 3); distance: (B,) of cameras."""
    places = (project(points, distance) + 1) * (side / 2)
    return torch.cat((places, distance[:, None, None] - points[..., 2:]), dim=-1)


def interpolate(fragments: Fragments, attributes: Tensor) -> Tensor:
    """Values (B, H, W, C) of what the corners (B, F, 3, C) have; 0 where there is no face."""
    hit, index = _seen(fragments.face, attributes.shape[1])
    values = attributes.flatten(0, 1).index_select(0, index)
    return _onto(fragments.face, hit, torch.einsum("pk,pkc->pc", fragments.weights[hit], values))


def texture(fragments: Fragments, corner_uvs: Tensor, image: Tensor) -> Tensor:
    """Bilinear colours (B, H, W, C) of a texture (B, h, w, C) at the corners' uv (B, F, 3, 2).

    (0, 0) is the picture's lower left corner and (1, 1) the upper right one; it is repeated outside. Colours are 0
    where there is no face.
    """
    uv = interpolate(fragments, corner_uvs)
    rows, columns = image.shape[1:3]
    around = functional.pad(image.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="circular")
    x, y = (uv - uv.detach().floor()).unbind(dim=-1)
    places = torch.stack((2 * x * columns / (columns + 2), 2 * (1 - y) * rows / (rows + 2)), dim=-1)
    places = places + uv.new_tensor([2 / (columns + 2) - 1, 2 / (rows + 2) - 1])
    colors = functional.grid_sample(around, places, align_corners=False)
    return colors.permute(0, 2, 3, 1) * (fragments.face >= 0)[..., None]


def normals(fragments: Fragments, points: Tensor) -> Tensor:
    """Unit normals (B, H, W, 3) of the faces that are seen, of their corners' places (B, F, 3, 3) in any frame.

    They point to where the corners are counter-clockwise from; 0 where there is no face.
    """
    hit, index = _seen(fragments.face, points.shape[1])
    a, b, c = points.flatten(0, 1).index_select(0, index).unbind(dim=1)
    return _onto(fragments.face, hit, functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1))


def _seen(face: Tensor, count: int) -> tuple[tuple[Tensor, ...], Tensor]:
    """The pixels that show a face, as an index, and the face's number among those (B · count) of all meshes (P,)."""
    hit = torch.nonzero(face >= 0, as_tuple=True)
    return hit, hit[0] * count + face[hit]


def _onto(face: Tensor, hit: tuple[Tensor, ...], values: Tensor) -> Tensor:
    """A picture (B, H, W, …) with values (P, …) at the pixels hit and 0 elsewhere."""
    return values.new_zeros(*face.shape, *values.shape[1:]).index_put(hit, values)


def _weights(corners: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (B, H, W, 3) and depth (B, H, W) of the faces that are seen."""
    hit, index = _seen(face, corners.shape[1])
    triangle = corners.flatten(0, 1).index_select(0, index).double()  # a sliver's area is not 0 as it may be in single
    centre = _centres(hit[1] * face.shape[2] + hit[2], face.shape[2])
    a, b, c = (triangle[..., :2] - centre[:, None]).unbind(dim=1)
    share = torch.stack((_cross(b, c), _cross(c, a), _cross(a, b)), dim=-1)
    over = share / share.sum(dim=-1, keepdim=True) / triangle[..., 2]
    depth = 1 / over.sum(dim=-1)
    weights = (over * depth[:, None]).to(corners.dtype)
    return _onto(face, hit, weights), _onto(face, hit, depth.to(corners.dtype))


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _soft(corners: Tensor, face: Tensor, hard: Tensor, sigma: float) -> Tensor:
    """Alpha (B, H, W): the logistic function of the signed distance to the outline, in units of sigma pixels."""
    edge, beside = outline(corners, face, sigma * math.log(1 / CLEAR - 1))
    near = torch.nonzero(edge >= 0, as_tuple=True)
    first = near[0] * (3 * corners.shape[1]) + edge[near]
    ends = corners[..., :2].flatten(0, 2)
    start = ends.index_select(0, first)
    way = ends.index_select(0, torch.where(edge[near] % 3 == 2, first - 2, first + 1)) - start
    length = way.square().sum(dim=-1).clamp(min=1e-12).sqrt()
    along = way / length[:, None]
    # In pixels along the edge: where the piece that counts lies, and where on it this pixel is nearest.
    middle = ((_centres(beside[near], face.shape[2]) - start) * along).sum(dim=-1)
    centre = _centres(near[1] * face.shape[2] + near[2], face.shape[2]) - start
    low, high = ((middle + half).clamp(min=0).minimum(length) for half in (-HALF_PIECE, HALF_PIECE))
    foot = (centre * along).sum(dim=-1).clamp(low, high)
    away = torch.linalg.vector_norm(centre - foot[:, None] * along, dim=-1)
    return hard.index_put(near, torch.sigmoid((2 * hard[near] - 1) * away / sigma))


class _Ramps(torch.autograd.Function):
    """A hard silhouette with the gradient of `ramp_gradient`."""

    @staticmethod
    def forward(context: Any, corners: Tensor, face: Tensor, alpha: Tensor) -> Tensor:  # type: ignore[override]
        context.save_for_backward(corners, face)
        return alpha.clone()

    @staticmethod
    def backward(context: Any, by_alpha: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        corners, face = context.saved_tensors
        return ramp_gradient(corners, face, by_alpha, SHORTEST), None, None


def _centres(pixel: Tensor, width: int) -> Tensor:
    """x and y (P, 2) of pixels by their numbers, row · width + column."""
    return torch.stack((pixel % width, pixel // width), dim=-1) + 0.5
