"""A folder that holds a capture: which form it is, and the simple forms of depth cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..recipes.errors import InputError
from . import cameras
from .capture import Capture, View
from .colmap import find_model, read_colmap
from .paths import PICTURES, natural
from .pictures import picture_size
from .transforms import read_transforms

_TRANSFORMS = ("transforms.json", "transforms_train.json")
_LOOKED_FOR = "transforms.json, transforms_train.json, sparse/0/cameras.bin or .txt, poses.txt with K.txt and images/, " \
              "frame-*.pose.txt with camera-intrinsics.txt"


def read_capture(path: Path) -> Capture:
    """The capture of a transforms file, a file of a COLMAP model, or a folder; InputError where it is none."""
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise InputError(f"input: {path} does not exist; give a transforms.json, a COLMAP folder or a folder with "
                         "cameras")
    if path.suffix.lower() == ".json":
        return read_transforms(path)
    if path.name in ("cameras.bin", "images.bin", "points3D.bin", "cameras.txt", "images.txt", "points3D.txt"):
        return read_colmap(path.parent)
    raise InputError(f"input: {path} is not a capture; give a transforms.json, a COLMAP folder or a folder with "
                     "cameras")


def has_cameras(path: Path) -> bool:
    """Whether `path` is a folder in one of the forms that state cameras."""
    return path.is_dir() and _reader(path) is not None


def _read_folder(folder: Path) -> Capture:
    read = _reader(folder)
    if read is not None:
        return read(folder)
    pictures = sum(p.suffix.lower() in PICTURES for p in folder.rglob("*"))
    if pictures:
        raise InputError(f"input: {folder} holds {pictures} pictures but no cameras; looked for {_LOOKED_FOR}; "
                         "`maquette capture` and Photos to Mesh find the cameras of photos")
    raise InputError(f"input: {folder} holds no capture; looked for {_LOOKED_FOR}; give such a folder")


def _reader(folder: Path) -> Callable[[Path], Capture] | None:
    """What reads the folder; None where no file in it states cameras."""
    for name in _TRANSFORMS:
        if (folder / name).is_file():
            return lambda folder: read_transforms(folder / name)
    if find_model(folder):
        return read_colmap
    if (folder / "poses.txt").is_file() and (folder / "K.txt").is_file():
        return _read_poses
    if any(folder.glob("frame-*.pose.txt")):
        return _read_frames
    return None


def _read_poses(folder: Path) -> Capture:
    """poses.txt: one flattened camera-to-world matrix, OpenCV's axes, a line for each of the sorted pictures.

    K.txt holds the 3×3 intrinsics, depth/ may hold depth maps of the pictures' names.
    """
    pictures = _pictures(folder / "images")
    rows = _numbers(folder / "poses.txt")
    if rows.shape != (len(pictures), 16):
        raise InputError(f"views: {folder / 'poses.txt'} holds {len(rows)} rows of {rows.shape[1]} numbers, images/ "
                         f"{len(pictures)} pictures; give 16 numbers for each picture")
    depth = [folder / "depth" / f"{picture.stem}.png" for picture in pictures]
    return _depth_camera(folder, pictures, list(rows.reshape(-1, 4, 4)), depth, folder / "K.txt")


def _read_frames(folder: Path) -> Capture:
    """frame-*.pose.txt of 7-Scenes and its kin: camera-to-world, OpenCV's axes, beside .color and .depth pictures.

    The intrinsics are those of the depth camera; in 7-Scenes the colour pictures fit them to a few pixels only.
    """
    pictures = [p for p in _pictures(folder) if ".color." in p.name]
    poses = [_numbers(p.with_name(p.name.split(".")[0] + ".pose.txt")) for p in pictures]
    depth = [p.with_name(p.name.split(".")[0] + ".depth.png") for p in pictures]
    return _depth_camera(folder, pictures, poses, depth, folder / "camera-intrinsics.txt")


def _depth_camera(folder: Path, pictures: Sequence[Path], poses: Sequence[np.ndarray], depth: Sequence[Path],
                  intrinsics: Path) -> Capture:
    if not pictures:
        raise InputError(f"views: {folder} holds poses but no pictures; put them where the poses are")
    k = _numbers(intrinsics)
    if k.shape != (3, 3):
        raise InputError(f"{intrinsics}: it holds {k.shape[0]}×{k.shape[1]} numbers; give the 3×3 intrinsics")
    values = {"fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]}
    views = []
    for picture, pose, depth_map in zip(pictures, poses, depth):
        camera = cameras.camera("pinhole", *picture_size(picture), values, str(intrinsics))
        world_from_camera = cameras.rigid(cameras.rigid(pose, f"views: {picture.name}") @ cameras.CV_FROM_GL, "")
        views.append(View(picture.name.split(".")[0], camera, world_from_camera,
                          picture.relative_to(folder).as_posix(),
                          depth=depth_map.relative_to(folder).as_posix() if depth_map.is_file() else None))
    turned, _ = cameras.turned_upright(views, None)
    return Capture(folder, turned)


def _pictures(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("*") if p.suffix.lower() in PICTURES and ".depth." not in p.name]
    return sorted(found, key=lambda p: natural(p.name))


def _numbers(path: Path) -> np.ndarray:
    """A text file's table of numbers, two-dimensional."""
    try:
        return np.loadtxt(path, ndmin=2)
    except OSError as error:
        raise InputError(f"input: {path} is missing or cannot be read; put it there") from error
    except ValueError as error:
        raise InputError(f"input: {path} is not a table of numbers ({error}); mend it") from error
