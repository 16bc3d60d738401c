"""Photos of an object as a job's input: the photos, a mask, and a photo from behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recipes.errors import InputError
from ..recipes.image import Image
from .pictures import picture_size

LIST = "photos.json"
MOST_PIXELS = 170_000_000  # Pillow refuses more than 178,956,970


@dataclass(frozen=True)
class Photos:
    """Files of a job's input."""

    photos: tuple[Path, ...]
    name: str  # what the user calls the first
    mask: Path | None
    behind: Path | None
    called: dict[str, str]  # what the user calls each file, by its name in the input


def gather_photos(paths: Sequence[Path], input_folder: Path, recipe: Image) -> dict[str, Any]:
    """Copy the photos and what the recipe names beside them into a job's input; return its summary."""
    if recipe.image:
        raise InputError(f"image: {recipe.image!r} names an image inside Blender; give the photo's file as INPUT")
    if not paths:
        raise InputError("input: no photo is given; give one")
    roles = {"mask": Path(recipe.mask).expanduser()} if recipe.mask else {}
    roles |= {"behind": Path(recipe.behind).expanduser()} if recipe.behind else {}
    for role, path in roles.items():
        if not path.is_file():
            raise InputError(f"{role}: {path} is {'a folder' if path.is_dir() else 'not there'}; name a picture's file")
    input_folder.mkdir(parents=True, exist_ok=True)
    files = {role: copied(path, input_folder / f"{role}{path.suffix.lower()}") for role, path in roles.items()}
    names = [copied(path, input_folder / f"photo_{number:03d}{path.suffix.lower()}")
             for number, path in enumerate(paths)]
    called = dict(zip((*names, *files.values()), (path.name for path in (*paths, *roles.values())), strict=True))
    return write_list(input_folder, names, paths[0].stem, called, **files)


def write_list(input_folder: Path, photos: Sequence[str], name: str, called: dict[str, str],
               **roles: str) -> dict[str, Any]:
    """Write photos.json of files that lie in `input_folder`, with what the user calls them; the summary of the job."""
    about = {"photos": list(photos), "name": name, "called": called, **roles}
    (input_folder / LIST).write_text(json.dumps(about), encoding="utf-8")
    width, height = picture_size(input_folder / photos[0])
    return {"photos": len(photos), "pixels": width * height}


def read_list(input_folder: Path) -> Photos:
    """The photos of a job's input."""
    about = json.loads((input_folder / LIST).read_text(encoding="utf-8"))
    roles = {role: input_folder / about[role] if role in about else None for role in ("mask", "behind")}
    files = tuple(input_folder / name for name in about["photos"])
    return Photos(files, about["name"], called=about["called"], **roles)


def copied(source: Path, target: Path) -> str:
    """Copy a picture that is neither broken nor too large; the copy's name."""
    if source.is_dir():
        raise InputError(f"input: {source} is a folder; name the photos in it")
    width, height = picture_size(source)
    if width * height > MOST_PIXELS:
        raise InputError(f"photo: {source} has {width}×{height} pixels, more than {MOST_PIXELS // 10**6} million; "
                         "make it smaller")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise InputError(f"photo: {source} cannot be copied ({error.strerror}); make it readable") from error
    return target.name
