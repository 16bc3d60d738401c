"""A camera that goes around a box."""

from __future__ import annotations

import math

import numpy as np

from ...formats.capture import Camera, View

SENSOR_MM = 36.0  # width of the sensor that focal lengths refer to
MARGIN = 1.05  # the whole box takes the picture's side over this


def turntable(box: np.ndarray, frames: int, size: int, elevation: float, lens: float,
              distance: float = 0.0) -> list[View]:
    """`frames` views of a world-aligned box (2, 3) from all sides, pictures of `size` pixels a side.

    The camera stands `elevation` degrees above the horizon and `distance` from the box's middle, and turns
    counter-clockwise seen from above, from the front (−Y) on; where `distance` is 0, it is the least from which all
    views show the whole box. `lens` is the focal length in mm on a sensor of 36 mm.
    """
    focal = lens / SENSOR_MM * size
    camera = Camera(size, size, focal, focal, size / 2, size / 2)
    centre = box.mean(axis=0)
    rotations = [_rotation(-math.pi / 2 + 2 * math.pi * i / frames, math.radians(elevation)) for i in range(frames)]
    distance = distance or max(_least_distance(box - centre, r, SENSOR_MM / (2 * lens * MARGIN)) for r in rotations)
    views = []
    for number, rotation in enumerate(rotations, 1):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, centre + distance * rotation[:, 2]
        views.append(View(f"{number:04d}", camera, pose, ""))
    return views


def _rotation(azimuth: float, elevation: float) -> np.ndarray:
    """(3, 3) whose columns are a camera's right, up and back; upright at the poles too."""
    back = np.array([math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth),
                     math.sin(elevation)])
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    return np.stack([right, np.cross(back, right), back], axis=1)


def _least_distance(box: np.ndarray, rotation: np.ndarray, tangent: float) -> float:
    """From where a camera sees all corners of a box about the origin within `tangent` of its axis."""
    corners = np.stack(np.meshgrid(*box.T, indexing="ij"), axis=-1).reshape(-1, 3)
    x, y, back = (corners @ rotation).T
    return float((back + np.maximum(np.abs(x), np.abs(y)) / tangent).max())
