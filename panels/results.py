"""The active object's result: what made it, how good it is, and what can be done with it."""

from __future__ import annotations

import json
from typing import Any

import bpy

from ..recipes import tasks
from . import state
from .tasks import Sidebar

# The custom property that moves a morph from its first shape to its last.
SLIDER = "Morph"


class MAQUETTE_PT_result(Sidebar, bpy.types.Panel):
    bl_label = "Result"
    bl_order = 2

    # Without a poll: a panel that appears later is drawn below the others, whatever its order.
    def draw(self, context: bpy.types.Context) -> None:
        thing: Any = context.object
        if thing is None or thing.get("maquette_job") is None:
            self.layout.label(text="No Result Is Selected")
            return
        column = self.layout.column(align=True)
        column.label(text=thing.name, icon="MESH_DATA")
        if SLIDER in thing:
            column.prop(thing, f'["{SLIDER}"]', slider=True)
        rows = figure_rows(thing.get("maquette_figures", "")) + recipe_rows(thing.get("maquette_recipe", ""))
        for name, value in rows:
            row = column.split(factor=0.4)
            row.alignment = "RIGHT"
            row.label(text=name)
            row.label(text=value)
        if thing.get("maquette_task") == "image":
            self.layout.operator("maquette.view_photo", icon="CAMERA_DATA")
        if "maquette_comparison" in thing:
            draw_comparison(self.layout.box(), context.scene, thing["maquette_comparison"])
        if has_field(thing):
            column = self.layout.column(align=True)
            column.operator("maquette.turntable", icon="FILE_REFRESH")
            column.operator("maquette.render_field", icon="RENDER_STILL")
        column = self.layout.column(align=True)
        row = column.row(align=True)
        row.operator("maquette.show_result", icon="ZOOM_SELECTED").job = thing["maquette_job"]
        row.operator("maquette.compare_result", icon="ARROW_LEFTRIGHT")
        column.operator("maquette.reconstruct_again", icon="FILE_REFRESH")


def draw_comparison(layout: bpy.types.UILayout, scene: bpy.types.Scene, which: str) -> None:
    """The figures of all methods that were compared; the text of the collection's name has more."""
    layout.label(text="Compared", icon="SPREADSHEET")
    column = layout.column(align=True)
    for other in scene.objects:
        if other.get("maquette_comparison") == which:
            for name, value in comparison_rows(other.get("maquette_figures", "")):
                row = column.split(factor=0.3)
                row.label(text=name)
                row.label(text=value)


def comparison_rows(text: str) -> list[tuple[str, str]]:
    """A method and what its report says of it; none where that cannot be read."""
    try:
        figures = json.loads(text)
        known = [("{seconds:.0f} s", "seconds"), ("{psnr_db:.1f} dB", "psnr_db"), ("mesh {mesh_psnr_db:.1f} dB",
                 "mesh_psnr_db"), ("{faces:,} faces", "faces")]
        return [(figures["method"], ", ".join(shown.format(**figures) for shown, name in known if name in figures))]
    except (TypeError, ValueError, KeyError):
        return []


def figure_rows(text: str) -> list[tuple[str, str]]:
    """How near a result comes to the pictures that were held out; none where that cannot be read."""
    known = (("Field", "psnr_db"), ("Mesh", "mesh_psnr_db"), ("Mesh in Blender", "blender_psnr_db"))
    try:
        figures = json.loads(text)
        return [(name, f"{figures[key]:.1f} dB") for name, key in known if key in figures]
    except (TypeError, ValueError):
        return []


def has_field(thing: Any) -> bool:
    """Whether an object comes from a task that leaves a field."""
    recipe = tasks().get(thing.get("maquette_task", ""))
    return recipe is not None and recipe.output == "field"


def recipe_rows(text: str) -> list[tuple[str, str]]:
    """The stored recipe's parameters that are not empty; none where it cannot be read."""
    try:
        values = json.loads(text)
        return [(name.replace("_", " ").title(), str(value)) for name, value in values.items() if value != ""]
    except (TypeError, ValueError, AttributeError):
        return []


CLASSES = [MAQUETTE_PT_result]
