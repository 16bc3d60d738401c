"""Cameras of files in the house's conventions: intrinsics and poses checked, axes and worlds turned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..recipes.errors import InputError
from .capture import Camera, View

# Camera axes: OpenCV's (x right, y down, looks along +z) from ours (x right, y up, looks along −z).
CV_FROM_GL = np.diag([1.0, -1.0, -1.0, 1.0])
FEWEST_VIEWS = 3

_PINHOLE, _OPENCV, _FISHEYE = "pinhole", "opencv", "fisheye"
# COLMAP's camera models, whose names nerfstudio shares, with their parameters in COLMAP's order.
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": (_PINHOLE, ("f", "cx", "cy")),
    "PINHOLE": (_PINHOLE, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (_OPENCV, ("f", "cx", "cy", "k1")),
    "RADIAL": (_OPENCV, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (_OPENCV, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "FULL_OPENCV": (_OPENCV, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "SIMPLE_FISHEYE": (_FISHEYE, ("f", "cx", "cy")),
    "FISHEYE": (_FISHEYE, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL_FISHEYE": (_FISHEYE, ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (_FISHEYE, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV_FISHEYE": (_FISHEYE, ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
}


def model_of(name: str, where: str) -> tuple[str, tuple[str, ...]]:
    """Our model and the parameters of the camera model `name`, or InputError."""
    if name not in MODELS:
        raise InputError(f"{where}: the camera model {name} is not supported; "
                         f"undistort the pictures to PINHOLE, or use one of {', '.join(MODELS)}")
    return MODELS[name]


def camera(model: str, width: int, height: int, values: dict[str, float], where: str) -> Camera:
    """A checked camera of our `model` from parameters named as in MODELS; zero distortion is left out."""
    values = {name: float(value) for name, value in values.items()}
    if "f" in values:
        values["fx"] = values["fy"] = values.pop("f")
    for name, value in values.items():
        if not math.isfinite(value) or (name in ("fx", "fy") and value <= 0):
            raise InputError(f"{where}: {name} is {value}; give the camera's calibration in pixels")
    if width < 1 or height < 1:
        raise InputError(f"{where}: the camera's picture is {width}×{height} pixels; give its true size")
    fx, fy, cx, cy = (values.pop(name) for name in ("fx", "fy", "cx", "cy"))
    distortion = {name: value for name, value in values.items() if value != 0.0}
    if model == _OPENCV and not distortion:
        model = _PINHOLE
    return Camera(width, height, fx, fy, cx, cy, model, distortion)


def rigid(matrix: object, where: str) -> np.ndarray:
    """A camera-to-world matrix, 3×4 or 4×4, as rotation and translation alone; InputError where it is neither.

    A uniform scale is dropped. Rounding, as in files of few digits, is mended by the nearest rotation (polar
    decomposition); more than that is refused, and so are mirrored axes.
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        pose = np.empty(0)
    if pose.shape not in ((3, 4), (4, 4)):
        raise InputError(f"{where}: the camera's matrix is not 4×4 numbers; give camera-to-world by rows")
    if not np.isfinite(pose).all():
        raise InputError(f"{where}: the camera's matrix holds NaN or infinite numbers; remove the view or mend it")
    if len(pose) == 4 and not np.allclose(pose[3], (0, 0, 0, 1), atol=1e-6):
        raise InputError(f"{where}: the camera's matrix ends with the row {pose[3].tolist()}, not 0 0 0 1; "
                         "give camera-to-world by rows")
    left, stretch, right = np.linalg.svd(pose[:3, :3])
    if stretch[2] <= 1e-6 * stretch[0]:
        raise InputError(f"{where}: the camera's matrix is singular; remove the view or mend it")
    if stretch[0] - stretch[2] > 0.05 * stretch[1]:
        raise InputError(f"{where}: the camera's matrix is not a rotation (it stretches by "
                         f"{stretch[2]:.3g} to {stretch[0]:.3g}); mend it")
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        raise InputError(f"{where}: the camera's matrix mirrors its axes; give right-handed axes")
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3], world_from_camera[:3, 3] = rotation, pose[:3, 3]
    return world_from_camera


def check_views(views: Sequence[View]) -> None:
    """Raise InputError where no scene can be computed from these cameras."""
    train = [view for view in views if view.split == "train"]
    for view in train:
        rigid(view.world_from_camera, f"views: {view.name}")
    if len(train) < FEWEST_VIEWS:
        raise InputError(f"views: too few are left for training ({len(train)}); "
                         f"give {FEWEST_VIEWS} or more from different sides")
    places = np.array([view.world_from_camera[:3, 3] for view in train])
    if np.ptp(places, axis=0).max() <= 1e-6 * max(1.0, np.abs(places).max()):
        raise InputError(f"cameras: all {len(places)} stand in one place, {places[0].round(3).tolist()}; "
                         "take the pictures from different places")


def upright(world_from_camera: np.ndarray) -> np.ndarray:
    """The rotation (4×4) that makes Z the up of a world whose up is not known, from its cameras, (N, 4, 4).

    People hold cameras level: the right axes are horizontal whatever the pitch, so up is the direction most
    nearly perpendicular to all of them. Where they are all parallel, as before a facade, it is the mean of the
    cameras' own up, made perpendicular to them. Within 3° of an axis of the file's world it is that axis, since
    whoever made the file has aligned it. Cameras held on end count as level ones and spoil the estimate.
    """
    ups, rights = world_from_camera[:, :3, 1], world_from_camera[:, :3, 0]
    mean_up = ups.mean(axis=0)
    spread, axes = np.linalg.eigh(rights.T @ rights / len(rights))  # ascending, axes in columns
    if spread[1] > math.sin(math.radians(10.0)) ** 2:
        up = axes[:, 0] * (1.0 if axes[:, 0] @ mean_up >= 0 else -1.0)
    else:
        up = mean_up - axes[:, 2] * (axes[:, 2] @ mean_up)
    if np.linalg.norm(up) < 1e-6:
        return np.eye(4)
    up /= np.linalg.norm(up)
    nearest = np.argmax(np.abs(up))
    if abs(up[nearest]) > math.cos(math.radians(3.0)):
        up = np.sign(up[nearest]) * np.eye(3)[nearest]
    turn = np.eye(4)
    turn[:3, :3] = _rotation_between(up, np.array([0.0, 0.0, 1.0]))
    return turn


def _rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes the unit vector a to b; half a turn about X where they are opposite."""
    cross, dot = np.cross(a, b), float(a @ b)
    if dot < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + dot)


def turned_upright(views: Sequence[View], points: np.ndarray | None) -> tuple[tuple[View, ...], np.ndarray | None]:
    """Views and points, (N, 3), in a world turned by `upright`; the scale is kept."""
    if not views:
        return tuple(views), points
    turn = upright(np.stack([view.world_from_camera for view in views]))
    views = tuple(replace(view, world_from_camera=turn @ view.world_from_camera) for view in views)
    return views, None if points is None else points @ turn[:3, :3].T
