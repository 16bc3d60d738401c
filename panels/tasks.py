"""The tab's sections, one for each thing that a user may have, and in them a panel a task, made from its recipe."""

from __future__ import annotations

from typing import Any

import bpy

from ..recipes import Estimate, MaquetteError, Recipe, tasks
from . import fixes, presets, rows, state
from .wrapped import draw_wrapped

CATEGORY = "Maquette"
# What a user has, and the kinds of input that are made of it; a kind that no section names gets its own.
SECTIONS = {"Photo": ("photos", "picture"), "Scene Cameras": ("capture", "pictured", "field"),
            "Object or Scan": ("solids", "ends"), "Voxels": ("volume",), "Shape Models": ("shapes", "none")}
# Operators that bring an input from files, by its kind.
FROM_FILES = {"capture": ("maquette.photos_to_mesh", "maquette.import_capture"), "photos": ("maquette.image_to_mesh",),
              "solids": ("maquette.remesh_file",), "volume": ("maquette.voxels_file",)}
FIRST = 3  # place of the first section, below the backend, the progress and the result


class Sidebar:
    """Where all of Maquette's panels are."""

    bl_space_type: Any = "VIEW_3D"
    bl_region_type: Any = "UI"
    bl_category = CATEGORY


def section_panel(section: str, order: int) -> type:
    """MAQUETTE_PT_has_SECTION, under which the tasks stand that take what the user has."""

    class SectionPanel(Sidebar, bpy.types.Panel):
        bl_label = section
        bl_idname = _section_id(section)
        bl_order = order
        bl_options = {"DEFAULT_CLOSED"} if order > FIRST + 1 else set()  # photos and cameras are what most begin with

        def draw(self, context: bpy.types.Context) -> None:
            """Its tasks draw themselves."""

    SectionPanel.__name__ = SectionPanel.__qualname__ = _section_id(section)
    return SectionPanel


def task_panel(recipe: type[Recipe], section: str, order: int) -> type:
    """MAQUETTE_PT_TASK."""
    task = recipe.task()

    class TaskPanel(Sidebar, bpy.types.Panel):
        bl_label = recipe.label
        bl_idname = f"MAQUETTE_PT_{task}"
        bl_parent_id = _section_id(section)
        bl_order = order
        bl_options = {"DEFAULT_CLOSED"} if order else set()

        def draw_header_preset(self, context: bpy.types.Context) -> None:
            presets.popover_of(task).draw_panel_header(self.layout)

        def draw(self, context: bpy.types.Context) -> None:
            layout = self.layout
            layout.use_property_split = True
            layout.use_property_decorate = False
            settings = getattr(state.of_scene(context.scene), task)
            draw_quality(layout.row(align=True), settings, recipe)
            rows.draw(layout, settings, recipe)
            draw_estimate(layout, context.scene, recipe)
            row = layout.row()
            row.scale_y = 1.5
            row.operator(f"maquette.reconstruct_{task}", icon="PLAY")
            from_files = FROM_FILES.get(recipe.input, ()) if order == 0 else ()
            draw_unready(layout, context, task, from_files)
            if recipe.output == "field":
                layout.operator("maquette.compare_methods", icon="SPREADSHEET")
            for operator in from_files:
                layout.operator(operator, icon="IMPORT")

    TaskPanel.__name__ = TaskPanel.__qualname__ = f"MAQUETTE_PT_{task}"
    return TaskPanel


def _section_id(section: str) -> str:
    return f"MAQUETTE_PT_has_{section.lower().replace(' ', '_')}"


def sections() -> dict[str, list[type[Recipe]]]:
    """The tasks by what they take, those of a section in the order of its kinds; none that is empty."""
    named = {kind: section for section, kinds in SECTIONS.items() for kind in kinds}
    order = list(named)
    found: dict[str, list[type[Recipe]]] = {section: [] for section in SECTIONS}
    for recipe in sorted(tasks().values(), key=lambda r: order.index(r.input) if r.input in order else len(order)):
        found.setdefault(named.get(recipe.input, recipe.input.title()), []).append(recipe)
    return {section: recipes for section, recipes in found.items() if recipes}


def all_panels() -> list[type]:
    """A section before its tasks."""
    found: list[type] = []
    for number, (section, recipes) in enumerate(sections().items(), start=FIRST):
        found.append(section_panel(section, number))
        found += [task_panel(recipe, section, order) for order, recipe in enumerate(recipes)]
    return found


# ---- the rows that every task has ---------------------------------------------------------------------------------

def draw_quality(row: bpy.types.UILayout, settings: Any, recipe: type[Recipe]) -> None:
    """The method, where there are several, and the preset that the settings are."""
    if any(p.name == rows.METHOD for p in recipe.parameters()):
        row.prop(settings, rows.METHOD, text="")
    chosen = state.preset_of(settings, recipe)
    row.operator_menu_enum("maquette.preset", "preset", text=(chosen or "custom").title()).task = recipe.task()


def draw_estimate(layout: bpy.types.UILayout, scene: bpy.types.Scene, recipe: type[Recipe]) -> None:
    """Time and memory of the task with the scene's settings, beside what is free; in red where it does not fit."""
    try:
        needed = estimate(scene, recipe)
    except MaquetteError as problem:
        draw_wrapped(layout, str(problem), icon="ERROR")
        return
    free_mb = state.free_memory_mb()
    fits = needed.memory_mb <= free_mb
    row = layout.row()
    row.alert = not fits
    row.label(text=estimate_text(needed, free_mb), icon="INFO" if fits else "ERROR")
    if not fits:
        draw_wrapped(layout, state.iface_("It needs more memory than is free: choose a smaller preset, or close other "
                                          "programs"))


def estimate_text(needed: Estimate, free_mb: float) -> str:
    return state.iface_("About {}, {:.1f} of {:.1f} GB free").format(
        duration(needed.seconds), needed.memory_mb / 1000, free_mb / 1000)


def estimate(scene: bpy.types.Scene, recipe: type[Recipe]) -> Estimate:
    """What the task needs with the scene's settings; InputError where they are refused."""
    settings = getattr(state.of_scene(scene), recipe.task())
    made = recipe.from_json({p.name: getattr(settings, p.name) for p in recipe.parameters()})
    return made.estimate(scene_summary(scene, made))


def draw_unready(layout: bpy.types.UILayout, context: bpy.types.Context, task: str, there: tuple[str, ...]) -> None:
    """Why the button above is grey, and what mends it; of the backend the top of the tab tells."""
    why = getattr(bpy.types, f"MAQUETTE_OT_reconstruct_{task}").why_not(context)
    if why and not why.startswith("python:"):
        column = layout.column()
        draw_wrapped(column, why, icon="INFO")
        fixes.draw(column, why, there=there)


def scene_summary(scene: bpy.types.Scene, recipe: Recipe) -> dict[str, int]:
    """What can be told of the input at every redraw: of a capture, the number of cameras and the views' size."""
    if recipe.input != "capture":
        return {}
    values = recipe.to_json()
    if values.get("views") == "folder":
        count = state.files_in(bpy.path.abspath(values["photos"]))
        return {"views": count, "pixels": count * values["resolution"] ** 2, "unposed": count}
    count = sum(o.type == "CAMERA" for o in scene.objects)
    return {"views": count, "pixels": count * values["size"] ** 2}


def duration(seconds: float) -> str:
    """As a person says it: 45 s, 3 min, 1.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


CLASSES = all_panels()
