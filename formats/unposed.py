"""Photos whose cameras are not known: a folder of them, and the list of them in a job's input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..recipes.errors import InputError
from .cameras import FEWEST_VIEWS
from .capture import Capture
from .paths import PICTURES, link_file, natural, view_names
from .pictures import picture_size

FILE = "unposed.json"
FORMAT = 1
MOST_PHOTOS = 2000
MASKS = "masks"  # the folder of masks, named as COLMAP does: masks/IMG.jpg.png, or masks/IMG.png
_CAMERA_FORMS = (".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2")
_VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_TO_JPEG = "save them as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible)"
_TO_FRAMES = "take two or three frames a second out of it first (ffmpeg -i VIDEO -vf fps=2 frames/%04d.jpg)"


@dataclass(frozen=True)
class Photo:
    """One photo of unknown camera."""

    name: str
    picture: str  # relative to the folder of the list
    source: str  # the user's own file, absolute
    width: int
    height: int
    mask: str | None = None  # grey picture, white is the subject
    mask_source: str | None = None


@dataclass(frozen=True)
class Unposed:
    """Photos that show one scene, in the order of their names."""

    folder: Path
    photos: tuple[Photo, ...]
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What an estimate needs."""
        return {"views": len(self.photos), "pixels": sum(photo.width * photo.height for photo in self.photos),
                "unposed": len(self.photos)}

    def at_their_sources(self, capture: Capture) -> Capture:
        """A capture of these photos that names the user's own files, by absolute paths, in place of the job's."""
        by_picture = {photo.picture: photo for photo in self.photos}
        views = [(view, by_picture[view.picture]) for view in capture.views]
        return replace(capture, views=tuple(replace(view, picture=photo.source, mask=photo.mask_source)
                                            for view, photo in views))


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """The photos among the files, or in and below the folder, that are given; empty where a capture is given.

    Raises InputError where there are only films or pictures in forms that are not read.
    """
    if len(paths) == 1 and paths[0].is_dir():
        files = sorted(_below(paths[0]), key=lambda path: natural(path.relative_to(paths[0]).as_posix()))
    else:
        files = list(paths)
        if not all(path.suffix.lower() in (*PICTURES, *_CAMERA_FORMS, *_VIDEOS) for path in files):
            return []
    photos = [path for path in files if path.suffix.lower() in PICTURES]
    for endings, how in ((_CAMERA_FORMS, _TO_JPEG), (_VIDEOS, _TO_FRAMES)):
        others = [path for path in files if path.suffix.lower() in endings]
        if others and not photos:
            raise InputError(f"photos: {others[0]} is {others[0].suffix[1:].upper()}, which is not read; {how}")
    return photos


def gather_unposed(paths: Sequence[Path], photos: Sequence[Path], input_folder: Path) -> Unposed:
    """Put photos and their masks into a job's input/, with the list of them.

    `paths` is what the user has given, `photos` what `find_photos` has found there. Files that are no pictures are
    left out and counted in a warning. InputError where too few are left.
    """
    root = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    if len(photos) > MOST_PHOTOS:
        raise InputError(f"photos: {root or 'the input'} holds {len(photos)} pictures; give a folder with at most "
                         f"{MOST_PHOTOS} of one scene")
    sizes, broken = _sizes(photos)
    warnings = _left_out(root, paths, len(photos), broken)
    if len(sizes) < FEWEST_VIEWS:
        raise InputError(f"photos: {root or paths[0]} holds {len(sizes)} that can be read; give {FEWEST_VIEWS} or more "
                         "(better 30) of one scene, taken while walking around it")
    (input_folder / "pictures").mkdir(parents=True, exist_ok=True)
    taken = []
    for number, (path, name) in enumerate(zip(sizes, view_names(sizes), strict=True)):
        stem = f"pictures/{number:04d}_{re.sub(r'[^A-Za-z0-9._-]', '_', name)[-60:]}"
        picture = stem + path.suffix.lower()
        link_file(path, input_folder / picture)
        mask = _mask_of(path, root)
        if mask:
            link_file(mask, input_folder / f"{stem}.mask{mask.suffix.lower()}")
        taken.append(Photo(name, picture, str(path.absolute()), *sizes[path],
                           mask=f"{stem}.mask{mask.suffix.lower()}" if mask else None,
                           mask_source=str(mask.absolute()) if mask else None))
    unposed = Unposed(input_folder, tuple(taken), tuple(warnings))
    text = {"format": FORMAT, "photos": [asdict(photo) for photo in taken], "warnings": warnings}
    (input_folder / FILE).write_text(json.dumps(text), encoding="utf-8")
    return unposed


def read(path: Path) -> Unposed:
    """The list in a job's input; InputError where it is damaged or of another version."""
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
        if text["format"] != FORMAT:
            raise InputError(f"photos: {path} has format {text['format']!r}; this version reads {FORMAT}")
        return Unposed(path.parent, tuple(Photo(**photo) for photo in text["photos"]), tuple(text["warnings"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"photos: {path} cannot be read ({type(error).__name__}: {error}); "
                         "start the job again from its input") from error


def _below(folder: Path) -> Iterator[Path]:
    """All files in and below a folder but masks and what is hidden."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() == MASKS:
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path


def _sizes(photos: Sequence[Path]) -> tuple[dict[Path, tuple[int, int]], list[Path]]:
    """Width and height of each photo, and the files that are none."""
    sizes, broken = {}, []
    for path in photos:
        try:
            sizes[path] = picture_size(path)
        except InputError:
            broken.append(path)
    return sizes, broken


def _left_out(root: Path | None, paths: Sequence[Path], count: int, broken: list[Path]) -> list[str]:
    warnings = []
    files = list(_below(root)) if root else list(paths)
    other = [path for path in files if path.suffix.lower() in (*_CAMERA_FORMS, *_VIDEOS)]
    if other:
        warnings.append(f"photos: {len(other)} files are in forms that are not read (first: {other[0].name}); they are "
                        "left out")
    if broken:
        warnings.append(f"photos: {len(broken)} of {count} cannot be read (first: {broken[0].name}); they are left out")
    return warnings


def _mask_of(photo: Path, root: Path | None) -> Path | None:
    """The mask that lies in the folder masks/ beside the photo, beside its folder, or in the given folder."""
    for folder in dict.fromkeys((photo.parent, photo.parent.parent, *([root] if root else []))):
        for name in (f"{photo.name}.png", f"{photo.stem}.png"):
            if (folder / MASKS / name).is_file():
                return folder / MASKS / name
    return None
