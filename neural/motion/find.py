"""The cameras of photos that come without any: COLMAP's structure from motion, in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...formats import cameras
from ...formats.capture import Capture, View
from ...formats.pictures import focal_length, orientation, read_grey, read_picture, reduced_size
from ...formats.unposed import Photo, Unposed
from ...jobs import files
from ...recipes.errors import InputError, MachineError, MaquetteError
from ..kernels import dispatch

SOLVER = Path(__file__).with_name("solver.py")
LONGEST_SIDE = 1600  # pixels to which photos are reduced; finer features cost time and make cameras no better
BAD_ERROR = 1.5  # pixels of the reduced photo: a mean reprojection error that a sharp, still scene stays far below
FEW = 0.25  # share of the photos below which nothing is worth reconstructing
MOST = 0.75  # share below which the user is told how to photograph
LOOK_EVERY = 0.1  # s between looks at the process
_HOW = ("walk around the subject and take a sharp photo every 10 to 15 degrees with the same zoom, so that each shows "
        "most of what the one before shows; nothing may move")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# How far a photo that was held on end is turned about the camera's axis, in radians, by EXIF's orientation.
_ROLLS = {3: np.pi, 6: 0.5 * np.pi, 8: -0.5 * np.pi}


@dataclass(frozen=True)
class Found:
    """What came of finding cameras."""

    capture: Capture
    figures: dict[str, float | int]  # photos, registered, reprojection_px, points


def find_cameras(unposed: Unposed, folder: Path, *, seed: int, on_progress: Callable[[float, str], None]) -> Found:
    """The cameras of photos, and sparse points, in an upright world whose scale means nothing.

    One camera is shared by photos of one size and focal length. Work is done in `folder`, where a second call with the
    same photos goes on. Features are looked for on the subject alone where photos have alpha or masks: a turntable's
    background moves against it. Photos that do not fit are left out with a warning in the capture. An exception that
    `on_progress` raises ends the process and passes on. Raises InputError where too few photos go together, and where
    pycolmap is absent.
    """
    if importlib.util.find_spec("pycolmap") is None:
        raise InputError("photos: finding their cameras needs the package pycolmap; `python3 run.py setup` in Maquette's "
                         "folder installs it, or install it in the backend's Python")
    folder.mkdir(parents=True, exist_ok=True)
    solved = folder / "solution.npz"
    readable, broken = _prepare(unposed, folder, seed, lambda done: on_progress(0.2 * done, "reading photos"))
    if not solved.exists():
        _run(folder, lambda done, message: on_progress(0.2 + 0.8 * done, message))
    with np.load(solved, allow_pickle=False) as file:
        found = dict(file)
    return _checked(unposed, readable, broken, found)


# ---- before ------------------------------------------------------------------------------------------------------

def _prepare(unposed: Unposed, folder: Path, seed: int, on_progress: Callable[[float], None]
             ) -> tuple[list[Photo], list[Photo]]:
    """Write what the solver reads; the photos that could be decoded, in its order, and the others."""
    readable, broken, listed = [], [], []
    lenses: dict[tuple[int, int, float | None], int] = {}
    for number, photo in enumerate(unposed.photos):
        on_progress(number / len(unposed.photos))
        target = folder / f"{number:04d}.npz"
        if not target.exists() and not _reduce(unposed.folder, photo, target):
            broken.append(photo)
            continue
        readable.append(photo)
        width, height = _reduced(photo)
        film = focal_length(unposed.folder / photo.picture)
        lens = lenses.setdefault((photo.width, photo.height, film), len(lenses))
        listed.append({"file": target.name, "camera": lens, "width": width, "height": height,
                       "focal": film and film / 36.0 * max(width, height)})
    files.write_json(folder / "photos.json", {"seed": seed, "threads": dispatch.threads(), "photos": listed})
    return readable, broken


def _reduced(photo: Photo) -> tuple[int, int]:
    return reduced_size(photo.width, photo.height, LONGEST_SIDE)


def _reduce(folder: Path, photo: Photo, target: Path) -> bool:
    """Write the photo in grey with its subject; False where it cannot be decoded."""
    try:
        rgba = read_picture(folder / photo.picture, LONGEST_SIDE).rgba_srgb
    except InputError:
        return False
    height, width = rgba.shape[:2]
    alpha = rgba[..., 3]
    subject = alpha >= 0.5
    if photo.mask:
        subject &= read_grey(folder / photo.mask, width, height) >= 0.5
    # Before grey of middle brightness: an outline against black would be full of features that are not there.
    grey = (rgba[..., :3] @ _LUMA + 0.5 * (1 - alpha)).clip(0, 1)
    beside = target.with_name(f".{target.name}")
    with open(beside, "wb") as file:
        np.savez(file, grey=(255 * grey + 0.5).astype(np.uint8), subject=subject)
    beside.replace(target)
    return True


# ---- the solver's process ----------------------------------------------------------------------------------------

def _run(folder: Path, on_progress: Callable[[float, str], None]) -> None:
    """Run the solver on `folder`; what it says goes where this process's own output goes, the job's log."""
    child = subprocess.Popen([sys.executable, "-P", SOLVER, folder], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        while child.poll() is None:
            with suppress(OSError, ValueError):
                said = files.read_json(folder / "progress.json")
                on_progress(float(said["fraction"]), str(said["message"]))
            time.sleep(LOOK_EVERY)
    finally:
        child.kill()
        child.wait()
    if child.returncode:
        _explain(child.returncode)


def _explain(code: int) -> None:
    if code == -9:  # Linux ends what takes the last of the memory
        raise MachineError("memory: the machine has run out of it while the photos' cameras were found; close other "
                           "programs or give fewer photos")
    raise MaquetteError(f"photos: a defect of Maquette or COLMAP (exit code {code}) while their cameras were found; the "
                        "job's log says more")


# ---- after -------------------------------------------------------------------------------------------------------

def _checked(unposed: Unposed, readable: Sequence[Photo], broken: Sequence[Photo], found: dict[str, np.ndarray]
             ) -> Found:
    total, registered = len(unposed.photos), len(found["numbers"])
    if registered < max(cameras.FEWEST_VIEWS, FEW * total):
        raise InputError(f"photos: {registered} of {total} could be put together, which is too few; {_HOW}")
    photos = [readable[number] for number in found["numbers"]]
    views = [_view(photo, pose, parameters) for photo, pose, parameters
             in zip(photos, found["camera_from_world"], found["parameters"], strict=True)]
    turn = cameras.upright(np.stack([view.world_from_camera @ _level(unposed.folder / photo.picture)
                                     for view, photo in zip(views, photos, strict=True)]))
    views = [replace(view, world_from_camera=turn @ view.world_from_camera) for view in views]
    left_out = [photo for photo in unposed.photos if photo not in photos]
    warnings = [*unposed.warnings, *_warnings(total, left_out, broken, float(found["error"]))]
    capture = Capture(unposed.folder, tuple(views), points=found["points"] @ turn[:3, :3].T, warnings=tuple(warnings))
    scale = np.mean([photo.width / _reduced(photo)[0] for photo in photos])
    return Found(capture, {"photos": total, "registered": registered, "points": len(found["points"]),
                           "reprojection_px": round(float(found["error"] * scale), 3)})


def _view(photo: Photo, camera_from_world: np.ndarray, parameters: np.ndarray) -> View:
    f, cx, cy, k1 = parameters
    camera = cameras.camera("opencv", *_reduced(photo), {"f": f, "cx": cx, "cy": cy, "k1": k1}, f"photos: {photo.name}")
    pose = cameras.rigid(np.linalg.inv(camera_from_world) @ cameras.CV_FROM_GL, f"photos: {photo.name}")
    return View(photo.name, camera.scaled(photo.width, photo.height), pose, photo.picture, photo.mask)


def _level(path: Path) -> np.ndarray:
    """The turn about its axis that makes level a camera that was held on end or upside down."""
    roll = _ROLLS.get(orientation(path), 0.0)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    return turn


def _warnings(total: int, left_out: Sequence[Photo], broken: Sequence[Photo], error: float) -> list[str]:
    said = []
    if broken:
        said.append(f"photos: {len(broken)} of {total} cannot be decoded (first: {Path(broken[0].source).name}); they are "
                    "left out")
    unfit = [photo for photo in left_out if photo not in broken]
    if unfit:
        how = f"; {_HOW}" if len(unfit) > (1 - MOST) * total else ""
        said.append(f"photos: {len(unfit)} of {total} do not fit to the others (first: {Path(unfit[0].source).name}) and "
                    f"are left out{how}")
    if error > BAD_ERROR:
        said.append(f"photos: their cameras fit to {error:.1f} px of {LONGEST_SIDE} only, so expect a blurred result; {_HOW}")
    return said
