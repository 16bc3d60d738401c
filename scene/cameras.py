"""Blender's cameras ↔ pinhole cameras in pixels.

Conventions as in Blender's view plane (`BKE_camera_params_compute_viewplane`): AUTO fits the sensor's
*width* to the picture's longer side; the shift is in units of the fitted side. Pixel corners are at integers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats.capture import Camera
from ..recipes.errors import InputError

if TYPE_CHECKING:
    import bpy

# What a Blender camera cannot hold, on the camera's data: distortion and the picture's own pixel aspect.
LENS_KEY = "maquette_lens"
SENSOR_MM = 36.0


def intrinsics(lens: float, sensor_width: float, sensor_height: float, sensor_fit: str, shift_x: float,
               shift_y: float, width: int, height: int, pixel_aspect: float = 1.0) -> Camera:
    """The pinhole camera of a Blender lens.

    Lens and sensor in millimetres; `pixel_aspect` is a pixel's height over its width.
    """
    horizontal = sensor_fit == "HORIZONTAL" or (sensor_fit == "AUTO" and width >= pixel_aspect * height)
    sensor = sensor_height if sensor_fit == "VERTICAL" else sensor_width
    side = width if horizontal else pixel_aspect * height
    fx = lens * side / sensor
    return Camera(width, height, fx=fx, fy=fx / pixel_aspect, cx=width / 2 - shift_x * side,
                  cy=height / 2 + shift_y * side / pixel_aspect)


def lens_of(camera: Camera) -> dict[str, Any]:
    """The properties of a Blender camera that is `camera`, apart from pixel aspect fx / fy and distortion."""
    side, aspect = camera.width, camera.fx / camera.fy
    return {"type": "PERSP", "sensor_fit": "HORIZONTAL", "sensor_width": SENSOR_MM,
            "lens": camera.fx * SENSOR_MM / side, "shift_x": (camera.width / 2 - camera.cx) / side,
            "shift_y": (camera.cy - camera.height / 2) * aspect / side}


def from_blender(camera: bpy.types.Object, width: int, height: int, pixel_aspect: float = 1.0) -> Camera:
    """The pinhole camera of a camera object for a picture of width × height pixels.

    Raises InputError for a lens that is not perspective.
    """
    data: Any = camera.data
    if data.type != "PERSP":
        kind = {"ORTHO": "an orthographic", "PANO": "a panoramic"}.get(data.type, f"a {data.type.lower()}")
        raise InputError(f'lens: camera "{camera.name}" is {kind} camera; make it a perspective one or leave it out '
                         "by disabling it in renders")
    return intrinsics(data.lens, data.sensor_width, data.sensor_height, data.sensor_fit, data.shift_x,
                      data.shift_y, width, height, pixel_aspect)


def to_blender(camera: Camera, data: bpy.types.Camera) -> None:
    """Give a Blender camera the intrinsics; what it cannot hold goes into a custom property."""
    for name, value in lens_of(camera).items():
        setattr(data, name, value)
    rest = {"width": camera.width, "height": camera.height, "pixel_aspect": camera.fx / camera.fy,
            "model": camera.model, "distortion": camera.distortion}
    data[LENS_KEY] = json.dumps(rest)


def fit_render(scene: bpy.types.Scene, camera: Camera) -> None:
    """Give a scene's renders the size of a camera's pictures and the proportions of their pixels."""
    render, aspect = scene.render, camera.fx / camera.fy
    render.resolution_x, render.resolution_y, render.resolution_percentage = camera.width, camera.height, 100
    render.pixel_aspect_x, render.pixel_aspect_y = (1.0, aspect) if aspect >= 1 else (1.0 / aspect, 1.0)


def stored_lens(data: bpy.types.Camera) -> dict[str, Any]:
    """What `to_blender` left in the custom property; empty where the camera was not imported."""
    try:
        stored = json.loads(data.get(LENS_KEY, "{}"))
    except (TypeError, ValueError):
        raise InputError(f'lens: the property {LENS_KEY} of camera "{data.name}" is not JSON; delete it or import '
                         "the capture again") from None
    return stored if isinstance(stored, dict) else {}


def world_from_camera(camera: bpy.types.Object) -> np.ndarray:
    """The pose, (4, 4) float64, of an evaluated camera object. Its scale is removed.

    Raises InputError for a camera that parents or its own scale have mirrored, sheared or flattened.
    """
    matrix = np.array(camera.matrix_world, np.float64)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or lengths.min() < 1e-12:
        raise InputError(f'pose: camera "{camera.name}" has a singular transform; give it a scale other than 0')
    matrix[:3, :3] /= lengths
    rotation = matrix[:3, :3]
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise InputError(f'pose: camera "{camera.name}" is mirrored or sheared by a scale; apply the scale of the '
                         "camera and of its parents")
    return matrix
