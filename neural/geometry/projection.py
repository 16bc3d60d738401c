"""World points to pixels and back."""

from __future__ import annotations

import numpy as np

from .posed import PosedPicture


def project(picture: PosedPicture, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and depth of world points (…, 3), in the picture's pixels; NaN where the depth is 0."""
    x, y, z = np.moveaxis((points - picture.world_from_camera[:3, 3]) @ picture.world_from_camera[:3, :3], -1, 0)
    depth = np.where(z == 0, np.nan, -z)
    return picture.cx + picture.fx * x / depth, picture.cy - picture.fy * y / depth, -z


def unproject(picture: PosedPicture, depth: np.ndarray) -> np.ndarray:
    """World points (H, W, 3) of a depth (H, W) along the axis at the pixels' centres."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    local = depth[..., None] * np.stack([(x - picture.cx) / picture.fx, (picture.cy - y) / picture.fy,
                                         -np.ones_like(x)], -1)
    return local @ picture.world_from_camera[:3, :3].T + picture.world_from_camera[:3, 3]
