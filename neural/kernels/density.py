"""Density and view-dependent colour on sparse rows of a lattice, seen along rays.

All lengths are in voxels and positions in corner indices of the lattice, so that a ray is independent of scale.
A row of the table holds one corner: the density before its softplus, then four real spherical-harmonics
coefficients (degrees 0 and 1) of red, of green and of blue before their sigmoid; it is padded to 16 floats,
one cache line.

A ray is sampled at near + (i + offset) · step. A sample in an empty cell is skipped. Otherwise the eight rows
are interpolated trilinearly, τ = softplus(density + SHIFT) · thickness · step is its optical thickness, and the
samples are composited front to back as in NeRF (Mildenhall et al. 2020, eq. 3). Samples with τ < THIN are left
out, and a ray ends when less than STOP of the light gets through.

With a shell, the lattice holds all of space: its outermost cells hold what lies outside the box in its middle,
contracted. Let n be how far a point is from the middle in half sides of that box, along the axis where it is
furthest. Inside (n ≤ 1) nothing changes; outside, the point is looked up n times nearer to the middle and
1 + shell · (1 − 1/n) times further from it. This is mip-NeRF 360's contraction (Barron et al. 2022, eq. 10) of
the largest norm in place of the Euclidean one, which fills a lattice, and with a shell of any thickness. There a
step along the ray is `stretch(n)` times longer, and density counts by the step: it is that of the contracted space.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import dispatch

WIDTH = 16  # floats in a row
SH0, SH1 = 0.28209479, 0.48860251  # real spherical harmonics of degrees 0 and 1 (sign as in Sloan 2008)
USED = 13  # of them, the parameters
SHIFT = -3.0  # density 0 is thin, so that a fresh field is neither opaque nor without gradients
THIN = 1e-4
STOP = 1e-3
SLOW = 2.0  # half sides from which on steps grow as fast as the contracted space shrinks
BETA1, BETA2 = 0.9, 0.99  # Adam's


@dataclass(frozen=True)
class Rows:
    """A field on the corners of a lattice's occupied cells."""

    table: Tensor  # (R, 16) float32
    cell: Tensor  # (X, Y, Z) int32, the number of an occupied cell, −1 where empty
    corners: Tensor  # (C, 8) int32 rows of a cell's corners, order 4·x + 2·y + z
    blocks: Tensor  # (X/4, Y/4, Z/4) bool rounded up, whether a block of 4³ cells has an occupied one
    thickness: float  # optical thickness per voxel where softplus(density + SHIFT) is 1
    shell: float = 0.0  # thickness of the contracted cells on each side, in half sides of the box within; 0 for none


@dataclass(frozen=True)
class Rays:
    """Rays in corner indices of a lattice."""

    origins: Tensor  # (N, 3) float32
    directions: Tensor  # (N, 3) float32, unit length
    near: Tensor  # (N,) float32 parameters between which there is something to see
    far: Tensor  # (N,) float32; below near for a ray that meets nothing

    def chunk(self, start: int, stop: int) -> Rays:
        part = slice(start, stop)
        return Rays(self.origins[part], self.directions[part], self.near[part], self.far[part])


@dataclass(frozen=True)
class Seen:
    """What rays see of a field."""

    rgb: Tensor  # (N, 3) premultiplied by 1 − transmittance
    transmittance: Tensor  # (N,) share of light from behind the field
    distance: Tensor  # (N,) Σ weight · parameter, not divided by the weights
    normal: Tensor  # (N, 3) Σ weight · unit normal


@dataclass(frozen=True)
class Ends:
    """Where rays are known to end."""

    distance: Tensor  # (N,) float32
    deviation: Tensor  # (N,) float32, of the distance
    weight: Tensor  # (N,) float32, 0 where nothing is known


def render(rows: Rows, rays: Rays, offset: Tensor, step: float = 1.0) -> Seen:
    """Composite the field along rays; `offset` (N,) in [0, 1) shifts the samples of each ray.

    The reference is differentiable with respect to the table (not through the normals).
    """
    return dispatch.body("density", rows.table.device).render(rows, rays, offset, step)


def distance_at(rows: Rows, rays: Rays, offset: Tensor, opacity: float, step: float = 1.0) -> Tensor:
    """The distance (N,) of the sample by which rays have lost the share `opacity` of their light, inf where they
    keep more."""
    return dispatch.body("density", rows.table.device).distance_at(rows, rays, offset, opacity, step)


def add_gradient(rows: Rows, rays: Rays, offset: Tensor, target: Tensor, transmittance: Tensor, background: Tensor,
                 alpha_weight: Tensor, gradient: Tensor, touched: Tensor, peak: Tensor,
                 distortion: float = 0.0, ends: Ends | None = None) -> tuple[float, Tensor]:
    """The rays' mean loss, its gradient with respect to `background` (3,), and to the table added to `gradient`.

    The loss of a ray is |rgb + t · background − target|² + alpha_weight · (t − transmittance)² + distortion · D + E,
    where t is what the field lets through, `target` (N, 3) the pixel over the same background, `transmittance` (N,)
    its 1 − alpha, and `alpha_weight` (N,) zero where the alpha is not known. D is the sum of |sᵢ − sⱼ| over all pairs
    of samples, each times both weights (Barron et al. 2022, eq. 15, without the samples' own widths): it gathers a
    ray's weights in one place. There a sample at the parameter p is at s = p / (p + d), d the distance from the
    ray's origin to the lattice's middle.
    E is weight · (1 − Σᵢ wᵢ exp(−((tᵢ − distance) / deviation)² / 2)) of `ends`: the light that does not end near a
    known distance. It is the line-of-sight loss of DS-NeRF (Deng et al. 2022, eq. 7) without the logarithm, so that a
    wrong distance (most are right) pulls no harder than the pictures say.
    `gradient` is (B, R, 16) with B buffers, one for each of `dispatch.threads()`; the gradient is their sum.
    `touched` (B, R) uint8 becomes 1 where a buffer has got something. `peak` (B, C) rises to the largest weight
    that a sample in the cell has had in its pixel.
    """
    kernel = dispatch.body("density", rows.table.device).add_gradient
    return kernel(rows, rays, offset, target, transmittance, background, alpha_weight, gradient, touched, peak,
                  distortion, ends)


def extent(cell: Tensor, blocks: Tensor, rays: Rays) -> tuple[Tensor, Tensor]:
    """Narrow the rays' near and far to the occupied cells, (N,) each; far < near where a ray meets none.

    For lattices without a shell.
    Looks at every half voxel from near on, and leaves half a voxel on both sides of what it finds.
    """
    return dispatch.body("density", cell.device).extent(cell, blocks, rays)


@dataclass(frozen=True)
class Steps:
    """The size of an optimisation step."""

    rate: Tensor  # (16,) float32, by column of the table
    number: int  # of this step, from 1
    eps: Tensor  # (16,) float32, the gradient below which a step is smaller than the rate


def adam(table: Tensor, first: Tensor, second: Tensor, gradient: Tensor, touched: Tensor, steps: Steps) -> None:
    """One step of Adam (Kingma and Ba 2015) in place on the touched rows; clears `gradient` and `touched`.

    `first` and `second` (R, 16) are the moments, which rest while a row is not touched.
    """
    dispatch.body("density", table.device).adam(table, first, second, gradient, touched, steps)
