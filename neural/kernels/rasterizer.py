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


def visible(corners: Tensor, height: int, width: int) -> Tensor:
    """The nearest face (B, H, W) int32 at each pixel's centre, −1 where there is none; the first wins a draw.

    A face counts where the centre lies inside or on its border. One that reaches behind the camera or is not finite
    is left out.
    """
    corners = corners.detach()
    finite = corners.isfinite().flatten(2).all(dim=2)
    whole = torch.where(finite[..., None, None], corners, 0)
    return dispatch.body("rasterizer", corners.device).visible(whole, height, width)


def outline(corners: Tensor, face: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """The piece of the silhouette's outline that is closest to each pixel's centre, where one is within `reach` pixels.

    face: of `visible`. Returns edge (B, H, W) int64, 3 · face + k for the edge from corner k to the next, −1 where
    there is none, and beside (B, H, W) int64, row · W + column of the background pixel that the piece belongs to.

    Of the faces' union, a background pixel beside the foreground is closest to a point of the outline. The edge that
    this point lies on is the outline for `HALF_PIECE` to either side of it; where outlines cross, for less. A
    silhouette of no pixel has no outline.
    """
    return dispatch.body("rasterizer", corners.device).outline(corners.detach(), face, reach)
