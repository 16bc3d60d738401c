"""Signed distance and view-dependent colour on the corners near a surface, seen along rays.

All lengths are in voxels and positions in corner indices of the lattice, signed distances too, so that nothing
depends on scale. A corner that has a row holds its signed distance, negative inside, and twelve numbers of
colour: the albedo (red, green, blue, sRGB-encoded) and its slopes along the viewing direction's y, z and x, which
are real spherical harmonics of degree 1 up to a factor.

A ray is sampled at near + (i + offset) · step. A sample in a cell with `skip` > 0 sees nothing. Between two
samples in a row that see something lies a section of NeuS (Wang et al. 2021, eq. 13): it stops
α = max(1 − Φ(f_end) / Φ(f_start), 0) of the light, Φ the logistic function of f / width. Its colour is the mean of
both samples' colours. A ray ends after the sample where less than STOP of the light gets through.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import dispatch
from .density import Rays, Seen

COLORS = 12  # numbers of colour in a row
STOP = 1e-3
REACH = 5.0  # widths from the surface at which Φ counts as 0 or 1
ALPHA_ERROR = 0.2  # beyond it the loss of alpha grows linearly
COLOR_ERROR = 0.1  # likewise for colour (Huber)


@dataclass(frozen=True)
class Rows:
    """A field on the corners near the surface."""

    sdf: Tensor  # (R,) float32 voxels
    color: Tensor  # (R, 12) float32
    row: Tensor  # (X + 1, Y + 1, Z + 1) int32, the row of a corner, −1 where it has none
    skip: Tensor  # (X, Y, Z) uint8, 0 where a cell is seen, else how many cells on the next seen one is at least


def render(rows: Rows, rays: Rays, offset: Tensor, width: float, step: float = 0.5) -> Seen:
    """What rays see of the field; `offset` (N,) in [0, 1) shifts the samples of each ray.

    The reference is differentiable with respect to `sdf` and `color` (not through the normals).
    """
    return dispatch.body("surface", rows.sdf.device).render(rows, rays, offset, width, step)


def add_gradient(rows: Rows, rays: Rays, offset: Tensor, width: float, step: float, target: Tensor,
                 background: Tensor, alpha_weight: Tensor, sdf_gradient: Tensor, color_gradient: Tensor, touched: Tensor) -> float:
    """The rays' mean squared error of colour; the gradients of their summed loss are added to the buffers.

    The loss of a ray is Huber(|rgb + t · background − target|, COLOR_ERROR) + alpha_weight · Huber(alpha − target
    alpha, ALPHA_ERROR), t = 1 − alpha what the field lets through; `target` (N, 4) is the pixel over the ray's
    `background` (N, 3), which is black where pixels are premultiplied, `alpha_weight` (N,) zero where alpha is not
    known.
    The buffers are (B, R), (B, R, 12) and (B, R) uint8 with B of `dispatch.threads()`; the gradient is their sum;
    `touched` becomes 1 where a buffer has got colour.
    """
    kernel = dispatch.body("surface", rows.sdf.device).add_gradient
    return kernel(rows, rays, offset, width, step, target, background, alpha_weight, sdf_gradient, color_gradient,
                  touched)


def add_smoothness(sdf: Tensor, neighbours: Tensor, laplacian: float, eikonal: float, gradient: Tensor) -> float:
    """Σ laplacian · √(1 + Δ²) + eikonal / 2 · (|∇f| − 1)² over the rows with six neighbours; its gradient by these
    rows is added, the others are held.

    Δ is the sum of the six neighbours less six times the value, ∇f the central difference, `gradient` (R,).
    `neighbours` (R, 6) int32 are the rows at ±x, ±y, ±z, all −1 where one is missing. The square root grows
    linearly where the surface has an edge, which stays sharp, and quadratically where it is nearly even.
    """
    return dispatch.body("surface", sdf.device).add_smoothness(sdf, neighbours, laplacian, eikonal, gradient)


def adam_colors(color: Tensor, first: Tensor, second: Tensor, gradient: Tensor, touched: Tensor, rate: float,
                decay: float) -> None:
    """One step of Adam (Kingma and Ba 2015) in place on the touched rows; clears `gradient` and `touched`.

    The moments rest while a row is not touched. `decay` pulls the view-dependent part towards none, as a share of
    the rate (AdamW).
    """
    dispatch.body("surface", color.device).adam_colors(color, first, second, gradient, touched, rate, decay)


BETA1, BETA2, EPS = 0.9, 0.99, 1e-8
