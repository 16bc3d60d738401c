"""The file of a neural field that a capture leaves, as the input of a job that looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..recipes import Recipe
from ..recipes.errors import InputError
from ..recipes.render import Render
from . import capture as captures
from .cameras import rigid
from .capture import Capture, View
from .folder import read_capture
from .model import check_kind
from .paths import link_file
from .transforms import read_cameras

FILE = "field.safetensors"
KIND = "field"  # of the models that are fields


def gather_field(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """A field, from its file or out of the folder of the job that has made it, and the cameras that look at it."""
    assert isinstance(recipe, Render)
    if len(paths) != 1:
        raise InputError(f"input: {len(paths)} inputs are given; {' '.join(recipe.words())} takes one, a field's file "
                         "or the folder of the job that has made it")
    views = cameras_of(Path(recipe.cameras)) if recipe.cameras else ()
    return take_field(paths[0] / "output" / FILE if paths[0].is_dir() else paths[0], views, input_folder)


def take_field(path: Path, views: Sequence[View], input_folder: Path) -> dict[str, Any]:
    """Bring a field and the cameras, none for a turntable, into a job's input; the summary for the estimate."""
    check_kind(path, KIND, "render")
    input_folder.mkdir(parents=True, exist_ok=True)
    link_file(path, input_folder / FILE)
    if views:
        captures.write(Capture(input_folder, tuple(views)), input_folder / captures.FILE)
    return summary(path, views)


def summary(path: Path, views: Sequence[View]) -> dict[str, Any]:
    """What the estimate needs to know of a field and its cameras."""
    found: dict[str, Any] = {"field_mb": path.stat().st_size / 2**20, "views": len(views)}
    if views:
        largest = max((view.camera for view in views), key=lambda camera: camera.width * camera.height)
        found["largest"] = [largest.width, largest.height]
    return found


def cameras_of(path: Path) -> tuple[View, ...]:
    """The cameras of a transforms file, whose pictures need not exist, or of any other capture."""
    if not path.exists():
        raise InputError(f"cameras: {path} does not exist; give a transforms.json or a capture's folder")
    views = read_cameras(path) if path.suffix.lower() == ".json" else read_capture(path).views
    for view in views:
        rigid(view.world_from_camera, f"cameras: {view.name}")
    return views
