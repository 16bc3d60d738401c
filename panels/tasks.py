"""One section of the tab a task, generated from its recipe; those of a family stand under its name."""

from __future__ import annotations

import os
from typing import Any

import bpy

from ..recipes import MaquetteError, Recipe, tasks
from . import rows, state

CATEGORY = "Maquette"
# Operators that bring an input from files, by its kind.
FROM_FILES = {"capture": ("maquette.photos_to_mesh", "maquette.import_capture"), "photos": ("maquette.image_to_mesh",)}


class Sidebar:
    """Where all of Maquette's panels are."""

    bl_space_type: Any = "VIEW_3D"
    bl_region_type: Any = "UI"
    bl_category = CATEGORY


def panel_of(recipe: type[Recipe], order: int) -> type:
    """MAQUETTE_PT_TASK."""
    task = recipe.task()

    class TaskPanel(Sidebar, bpy.types.Panel):
        bl_label = recipe.label
        bl_idname = f"MAQUETTE_PT_{task}"
        bl_order = order
        bl_options = {"DEFAULT_CLOSED"} if order else set()

        def draw_header_preset(self, context: bpy.types.Context) -> None:
            self.layout.operator_menu_enum("maquette.preset", "preset", text="", icon="PRESET").task = task

        def draw(self, context: bpy.types.Context) -> None:
            layout = self.layout
            layout.use_property_split = True
            layout.use_property_decorate = False
            settings = getattr(state.of_scene(context.scene), task)
            rows.draw(layout, settings, recipe)
            layout.label(text=estimate(context.scene, recipe), icon="INFO")
            row = layout.row()
            row.scale_y = 1.5
            row.operator(f"maquette.reconstruct_{task}", icon="PLAY")
            if recipe.output == "field":
                layout.operator("maquette.compare_methods", icon="SPREADSHEET")
            for operator in FROM_FILES.get(recipe.input, ()):
                layout.operator(operator, icon="IMPORT")

    if len(recipe.words()) > 1:
        TaskPanel.bl_parent_id = _family_id(recipe.words()[0])  # type: ignore[attr-defined]
    TaskPanel.__name__ = TaskPanel.__qualname__ = f"MAQUETTE_PT_{task}"
    return TaskPanel


def family_panel(name: str, order: int) -> type:
    """MAQUETTE_PT_family_NAME, under which the tasks stand whose first word is `name`."""

    class FamilyPanel(Sidebar, bpy.types.Panel):
        bl_label = name.capitalize()
        bl_idname = _family_id(name)
        bl_order = order
        bl_options = {"DEFAULT_CLOSED"}

        def draw(self, context: bpy.types.Context) -> None:
            """Its sections draw themselves."""

    FamilyPanel.__name__ = FamilyPanel.__qualname__ = _family_id(name)
    return FamilyPanel


def _family_id(name: str) -> str:
    return f"MAQUETTE_PT_family_{name}"


def all_panels() -> list[type]:
    """Every task's panel, a family's before its first."""
    found: dict[str, type] = {}
    for order, recipe in enumerate(tasks().values()):
        first, *more = recipe.words()
        if more and _family_id(first) not in found:
            found[_family_id(first)] = family_panel(first, order)
        found[recipe.task()] = panel_of(recipe, order)
    return list(found.values())


def estimate(scene: bpy.types.Scene, recipe: type[Recipe]) -> str:
    """Time and memory of the task with the scene's settings."""
    settings = getattr(state.of_scene(scene), recipe.task())
    try:
        made = recipe.from_json({p.name: getattr(settings, p.name) for p in recipe.parameters()})
        needed = made.estimate(scene_summary(scene, made))
    except MaquetteError as problem:
        return str(problem)
    return f"about {duration(needed.seconds)}, {needed.memory_mb / 1000:.1f} GB"


def scene_summary(scene: bpy.types.Scene, recipe: Recipe) -> dict[str, int]:
    """What can be told of the input at every redraw: of a capture, the number of cameras and the views' size."""
    if recipe.input != "capture":
        return {}
    values = recipe.to_json()
    if values.get("views") == "folder":
        count = _files_in(bpy.path.abspath(values["photos"]))
        return {"views": count, "pixels": count * values["resolution"] ** 2, "unposed": count}
    count = sum(o.type == "CAMERA" for o in scene.objects)
    return {"views": count, "pixels": count * values["size"] ** 2}


def _files_in(folder: str) -> int:
    try:
        return len(os.listdir(folder)) if folder else 0
    except OSError:
        return 0


def duration(seconds: float) -> str:
    """As a person says it: 45 s, 3 min, 1.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


CLASSES = all_panels()
