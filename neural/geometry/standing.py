"""Shapes of view frames into one world: upright, of a given size, on common ground, with the photo's camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...formats.mesh import Mesh
from .crop import Crop

# Of its distance that an object's lowest point must lie below the camera, for the ground to say how far away it is.
_BELOW = 0.05


def upward(crop: Crop, elevation: float) -> np.ndarray:
    """The world's up (3,) in the axes of the photo's camera, which is taken to be held level.

    elevation: of the crop's camera above the object, radians.
    """
    up = crop.photo_from_crop @ np.array([0.0, np.cos(elevation), np.sin(elevation)])
    up[0] = 0.0
    return up / np.linalg.norm(up)


def stand(meshes: Sequence[Mesh], crops: Sequence[Crop], up: np.ndarray, size: float
          ) -> tuple[list[Mesh], np.ndarray]:
    """Meshes of the crops' view frames in the world, and its camera's pose (4, 4).

    The first one's longest side is `size`, it stands on z = 0 around the origin, and its camera looks along +Y, as
    Blender's front view does. How far away the others are no picture shows: they stand on the same ground where they
    are seen from above, else they are as far as the first.
    """
    right = np.array([1.0, 0.0, 0.0])
    world_from_photo = np.stack((right, np.cross(up, right), up))
    seen = []
    for mesh, crop in zip(meshes, crops, strict=True):
        view_to_world = np.eye(4)
        view_to_world[:3, :3] = world_from_photo @ crop.photo_from_crop
        view_to_world[:3, 3] = view_to_world[:3, :3] @ [0.0, 0.0, -crop.distance]
        seen.append(mesh.transformed(view_to_world))
    scales = _scales(seen, crops, size)
    first = seen[0].vertices.astype(np.float64) * scales[0]
    middle = (first.min(axis=0) + first.max(axis=0)) / 2
    pose = np.eye(4)
    pose[:3, :3] = world_from_photo
    pose[:3, 3] = -np.array([middle[0], middle[1], first[:, 2].min()])
    placed = []
    for mesh, scale in zip(seen, scales, strict=True):
        to_world = np.diag([scale, scale, scale, 1.0])
        to_world[:3, 3] = pose[:3, 3]
        placed.append(mesh.transformed(to_world))
    return placed, pose


def _scales(seen: Sequence[Mesh], crops: Sequence[Crop], size: float) -> list[float]:
    """By which each mesh, as its camera at the origin sees it, is moved away from that camera and enlarged."""
    first = size / float(np.ptp(seen[0].vertices, axis=0).max())
    heights = [float(mesh.vertices[:, 2].min()) for mesh in seen]
    scales = []
    for height, crop in zip(heights, crops, strict=True):
        below = [h < -_BELOW * c.distance for h, c in ((heights[0], crops[0]), (height, crop))]
        scales.append(first * (heights[0] / height if all(below) else crops[0].distance / crop.distance))
    return scales
