"""Reconstruct: one operator a task, generated from the recipes, and Reconstruct Again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bpy

from ..jobs.folder import Status
from ..recipes import MaquetteError, Recipe, recipe_of, tasks
from ..scene import inputs, properties, results
from . import environment, submit, watch
from .texts import iface_, rpt_


def start(operator: bpy.types.Operator, context: bpy.types.Context, recipe: Recipe, replaces: str = "",
          paths: Sequence[Path] = ()) -> set[str]:
    """Make a job and report what comes of it: at once, or when it is done where there is no window.

    Its input is taken from the scene, or from files where there are `paths`.
    """
    try:
        recipe = recipe if paths else inputs.settled(context, recipe)
        if bpy.app.background:
            job = submit.run_here(context, recipe, replaces, say, paths)
            made = results.insert(context.scene, job, replaces)
            operator.report({"INFO"}, rpt_(results.form(job).said).format(made.name))
        else:
            job = submit.submit(context, recipe, replaces, paths=paths)
            watch.add(context.scene, job, replaces)
    except MaquetteError as problem:
        operator.report({"ERROR"}, str(problem))
        return {"CANCELLED"}
    return {"FINISHED"}


def say(status: Status) -> None:
    """Tell a terminal, where there is no panel."""
    print(f"maquette {status.fraction:4.0%} {status.stage} {status.message}", flush=True)


def unready(context: bpy.types.Context, recipe_here: Callable[[], Recipe]) -> str:
    """Why a recipe cannot be started here, in a few words; empty where it can. Cheap enough for every redraw."""
    try:
        environment.backend_python(context)
        recipe = recipe_here()
        inputs.source(recipe).ready(context, recipe)
    except MaquetteError as problem:
        return str(problem)
    return ""


def operator_of(recipe: type[Recipe]) -> type:
    """MAQUETTE_OT_reconstruct_TASK, which starts a task with the scene's settings."""
    task = recipe.task()

    class Reconstruct(bpy.types.Operator):
        bl_idname = f"maquette.reconstruct_{task}"
        bl_label = recipe.action
        bl_description = (recipe.__doc__ or "").rstrip(".")  # Blender ends tooltips itself

        @classmethod
        def why_not(cls, context: bpy.types.Context) -> str:
            """Why the button is grey, for the panel to say; empty where it is not."""
            return unready(context, lambda: properties.recipe_in(context.scene, task))

        @classmethod
        def poll(cls, context: bpy.types.Context) -> bool:
            why = cls.why_not(context)
            if why:
                cls.poll_message_set(why)
            return not why

        def execute(self, context: bpy.types.Context) -> Any:
            return start(self, context, properties.recipe_in(context.scene, task))

    Reconstruct.__name__ = Reconstruct.__qualname__ = f"MAQUETTE_OT_reconstruct_{task}"
    return Reconstruct


class MAQUETTE_OT_reconstruct_again(bpy.types.Operator):
    """Run the recipe of the active object again and give it the new mesh and texture; it keeps all else"""

    bl_idname = "maquette.reconstruct_again"
    bl_label = "Reconstruct Again"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not results.is_result(context.object):
            cls.poll_message_set(iface_("Select an object that Maquette has reconstructed"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Any:
        thing = context.object
        try:
            recipe = recipe_of(thing[results.TASK_KEY]).from_json(results.recipe_values(thing))
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return start(self, context, recipe, replaces=thing.name)


CLASSES = [*(operator_of(recipe) for recipe in tasks().values()), MAQUETTE_OT_reconstruct_again]
