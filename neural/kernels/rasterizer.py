"""The searches behind differentiable drawing: which face, and which piece of the outline, each pixel depends on.

Triangles (B, F, 3, 3) have corners x, y in pixels, y down, pixel centres at +0.5, and depth along the camera's axis.
What is found has no gradient; `rendering/rasterizer.py` makes differentiable values of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import dispatch

# A background pixel beside the foreground lies no farther than this from it, in pixels.
BESIDE = 1.5
# Half the length in pixels of the piece of outline that such a pixel stands for. Feet of neighbours lie closer.
HALF_PIECE = 1.0
# Squared distances count in steps of 1 / this: edges that meet in the nearest corner draw, and the first one wins.
DRAWS = 2.0**30


def visible(corners: Tensor, height: int, width: int) -> Tensor:
    """The nearest face (B, H, W) int32 at each pixel's centre, −1 where there is none; the first wins a draw.

    A face counts where the centre lies inside or on its border. One that reaches behind the camera or is not finite
    is left out.
    """
    return dispatch.body("rasterizer", corners.device).visible(_finite(corners), height, width)


def outline(corners: Tensor, face: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """The piece of the silhouette's outline that is closest to each pixel's centre, where one is within `reach` pixels.

    face: of `visible`. Returns edge (B, H, W) int64, 3 · face + k for the edge from corner k to the next, −1 where
    there is none, and beside (B, H, W) int64, row · W + column of the background pixel that the piece belongs to.

    Of the faces' union, a background pixel beside the foreground is closest to a point of the outline. The edge that
    this point lies on is the outline for `HALF_PIECE` to either side of it; where outlines cross, for less. A
    silhouette of no pixel has no outline.
    """
    return dispatch.body("rasterizer", corners.device).outline(_finite(corners), face, reach)


def ramp_gradient(corners: Tensor, face: Tensor, by_alpha: Tensor, epsilon: float) -> Tensor:
    """The gradient (B, F, 3, 3) of a hard silhouette after Kato et al. 2018, of the loss's by alpha (B, H, W).

    A pixel whose alpha should change pulls each edge that could reach it along its row and its column, with the
    loss's gradient over the way that a corner has to go for it. No way is shorter than `epsilon`, in halves of the
    picture's side. Depth has no gradient.
    """
    add_ramps = dispatch.body("rasterizer", corners.device).add_ramps
    places, force = _finite(corners), by_alpha.double()
    gradient = torch.zeros_like(places)
    height, width = face.shape[1:]
    add_ramps(places, 0, face.transpose(1, 2), force.transpose(1, 2), epsilon * height / 2, gradient)
    add_ramps(places, 1, face, force, epsilon * width / 2, gradient)
    return gradient.to(corners.dtype)


def _finite(corners: Tensor) -> Tensor:
    """The triangles in double precision, those that are not finite without an area."""
    finite = corners.isfinite().flatten(2).all(dim=2)
    return torch.where(finite[..., None, None], corners.detach().double(), 0)
