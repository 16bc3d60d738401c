"""transforms.json: cameras and pictures in the forms of NeRF's synthetic scenes, instant-ngp and nerfstudio.

All state camera-to-world matrices in OpenGL's camera axes and a world with Z up, which are the house's.
`applied_transform`, `scale`, `offset` and `aabb_scale` tell how a program came to these matrices or how it
normalises them; the matrices already stand in the file's world, so they are not applied again. The cameras are
those of the pixels as they are stored: an orientation in a photo's EXIF data is left alone, as COLMAP does.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes.errors import InputError
from . import cameras
from .capture import Camera, Capture, View
from .paths import PictureFinder, inside, missing_pictures, natural, view_names
from .pictures import picture_size
from .points import read_ply_points

_COEFFICIENTS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def read_transforms(path: Path) -> Capture:
    """The capture of a transforms file, with the test views of `transforms_test.json` beside it.

    Without such a file, or without its pictures, `transforms_val.json` takes its place. A view whose picture is
    absent is left out and counted in a warning. Raises InputError where the file is no capture.
    """
    read = _Reading(Path(os.path.abspath(path.parent)))
    text = _load(path)
    views = read.views(text, path.name, "train")
    for sibling in ("transforms_test.json", "transforms_val.json"):
        test = path.with_name(sibling)
        if path.name in ("transforms.json", "transforms_train.json") and test.is_file() \
                and not any(view.split == "test" for view in views):
            views += read.views(_load(test), sibling, "test")
    if not views:
        raise InputError(f"views: none of the {read.total} pictures of {path} exists (first: {read.missing[0]}); "
                         "put them where the file names them")
    if read.missing:
        read.warnings.append(missing_pictures(read.missing, read.total))
    views.sort(key=lambda view: (view.split == "test", natural(view.picture)))
    names = view_names(Path(view.picture) for view in views)
    views = [replace(view, name=name) for view, name in zip(views, names)]
    points = read.points(text.get("ply_file_path", "reconstruction.ply"), path.name)
    return Capture(read.folder, tuple(views), points=points, warnings=tuple(read.warnings))


def read_cameras(path: Path) -> tuple[View, ...]:
    """The cameras of a transforms file, in its order; their pictures may be absent where it states their size."""
    read = _Reading(Path(os.path.abspath(path.parent)), needs_pictures=False)
    views = read.views(_load(path), path.name, "train")
    names = view_names(Path(view.picture) for view in views)
    return tuple(replace(view, name=name) for view, name in zip(views, names, strict=True))


def write_transforms(views: Sequence[View], path: Path) -> None:
    """A transforms file of pinhole cameras with their pictures, depth and normal maps, as nerfstudio reads it."""
    frames = []
    for view in views:
        c = view.camera
        frame = {"file_path": view.picture, "w": c.width, "h": c.height, "fl_x": c.fx, "fl_y": c.fy, "cx": c.cx,
                 "cy": c.cy, "depth_file_path": view.depth, "normal_file_path": view.normal,
                 "transform_matrix": np.asarray(view.world_from_camera).tolist()}
        frames.append({key: value for key, value in frame.items() if value is not None})
    path.write_text(json.dumps({"camera_model": "PINHOLE", "frames": frames}, indent=1), encoding="utf-8")


@dataclass
class _Reading:
    """What is gathered while the files of one capture are read."""

    folder: Path
    needs_pictures: bool = True
    finder: PictureFinder = field(default_factory=PictureFinder)
    missing: list[str] = field(default_factory=list)
    total: int = 0
    warnings: list[str] = field(default_factory=list)

    def views(self, text: dict[str, Any], file: str, split: str) -> list[View]:
        tests = _names(text, "test_filenames", file) or _names(text, "val_filenames", file)
        found = []
        for number, frame in enumerate(text["frames"]):
            where = f"{file}: frame {number}"
            if not isinstance(frame, dict) or "file_path" not in frame or "transform_matrix" not in frame:
                raise InputError(f"{where} has no file_path or no transform_matrix; mend or remove it")
            picture = self._find(frame["file_path"], f"{file}: file_path")
            where = f"{file}: {frame['file_path']}"
            self.total += 1
            if picture is None and self.needs_pictures:
                self.missing.append(str(frame["file_path"]))
                continue
            picture = picture or str(frame["file_path"])
            found.append(View(
                name=picture, camera=_camera({**text, **frame}, self.folder / picture, where),
                world_from_camera=cameras.rigid(frame["transform_matrix"], where), picture=picture,
                mask=self._beside(frame, "mask_path", where), depth=self._beside(frame, "depth_file_path", where),
                split="test" if frame["file_path"] in tests else split))
        return found

    def _find(self, name: object, where: str) -> str | None:
        found = self.finder.find(inside(self.folder, name, where))
        return None if found is None else found.relative_to(self.folder).as_posix()

    def _beside(self, frame: dict, key: str, where: str) -> str | None:
        """The mask or depth map of a frame, which must exist where it is named."""
        if frame.get(key) is None or not self.needs_pictures:
            return None
        found = self._find(frame[key], where)
        if found is None:
            raise InputError(f"{where}: its {key} {frame[key]!r} is missing; put the file there or remove the entry")
        return found

    def points(self, name: object, file: str) -> np.ndarray | None:
        """Sparse points, (N, 3), of the PLY file that is named, or that OpenDroneMap puts beside the file."""
        ply = inside(self.folder, name, f"{file}: ply_file_path")
        if not ply.is_file():
            return None
        try:
            return read_ply_points(ply)
        except InputError as error:
            self.warnings.append(f"{error}; the points are left out")
            return None


def _load(path: Path) -> dict[str, Any]:
    try:
        text = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"input: {path} cannot be read ({error.strerror}); give a transforms file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"input: {path} is not JSON ({error}); give a transforms file") from error
    if not isinstance(text, dict) or not isinstance(text.get("frames"), list):
        raise InputError(f"input: {path} has no list of frames; give a transforms file of NeRF, instant-ngp or "
                         "nerfstudio")
    if not text["frames"]:
        raise InputError(f"input: {path} has no cameras, its list of frames is empty; give one with frames")
    return text


def _names(text: dict[str, Any], key: str, file: str) -> list[str]:
    names = text.get(key) or []
    if not isinstance(names, list):
        raise InputError(f"{file}: {key} is not a list of file paths; mend or remove it")
    return names


def _camera(values: dict[str, Any], picture: Path, where: str) -> Camera:
    """The camera of a frame whose own values lie over the file's shared ones."""

    def number(name: str) -> float | None:
        value = values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e12:
            raise InputError(f"{where}: {name} is {value!r}, which is not a number in its range; mend it")
        return float(value)

    w, h = number("w"), number("h")
    if w is None or h is None:
        if not picture.is_file():
            raise InputError(f"{where}: it has no w and h, and there is no picture to tell them; give them in pixels")
        w, h = picture_size(picture)
    if not math.isfinite(w) or not math.isfinite(h):
        raise InputError(f"{where}: w and h are {w} and {h}; give the picture's size in pixels")
    width, height = round(w), round(h)
    fx = number("fl_x") or _focal(number("camera_angle_x"), width, where)
    fy = number("fl_y") or _focal(number("camera_angle_y"), height, where)
    focal = fx or fy
    if not focal:
        raise InputError(f"{where}: it has no fl_x and no camera_angle_x; give the focal length in pixels")
    cx, cy = number("cx"), number("cy")
    intrinsics = {"fx": fx or focal, "fy": fy or focal, "cx": width / 2 if cx is None else cx,
                  "cy": height / 2 if cy is None else cy}
    model, known = _model(values, where)
    distortion = {name: number(name) or 0.0 for name in _COEFFICIENTS}
    strange = [name for name, value in distortion.items() if value and name not in known]
    if strange:
        raise InputError(f"{where}: its camera_model has no {strange[0]}; state one that has it, FULL_OPENCV or "
                         "OPENCV_FISHEYE")
    return cameras.camera(model, width, height,
                          {**intrinsics, **{name: distortion[name] for name in known}}, where)


def _focal(angle: float | None, side: int, where: str) -> float | None:
    """The focal length in pixels of a field of view of `angle` radians over `side` pixels."""
    if angle is None:
        return None
    if not 0 < angle < math.pi:
        raise InputError(f"{where}: the camera's angle of {angle} rad is not between 0 and π; mend it")
    return 0.5 * side / math.tan(0.5 * angle)


def _model(values: dict[str, Any], where: str) -> tuple[str, tuple[str, ...]]:
    """Our camera model and the coefficients it may have.

    instant-ngp states no model but for `is_fisheye`; nerfstudio's PINHOLE may come with coefficients, and
    OpenDroneMap's OPENCV with k3.
    """
    name = str(values.get("camera_model") or ("OPENCV_FISHEYE" if values.get("is_fisheye") else "OPENCV"))
    model, _ = cameras.model_of(name, where)
    if model == "fisheye":
        return model, ("k1", "k2", "k3", "k4")
    return "opencv", _COEFFICIENTS if name == "FULL_OPENCV" else ("k1", "k2", "k3", "p1", "p2")
