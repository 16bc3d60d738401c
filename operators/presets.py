"""Presets of a recipe."""

from __future__ import annotations

from typing import Any

import bpy

from ..recipes import PRESETS, MaquetteError, recipe_of
from ..scene import properties


TEXTS = {"draft": "Quick and coarse, to see whether it works", "standard": "What suits most",
         "best": "As good as it gets, for several times the time and memory"}
ITEMS = [(preset, preset.title(), TEXTS[preset]) for preset in PRESETS]


class MAQUETTE_OT_preset(bpy.types.Operator):
    """Quality: set this task's parameters to a preset; parameters that it does not name keep their values"""

    bl_idname = "maquette.preset"
    bl_label = "Preset"
    bl_options = {"REGISTER", "UNDO"}

    task: bpy.props.StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]
    preset: bpy.props.EnumProperty(name="Preset", items=ITEMS, default="standard")  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> Any:
        try:
            properties.apply_preset(context.scene, recipe_of(self.task), self.preset)
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = [MAQUETTE_OT_preset]
