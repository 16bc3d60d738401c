"""COLMAP's sparse models, binary and text: cameras, images and points (https://colmap.github.io/format.html).

COLMAP states world-to-camera in OpenCV's axes, and a world whose axes mean nothing, often with Y down. The reader
turns the world so that Z is up (`cameras.upright`) and keeps its scale.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes.errors import InputError
from . import cameras
from .capture import Camera, Capture, View
from .paths import PictureFinder, inside, missing_pictures, natural, view_names

# The numbers of the binary form, in COLMAP's order; those that MODELS lacks are refused by name.
_MODEL_NAMES = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV",
                "FOV", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE")
_PICTURE_FOLDERS = ("images", "input", ".")


def find_model(folder: Path) -> tuple[Path, list[str]] | None:
    """The folder of the sparse model in `folder` and a warning where there are several; None without one."""
    found = [candidate for candidate in (folder, *_numbered(folder / "sparse"), folder / "sparse",
                                         *_numbered(folder / "colmap" / "sparse"), folder / "sparse_txt")
             if _ending(candidate)]
    if not found:
        return None
    numbered = [candidate for candidate in found if candidate.parent == found[0].parent and candidate.name.isdigit()]
    if len(numbered) < 2:
        return found[0], []
    return found[0], [f"sparse: the folder holds {len(numbered)} models that do not belong together; "
                      f"{found[0].name} is used"]


def read_colmap(folder: Path) -> Capture:
    """The capture of a COLMAP workspace, or of a sparse model's own folder with the pictures near it.

    Images without a picture are left out and counted in a warning. InputError where there is no model.
    """
    found = find_model(folder)
    if found is None:
        raise InputError(f"input: {folder} holds no COLMAP model; give a folder with sparse/0/cameras.bin")
    model, warnings = found
    read: Any = _Binary if _ending(model) == ".bin" else _Text
    by_id = read.cameras(model)
    images = list(read.images(model))
    if not images:
        raise InputError(f"views: {model} has no registered image; run COLMAP's mapper again")
    for image in images:
        if image.camera not in by_id:
            raise InputError(f"views: {image.name} names camera {image.camera}, which {model} lacks; mend the model")
    root, pictures = _picture_folder(model, [image.name for image in images])
    views, missing = _views(root, pictures, images, by_id)
    if not views:
        raise InputError(f"views: none of the {len(images)} pictures of {model} exists (first: {missing[0]}); "
                         f"put them into {pictures}")
    if missing:
        warnings.append(missing_pictures(missing, len(images)))
    points = read.points(model)
    turned, points = cameras.turned_upright(views, points)
    return Capture(root, turned, points=points, warnings=tuple(warnings))


@dataclass(frozen=True)
class _Image:
    name: str
    camera: int
    camera_from_world: np.ndarray  # (4, 4), OpenCV's axes


def _views(root: Path, pictures: Path, images: list[_Image], by_id: dict[int, Camera]) -> tuple[list[View], list[str]]:
    finder, found, missing = PictureFinder(), [], []
    for image in sorted(images, key=lambda image: natural(image.name)):
        picture = finder.find(inside(pictures, image.name, "images"))
        if picture is None:
            missing.append(image.name)
            continue
        # COLMAP's own place and name for the mask of an image.
        mask = pictures.with_name("masks") / f"{image.name}.png"
        pose = cameras.rigid(np.linalg.inv(image.camera_from_world) @ cameras.CV_FROM_GL, f"images: {image.name}")
        found.append(View(image.name, by_id[image.camera], pose, picture.relative_to(root).as_posix(),
                          mask.relative_to(root).as_posix() if mask.is_file() else None))
    names = view_names(Path(view.picture) for view in found)
    return [replace(view, name=name) for view, name in zip(found, names)], missing


def _picture_folder(model: Path, names: list[str]) -> tuple[Path, Path]:
    """The workspace and, in it, the folder that holds most of the named pictures."""
    model = model.absolute()
    finder = PictureFinder()
    places = [(root, (root / name)) for root in (model, *list(model.parents)[:3]) for name in _PICTURE_FOLDERS]
    counts = [sum(finder.find(inside(folder, name, "images")) is not None for name in names) for _, folder in places]
    if not max(counts):
        root = model.parent.parent if model.name.isdigit() else model.parent
        return root, root / "images"
    root, folder = places[int(np.argmax(counts))]
    return root, Path(folder)


def _numbered(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("*") if p.name.isdigit() and p.is_dir()), key=lambda p: int(p.name))


def _ending(folder: Path) -> str | None:
    """The form of the model that lies in `folder`: .bin, .txt or None."""
    return next((ending for ending in (".bin", ".txt")
                 if (folder / f"cameras{ending}").is_file() and (folder / f"images{ending}").is_file()), None)


def _camera(name: str, width: int, height: int, values: list[float], where: str) -> Camera:
    model, parameters = cameras.model_of(name, where)
    if len(values) != len(parameters):
        raise InputError(f"{where}: {name} has {len(parameters)} parameters, not {len(values)}; mend the model")
    return cameras.camera(model, width, height, dict(zip(parameters, values)), where)


def _camera_from_world(quaternion: np.ndarray, translation: np.ndarray, name: str) -> np.ndarray:
    """The matrix of a quaternion w, x, y, z, normalised, and a translation."""
    length = math.hypot(*quaternion)
    if not np.isfinite([length, *translation]).all() or length < 1e-6:
        raise InputError(f"images: {name} has no valid pose; remove it from the model")
    w, x, y, z = quaternion / length
    matrix = np.eye(4)
    matrix[:3, :3] = [[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]]
    matrix[:3, 3] = translation
    return matrix


class _Binary:
    """The little-endian form that COLMAP writes."""

    @staticmethod
    def cameras(model: Path) -> dict[int, Camera]:
        file = _Cursor(model / "cameras.bin")
        found = {}
        for _ in range(file.take("Q")[0]):
            number, kind, width, height = file.take("IiQQ")
            where = f"{file.path}: camera {number}"
            name = _MODEL_NAMES[kind] if 0 <= kind < len(_MODEL_NAMES) else f"number {kind}"
            _, parameters = cameras.model_of(name, where)
            found[number] = _camera(name, width, height, list(file.take(f"{len(parameters)}d")), where)
        return found

    @staticmethod
    def images(model: Path) -> Iterator[_Image]:
        file = _Cursor(model / "images.bin")
        for _ in range(file.take("Q")[0]):
            _, *pose, camera = file.take("I7dI")
            name = file.text()
            file.skip(24 * file.take("Q")[0])  # observations: x, y and the point's number
            yield _Image(name, camera, _camera_from_world(np.array(pose[:4]), np.array(pose[4:]), name))

    @staticmethod
    def points(model: Path) -> np.ndarray | None:
        if not (model / "points3D.bin").is_file():
            return None
        file = _Cursor(model / "points3D.bin")
        found = []
        for _ in range(file.take("Q")[0]):
            _, x, y, z, _, _, _, _, track = file.take("Q3d3BdQ")
            file.skip(8 * track)
            found.append((x, y, z))
        return np.array(found).reshape(-1, 3)


class _Cursor:
    """Reads a binary file from front to end; InputError where it ends too early."""

    def __init__(self, path: Path) -> None:
        self.path, self._data, self._at = path, _bytes(path), 0

    def take(self, form: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + form)
        self.skip(size)
        return struct.unpack_from("<" + form, self._data, self._at - size)

    def text(self) -> str:
        end = self._data.find(b"\0", self._at)
        start = self._at
        self.skip(max(end - start, -1) + 1 if end >= 0 else len(self._data))
        return self._data[start:end].decode("utf-8", "replace")

    def skip(self, size: int) -> None:
        if self._at + size > len(self._data):
            raise InputError(f"input: {self.path} is cut off after {len(self._data)} bytes; copy the model again")
        self._at += size


class _Text:
    """The form for people: words in lines, # before comments."""

    @staticmethod
    def cameras(model: Path) -> dict[int, Camera]:
        found = {}
        for where, words in _lines(model / "cameras.txt"):
            with _Parsing(where):
                number, width, height = int(words[0]), int(words[2]), int(words[3])
                values = [float(word) for word in words[4:]]
                found[number] = _camera(words[1], width, height, values, f"{where}, camera {number}")
        return found

    @staticmethod
    def images(model: Path) -> Iterator[_Image]:
        # Every second line lists an image's observations and may be empty.
        for where, words in _lines(model / "images.txt", every=2):
            with _Parsing(where):
                pose = np.array([float(word) for word in words[1:8]])
                name = " ".join(words[9:])
                image = _Image(name, int(words[8]), _camera_from_world(pose[:4], pose[4:], name))
            yield image

    @staticmethod
    def points(model: Path) -> np.ndarray | None:
        path = model / "points3D.txt"
        if not path.is_file():
            return None
        found = []
        for where, words in _lines(path):
            with _Parsing(where):
                x, y, z = (float(word) for word in words[1:4])
                found.append((x, y, z))
        return np.array(found).reshape(-1, 3)


class _Parsing:
    """Turns the errors of a line that does not hold what it should into InputError."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, (ValueError, IndexError)):
            raise InputError(f"{self._where} is not in COLMAP's form ({error}); export the model again") from error


def _lines(path: Path, every: int = 1) -> Iterator[tuple[str, list[str]]]:
    """The words of every n-th line that is no comment, with its place for messages."""
    lines = [(n, line) for n, line in enumerate(_bytes(path).decode("utf-8", "replace").splitlines(), 1)
             if not line.startswith("#")]
    if every == 1:
        lines = [(n, line) for n, line in lines if line.strip()]
    for number, line in lines[::every]:
        if line.strip():
            yield f"{path}: line {number}", line.split()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"input: {path} cannot be read ({error.strerror}); copy the model again") from error
