"""The field that a captured object comes from, and the scene's cameras that look at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..formats import fields
from ..formats.capture import View
from ..recipes import InputError, Recipe, recipe_of, tasks
from ..recipes.render import Render
from . import cameras, results

Progress = Callable[[float, str], None]


def captured(context: bpy.types.Context) -> Any:
    """The active object, which has been captured; without a window, the scene's first such one where that is none.

    Raises InputError where it is anything else.
    """
    active = context.view_layer.objects.active
    found = [o for o in (active, *(context.scene.objects if bpy.app.background else ())) if _is_captured(o)]
    if not found:
        raise InputError("field: the active object does not come from a capture; select one that does")
    return found[0]


def _is_captured(thing: Any) -> bool:
    return results.is_result(thing) and thing[results.TASK_KEY] in tasks() and (
        recipe_of(thing[results.TASK_KEY]).output == "field")


def file_of(thing: Any) -> Path:
    """The file of the field that an object comes from, in the folder of the job that made it. InputError without."""
    path = Path(thing.get(results.FOLDER_KEY, "")) / "output" / fields.FILE
    if not path.is_file():
        raise InputError(f'field: that of "{thing.name}" is gone with its job, which was cleaned up or is on another '
                         "machine; Reconstruct Again brings it back")
    return path


def view_of(context: bpy.types.Context, thing: Any, name: str) -> View:
    """How a camera of the scene sees the object's field: it may have been moved, turned and scaled since.

    The picture is as large as the scene's renders, with their pixels' proportions, so that both overlay.
    """
    scene = context.scene
    camera: Any = scene.objects.get(name)
    if camera is None or camera.type != "CAMERA":
        raise InputError(f'cameras: there is no camera "{name}" in scene "{scene.name}"; choose another')
    depsgraph = context.evaluated_depsgraph_get()
    evaluated, render = camera.evaluated_get(depsgraph), scene.render
    width = max(render.resolution_x * render.resolution_percentage // 100, 1)
    height = max(render.resolution_y * render.resolution_percentage // 100, 1)
    lens = cameras.from_blender(evaluated, width, height, render.pixel_aspect_y / render.pixel_aspect_x)
    world_from_thing = np.array(thing.evaluated_get(depsgraph).matrix_world, np.float64)
    scales = np.linalg.svd(world_from_thing[:3, :3])[1]
    if scales.min() < 1e-9 or scales.max() > scales.min() * 1.001 or np.linalg.det(world_from_thing[:3, :3]) < 0:
        raise InputError(f'field: "{thing.name}" is stretched or mirrored by its scale, which a field cannot be; '
                         "give it one scale for all axes")
    pose = np.linalg.inv(world_from_thing) @ cameras.world_from_camera(evaluated)
    pose[:3, :3] *= scales.mean()
    return View(camera.name, lens, pose, "")


def _views(context: bpy.types.Context, recipe: Recipe) -> tuple[View, ...]:
    """The cameras that the recipe names; none for a turntable."""
    assert isinstance(recipe, Render)
    return (view_of(context, captured(context), recipe.cameras),) if recipe.cameras else ()


def ready(context: bpy.types.Context, recipe: Recipe) -> None:
    """See `inputs.Source`."""
    file_of(captured(context))
    _views(context, recipe)


def summary(context: bpy.types.Context, recipe: Recipe) -> dict[str, Any]:
    """See `inputs.Source`."""
    return fields.summary(file_of(captured(context)), _views(context, recipe))


def gather(context: bpy.types.Context, recipe: Recipe, folder: Path, on_progress: Progress) -> None:
    """See `inputs.Source`."""
    fields.take_field(file_of(captured(context)), _views(context, recipe), folder)


def origin(context: bpy.types.Context, recipe: Recipe) -> dict[str, Any]:
    """See `inputs.Source`."""
    return {"sources": [captured(context).name]}
