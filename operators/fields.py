"""The active object's field, rendered: all around it, or as the scene's camera sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy

from ..recipes import InputError, MaquetteError, Recipe
from ..scene import properties
from . import reconstruct


def field_operator(word: str, label: str, description: str, cameras: Callable[[bpy.types.Scene], str]) -> type:
    """MAQUETTE_OT_WORD, which renders with the settings of the scene but for the camera that `cameras` names."""

    def recipe(context: bpy.types.Context) -> Recipe:
        stored = properties.recipe_in(context.scene, "render")
        return stored.from_json({**stored.to_json(), "cameras": cameras(context.scene)})

    class FieldOperator(bpy.types.Operator):
        bl_idname = f"maquette.{word}"
        bl_label = label
        bl_description = description

        @classmethod
        def poll(cls, context: bpy.types.Context) -> bool:
            why = reconstruct.unready(context, lambda: recipe(context))
            if why:
                cls.poll_message_set(why)
            return not why

        def execute(self, context: bpy.types.Context) -> Any:
            try:
                return reconstruct.start(self, context, recipe(context))
            except MaquetteError as problem:
                self.report({"ERROR"}, str(problem))
                return {"CANCELLED"}

    FieldOperator.__name__ = FieldOperator.__qualname__ = f"MAQUETTE_OT_{word}"
    return FieldOperator


def _camera(scene: bpy.types.Scene) -> str:
    if scene.camera is None:
        raise InputError(f'cameras: scene "{scene.name}" has no active camera; choose one in the scene\'s properties')
    return scene.camera.name


CLASSES = [
    field_operator("turntable", "Turntable", "Render the field of the active object from all sides to a sequence of "
                   "images, with the settings of Render Field", lambda scene: ""),
    field_operator("render_field", "Render Field from Camera", "Render the field of the active object as the scene's "
                   "camera sees it to an image that overlays with the scene's own render", _camera),
]
