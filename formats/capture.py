"""A capture: pictures with the cameras that took them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes.errors import InputError

FORMAT = 1
FILE = "capture.json"
FEWEST_TO_HOLD_OUT = 8  # with fewer views, each is worth more to the shape than to a measurement


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels: origin at the upper left corner, pixel centres at +0.5.

    `distortion` holds OpenCV's coefficients by name (k1 … k6, p1, p2) for `model` "opencv",
    k1 … k4 for "fisheye"; empty for a pinhole. They act on normalised OpenCV coordinates (y down).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = "pinhole"
    distortion: dict[str, float] = field(default_factory=dict)

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera with its picture resized to width × height."""
        x, y = width / self.width, height / self.height
        return replace(self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x,
                       cy=self.cy * y)


@dataclass(frozen=True)
class View:
    """One picture and its camera, which looks along −Z with Y up."""

    name: str
    camera: Camera
    world_from_camera: np.ndarray  # (4, 4) float64, rotation and translation alone
    picture: str  # paths relative to the capture's folder; an .exr is linear with premultiplied alpha
    mask: str | None = None  # grey picture, white is the subject
    depth: str | None = None  # along the camera's axis, metres; in the .exr of a rendered view: the same path
    normal: str | None = None  # world normals; likewise
    split: str = "train"  # or "test"


@dataclass(frozen=True)
class Capture:
    """Views in Blender's world, with what is known about the scene."""

    folder: Path
    views: tuple[View, ...]
    box: np.ndarray | None = None  # (2, 3) lower and upper corner of the subject, where it is known
    points: np.ndarray | None = None  # (N, 3) sparse points, where the source has them
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What an estimate needs."""
        return {"views": len(self.views), "pixels": sum(v.camera.width * v.camera.height for v in self.views)}


def with_hold_out(capture: Capture, every: int) -> Capture:
    """Every n-th view becomes a test view where the capture names none; 0 changes nothing, nor do few views."""
    few = len(capture.views) < FEWEST_TO_HOLD_OUT
    if every == 0 or few or any(v.split == "test" for v in capture.views):
        return capture
    views = tuple(replace(v, split="test") if i % every == 0 else v for i, v in enumerate(capture.views))
    return replace(capture, views=views)


def write(capture: Capture, path: Path) -> None:
    """Write capture.json; the views' paths stay relative to the capture's folder, which is the file's."""
    views = [{**asdict(v), "world_from_camera": np.asarray(v.world_from_camera).tolist()} for v in capture.views]
    text = {"format": FORMAT, "views": views, "warnings": list(capture.warnings),
            "box": None if capture.box is None else np.asarray(capture.box).tolist(),
            "points": None if capture.points is None else np.asarray(capture.points).tolist()}
    path.write_text(json.dumps(text))


def read(path: Path) -> Capture:
    """Read capture.json of a job folder; InputError where it is missing, damaged or of another version."""
    try:
        text = json.loads(path.read_text())
        if text["format"] != FORMAT:
            raise InputError(f"capture: {path} has format {text['format']!r}; this version reads {FORMAT}")
        views = tuple(View(**{**v, "camera": Camera(**v["camera"]),
                              "world_from_camera": np.array(v["world_from_camera"])}) for v in text["views"])
        return Capture(path.parent, views, _array(text["box"]), _array(text["points"]), tuple(text["warnings"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"capture: {path} cannot be read ({type(error).__name__}: {error}); "
                         "start the job again from its input") from error


def _array(values: list | None) -> np.ndarray | None:
    return None if values is None else np.array(values)
