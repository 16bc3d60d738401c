"""A task's settings as Blender's own presets: chosen, saved and deleted in the popover of its panel's header."""

from __future__ import annotations

from functools import cache
from typing import Any

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

from ..recipes import Recipe, tasks
from .rows import NAMES_OF


def folder(task: str) -> str:
    """Where its presets are, below those of Blender."""
    return f"maquette/{task}"


@cache
def popover_of(task: str) -> Any:
    """MAQUETTE_PT_TASK_presets."""

    class Popover(PresetPanel, bpy.types.Panel):  # type: ignore[misc]
        bl_label = "Presets"
        preset_subdir = folder(task)
        preset_operator = "script.execute_preset"
        preset_add_operator = f"maquette.{task}_preset_add"

    Popover.__name__ = Popover.__qualname__ = f"MAQUETTE_PT_{task}_presets"
    return Popover


def add_operator(recipe: type[Recipe]) -> type:
    """MAQUETTE_OT_TASK_preset_add, which saves a task's settings, or with `remove_active` deletes a preset."""
    task = recipe.task()

    class AddPreset(AddPresetBase, bpy.types.Operator):  # type: ignore[misc]
        bl_idname = f"maquette.{task}_preset_add"
        bl_label = "Add Preset"
        bl_description = "Save these settings as a preset, or delete the chosen one"
        preset_menu = f"MAQUETTE_PT_{task}_presets"
        preset_subdir = folder(task)
        preset_defines = [f"settings = bpy.context.scene.maquette.{task}"]
        # Names of objects and images are this file's own.
        preset_values = [f"settings.{p.name}" for p in recipe.parameters() if p.name not in NAMES_OF]

    AddPreset.__name__ = AddPreset.__qualname__ = f"MAQUETTE_OT_{task}_preset_add"
    return AddPreset


CLASSES = [cls for recipe in tasks().values() for cls in (popover_of(recipe.task()), add_operator(recipe))]
