"""A mesh as Blender itself shows it, inserted by the code that inserts results."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...formats import capture as captures
from ...formats.capture import Camera, Capture, View
from ...formats.pictures import read_picture
from ...jobs import backend, files, headless
from ...recipes.errors import MachineError
from ..fields.common import Rendered
from ..geometry.posed import PosedPicture

# Blender is started once; a picture of 640 × 640 pixels then takes a second or two of one core.
MOST = 10
# A Blender that says nothing for so long waits for something that never comes; the result must not wait with it.
PATIENCE = 120.0  # s


@dataclass(frozen=True)
class Shown:
    """What Blender has rendered."""

    version: str
    pictures: dict[str, Rendered]  # by the views' names; depth and normals are not known


def some(views: Sequence[PosedPicture]) -> list[PosedPicture]:
    """At most MOST views, evenly, the first among them."""
    return list(views[::-(-len(views) // MOST) or 1])


def render(mesh: Path, views: Sequence[PosedPicture], blender: str, folder: Path,
           on_progress: Callable[[float], None]) -> Shown:
    """Let Blender insert a mesh (.npz) and render its base colour without light from the views' cameras, in `folder`.

    `blender` is a program's name, empty for one that is found. `on_progress` hears the fraction that is done ten times
    a second; what it raises ends Blender and passes on. Raises InputError where there is no Blender, and MachineError
    or MaquetteError where it fails.
    """
    words = backend.find_blender(blender or None)
    shutil.rmtree(folder, ignore_errors=True)  # an interrupted run's
    folder.mkdir(parents=True)
    listed = tuple(View(view.name, _camera(view), view.world_from_camera, f"{number:04d}.png")
                   for number, view in enumerate(views))
    captures.write(Capture(folder, listed), folder / captures.FILE)
    done, heard = 0.0, time.monotonic()

    def hear(fraction: float, message: str) -> None:
        nonlocal done, heard
        done, heard = fraction, time.monotonic()

    def look() -> None:
        on_progress(done)
        if time.monotonic() - heard > PATIENCE:
            raise MachineError(f"blender: {words[0]} has said nothing for {PATIENCE:.0f} s; the log is "
                               f"{folder / 'log.txt'}")

    headless.call(words, "unlit", mesh, folder, log=folder / "log.txt", on_progress=hear, look=look)
    version = str(files.read_json(folder / "blender.json")["version"])
    return Shown(version, {view.name: _rendered(folder / view.picture) for view in listed})


def _camera(view: PosedPicture) -> Camera:
    height, width = view.rgba_srgb.shape[:2]
    return Camera(width, height, view.fx, view.fy, view.cx, view.cy)


def _rendered(path: Path) -> Rendered:
    rgba = read_picture(path).rgba_srgb
    unknown = np.full(rgba.shape[:2], np.nan, np.float32)
    return Rendered(rgba[..., :3], rgba[..., 3], unknown, np.zeros_like(rgba[..., :3]))
