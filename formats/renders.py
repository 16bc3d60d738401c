"""Pictures that a field was rendered to: one folder, which is a capture that can be read back.

    transforms.json     the cameras
    images/NAME.png     8 bits, sRGB, straight alpha
    depth/NAME.exr      channel Y, float32 metres along the camera's axis, 0 where nothing is seen
    normals/NAME.exr    channels R, G, B: x, y, z in the world, float32 of unit length, 0 where nothing is seen
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import exr
from .capture import View
from .paths import link_file
from .pictures import write_png
from .transforms import write_transforms

FOLDER = "pictures"  # in the job's output/
TRANSFORMS = "transforms.json"
IMAGES, DEPTH, NORMALS = "images", "depth", "normals"


def named(views: Sequence[View], passes: bool) -> list[View]:
    """The views with the paths of what is rendered of them: a unique file name each, in any file system."""
    stems = [re.sub(r"[^A-Za-z0-9._-]", "_", view.name) for view in views]
    if len({stem.lower() for stem in stems}) < len(stems):
        stems = [f"{number:04d}_{stem}" for number, stem in enumerate(stems, 1)]
    return [replace(view, picture=f"{IMAGES}/{stem}.png", mask=None,
                    depth=f"{DEPTH}/{stem}.exr" if passes else None,
                    normal=f"{NORMALS}/{stem}.exr" if passes else None)
            for view, stem in zip(views, stems, strict=True)]


def is_written(folder: Path, view: View) -> bool:
    return (folder / view.picture).is_file()


def write(folder: Path, view: View, rgba: np.ndarray, depth: np.ndarray, normals: np.ndarray) -> None:
    """Write a view's picture (H, W, 4) uint8, and what it names of depth (H, W) and normals (H, W, 3).

    The picture comes last and in one step: where it is, all is.
    """
    for path in (view.picture, view.depth, view.normal):
        if path:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
    if view.depth:
        exr.write_channels(folder / view.depth, {"Y": np.nan_to_num(depth)})
    if view.normal:
        exr.write_channels(folder / view.normal, dict(zip("RGB", np.moveaxis(normals, 2, 0), strict=True)))
    picture = folder / view.picture
    unfinished = picture.with_name(f".{picture.name}")
    write_png(unfinished, rgba)
    os.replace(unfinished, picture)


def finish(folder: Path, views: Sequence[View], output: Path) -> None:
    """Write the cameras beside the pictures, and move all of it to where a finished job has it."""
    write_transforms(views, folder / TRANSFORMS)
    os.replace(folder, output / FOLDER)


def images_in(folder: Path) -> list[Path]:
    """The pictures of such a folder in their order."""
    return sorted((folder / IMAGES).glob("[!.]*.png"))


def passes_of(folder: Path, image: Path) -> dict[str, Path]:
    """The files of depth and normals that go with a picture, where there are some, by what they are."""
    files = {words: folder / words / f"{image.stem}.exr" for words in (DEPTH, NORMALS)}
    return {words: path for words, path in files.items() if path.is_file()}


def write_out(source: Path, path: Path) -> None:
    """The folder as another, or its first picture where `path` ends in .png."""
    if path.suffix.lower() == ".png":
        shutil.copyfile(images_in(source)[0], path)
        return
    for file in _files(source):
        target = path / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        link_file(file, target)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("[!.]*")) if path.is_file())
