"""A job's input from Blender, by the recipe's kind of input; `formats.inputs` does the same from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

from ..formats import capture
from ..recipes import InputError, Recipe
from . import views

Summary = dict[str, Any]
Progress = Callable[[float, str], None]


def silent(fraction: float, message: str) -> None:
    """Progress that nobody watches."""


def gather(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress = silent) -> Summary:
    """Write the job's input/ for a recipe from the open scene; return the summary for the estimate.

    Raises InputError when the scene lacks something.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return gatherer(recipe)(context, recipe, folder, on_progress)


def gatherer(recipe: Recipe) -> Callable[[bpy.types.Context, Recipe, Path, Progress], Summary]:
    if recipe.input not in GATHERERS:
        raise InputError(f"input: {recipe.input} cannot be taken from a Blender scene; give files instead")
    return GATHERERS[recipe.input]


def gather_capture(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> Summary:
    gathered = views.render(context.scene, recipe, folder, on_progress)
    capture.write(gathered, folder / capture.FILE)
    return gathered.summary()


GATHERERS = {"capture": gather_capture}
