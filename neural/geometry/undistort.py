"""Lens distortion: the models of OpenCV and COLMAP, their inverse, and pictures made those of a pinhole camera.

Points are normalised camera coordinates in OpenCV's axes, u = X/Z to the right and v = Y/Z down. The formulas are
those of OpenCV's documentation ("Camera Calibration and 3D Reconstruction", "Fisheye camera model"), which COLMAP
shares.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ...formats.capture import Camera

# A pinhole picture cannot hold a fisheye's whole view: it grows to this many times the distorted one's sides.
MOST_GROWTH = 2.0


def distort(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Where an ideal pinhole's `points`, (N, 2), real or complex, lie in the distorted picture."""
    k = {name: 0.0 for name in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")} | camera.distortion
    u, v = points[:, 0], points[:, 1]
    r2 = u * u + v * v
    if camera.model == "fisheye":
        r = np.sqrt(r2)
        near = np.abs(r) < 1e-9
        theta = np.arctan(r)
        t2 = theta * theta
        scale = np.where(near, 1.0, theta / np.where(near, 1.0, r))
        scale = scale * (1 + t2 * (k["k1"] + t2 * (k["k2"] + t2 * (k["k3"] + t2 * k["k4"]))))
        return np.stack([u * scale, v * scale], axis=1)
    scale = (1 + r2 * (k["k1"] + r2 * (k["k2"] + r2 * k["k3"]))) / \
        (1 + r2 * (k["k4"] + r2 * (k["k5"] + r2 * k["k6"])))
    return np.stack([u * scale + 2 * k["p1"] * u * v + k["p2"] * (r2 + 2 * u * u),
                     v * scale + 2 * k["p2"] * u * v + k["p1"] * (r2 + 2 * v * v)], axis=1)


def undistort(points: np.ndarray, camera: Camera) -> np.ndarray:
    """The inverse of `distort` by Newton's iteration, (N, 2); NaN where no point within the lens's range maps there."""
    ideal = np.array(points, dtype=np.float64)
    limit = usable_radius(camera)
    if camera.model == "fisheye":  # the distorted radius is about the angle
        angle = np.linalg.norm(ideal, axis=1, keepdims=True)
        ideal *= np.tan(np.minimum(angle, np.arctan(min(limit, 1e3)))) / np.maximum(angle, 1e-9)
    for _ in range(50):
        ideal *= np.minimum(1.0, limit / np.maximum(np.linalg.norm(ideal, axis=1, keepdims=True), 1e-12))
        residual = distort(ideal, camera) - points
        if np.abs(residual).max(initial=0.0) < 1e-14:
            break
        step = np.linalg.solve(_jacobian(ideal, camera), residual[:, :, None])[:, :, 0]
        ideal -= step
    unsolved = ~(np.abs(distort(ideal, camera) - points).max(axis=1, initial=0.0) < 1e-9)
    ideal[unsolved] = np.nan
    return ideal


def _jacobian(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Derivatives of `distort`, (N, 2, 2), exact to rounding by complex steps; damped where it is singular."""
    h = 1e-30
    columns = [distort(points + 1j * h * axis, camera).imag / h for axis in np.eye(2)]
    jacobian = np.stack(columns, axis=2)
    flat = np.abs(np.linalg.det(jacobian)) < 1e-9
    jacobian[flat] = np.eye(2)
    return jacobian


def usable_radius(camera: Camera) -> float:
    """The ideal radius up to which distorted radii grow; beyond it the polynomial folds back and means nothing."""
    angles = np.linspace(0.0, np.radians(89.5), 2000)
    radii = np.tan(angles)
    radial = replace(camera, distortion={n: v for n, v in camera.distortion.items() if n not in ("p1", "p2")})
    distorted = distort(np.stack([radii, np.zeros_like(radii)], axis=1), radial)[:, 0]
    falling = np.flatnonzero(~(np.diff(distorted) > 0))
    return float(radii[falling[0]]) if len(falling) else float("inf")


class Pinhole(NamedTuple):
    """How the pictures of a distorted camera become a pinhole's."""

    camera: Camera  # same focal length; its pixels lie on those of the distorted one near the principal point
    source: torch.Tensor  # (H, W, 2) float32, where each pixel lies in the distorted picture, −1 to 1 between borders
    weight: np.ndarray  # (H, W) float32, 1 where it lies inside


def pinhole_of(camera: Camera) -> Pinhole:
    """The pinhole camera that keeps the pixels of a distorted one, as far as MOST_GROWTH allows."""
    left, right, top, bottom = _extent(camera)
    target = Camera(right + left, bottom + top, camera.fx, camera.fy, camera.cx + left - round(camera.cx),
                    camera.cy + top - round(camera.cy))
    x = (np.arange(target.width) + 0.5 - target.cx) / target.fx
    y = (np.arange(target.height) + 0.5 - target.cy) / target.fy
    ideal = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    distorted = distort(ideal, camera)
    columns = distorted[:, 0] * camera.fx + camera.cx
    rows = distorted[:, 1] * camera.fy + camera.cy
    inside = (columns >= 0) & (columns <= camera.width) & (rows >= 0) & (rows <= camera.height)
    inside &= np.linalg.norm(ideal, axis=1) < usable_radius(camera)
    source = np.stack([2 * columns / camera.width - 1, 2 * rows / camera.height - 1], axis=1)
    shape = (target.height, target.width)
    return Pinhole(target, torch.from_numpy(source.reshape(*shape, 2).astype(np.float32)),
                   inside.reshape(shape).astype(np.float32))


def _extent(camera: Camera) -> tuple[int, int, int, int]:
    """Pixels that the pinhole picture needs to the left, right, top and bottom of the principal point."""
    columns, rows = np.linspace(0, camera.width, 65), np.linspace(0, camera.height, 65)
    edge = np.concatenate([np.stack([columns, np.full(65, y)], axis=1) for y in (0.0, camera.height)]
                          + [np.stack([np.full(65, x), rows], axis=1) for x in (0.0, camera.width)])
    offset = edge - (camera.cx, camera.cy)
    ideal = undistort(offset / (camera.fx, camera.fy), camera) * (camera.fx, camera.fy)
    largest = MOST_GROWTH * np.array([camera.width, camera.height]) / 2
    # What lies beyond the lens's range is looked for as far out as the picture may grow.
    farthest = offset * (largest / np.maximum(np.abs(offset), 1e-9)).min(axis=1, keepdims=True)
    ideal = np.where(np.isnan(ideal), farthest, ideal)
    low, high = np.maximum(ideal.min(axis=0), -largest), np.minimum(ideal.max(axis=0), largest)
    left, top = (max(1, int(np.ceil(-value))) for value in low)
    right, bottom = (max(1, int(np.ceil(value))) for value in high)
    return left, right, top, bottom


def resample(values: np.ndarray, pinhole: Pinhole, mode: str = "bilinear") -> np.ndarray:
    """`values`, (H, W, C) float32 of the distorted picture, at the pinhole's pixels; zero outside.

    `mode` "nearest" is for depth and normals, which must not blend.
    """
    planes = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]
    sampled = F.grid_sample(planes, pinhole.source[None], mode=mode, padding_mode="border", align_corners=False)
    return sampled[0].permute(1, 2, 0).contiguous().numpy() * pinhole.weight[..., None]
