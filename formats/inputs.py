"""Files of the user to a job's input: one function a kind of input, chosen by the recipe's `input`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes import Recipe
from ..recipes.capture import box_of
from ..recipes.errors import InputError
from ..recipes.shape_interpolate import ShapeInterpolate
from . import capture as captures
from . import pictured
from .cameras import check_views
from .fields import gather_field
from .folder import has_cameras, read_capture
from .model import take_model
from .paths import link_file
from .photos import gather_photos
from .pictures import PICTURE, picture_size
from .shapes import gather_shapes
from .solids import gather_solids
from .unposed import find_photos, gather_unposed
from .volume import gather_volume

MOST_POINTS = 20_000


def gather(kind: str, paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Read the user's files and write what the worker needs of them into `input_folder`.

    Returns the summary from which the recipe estimates the job. Raises InputError where the files are not of
    this kind or not fit for it.
    """
    summary = KINDS[kind]([Path(path) for path in paths], input_folder, recipe)
    take_model(recipe, input_folder)
    return summary


def gather_capture(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Posed pictures: capture.json and pictures/, linked where the file system can, else copied.

    Photos without cameras, a folder or several files of them, become unposed.json and pictures/.
    """
    photos = [] if has_cameras(paths[0]) else find_photos(paths)
    if photos:
        return gather_unposed(paths, photos, input_folder).summary()
    if len(paths) != 1:
        raise InputError(f"input: {len(paths)} inputs are given; a capture takes one, a file or a folder, or photos")
    capture = read_capture(paths[0])
    check_views(capture.views)
    (input_folder / "pictures").mkdir(parents=True, exist_ok=True)
    views = tuple(_taken(view, number, capture.folder, input_folder) for number, view in enumerate(capture.views))
    points = capture.points
    if points is not None:
        points = points[::max(1, -(-len(points) // MOST_POINTS))]
    taken = replace(capture, folder=input_folder, views=views, points=points, box=_bounds(recipe, capture.box))
    captures.write(taken, input_folder / captures.FILE)
    return taken.summary()


def gather_pictured(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """A mesh and the capture that the recipe names."""
    mesh, capture = pictured.read_untextured(paths, recipe)
    summary = gather_capture([capture], input_folder, recipe)
    pictured.write(mesh, input_folder)
    return summary


def gather_picture(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """One picture, as picture with its own ending."""
    if len(paths) != 1:
        raise InputError(f"input: {len(paths)} inputs are given; a picture's task takes one")
    width, height = picture_size(paths[0])
    input_folder.mkdir(parents=True, exist_ok=True)
    link_file(paths[0], input_folder / f"{PICTURE}{paths[0].suffix.lower()}")
    return {"width": width, "height": height}


def gather_nothing(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """For a task that makes something out of its recipe alone."""
    if paths:
        raise InputError(f"input: {paths[0]} is given, and {' '.join(recipe.words())} takes none; leave it out")
    return {}


def gather_ends(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """The solids of a recipe's ends that are not given by name."""
    assert isinstance(recipe, ShapeInterpolate)
    needed = recipe.objects()
    if len(paths) != needed:
        raise InputError(f"input: {len(paths)} are given and {needed} are needed beside the names in --start and --end")
    return gather_solids(paths, input_folder, recipe) if needed else {"solids": 0}


KINDS: dict[str, Callable[[Sequence[Path], Path, Any], dict[str, Any]]] = {
    "capture": gather_capture, "volume": gather_volume, "picture": gather_picture, "photos": gather_photos,
    "solids": gather_solids, "field": gather_field, "pictured": gather_pictured,
    "shapes": gather_shapes, "ends": gather_ends, "none": gather_nothing}


def _bounds(recipe: Recipe, box: np.ndarray | None) -> np.ndarray | None:
    """The subject's box (2, 3): the recipe's, else the capture's own."""
    bounds = recipe.to_json().get("bounds")
    if not bounds:
        return box
    given = box_of(bounds)
    if given is None:
        raise InputError(f"bounds: {bounds!r} names an object inside Blender; give x0,y0,z0,x1,y1,z1 in metres")
    return np.array(given)


def _taken(view: captures.View, number: int, source: Path, target: Path) -> captures.View:
    """The view with its files in the job's folder, under names that any file system takes."""
    stem = f"{number:04d}_{re.sub(r'[^A-Za-z0-9._-]', '_', view.name)[-60:]}"
    taken: dict[str, Any] = {}
    for role in ("picture", "mask", "depth"):
        path = getattr(view, role)
        if path is not None:
            end = ("" if role == "picture" else f".{role}") + Path(path).suffix.lower()
            taken[role] = f"pictures/{stem}{end}"
            link_file(source / path, target / taken[role])
    return replace(view, **taken)
