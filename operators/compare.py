"""Compare methods: one capture, a job for each method, and the results side by side."""

from __future__ import annotations

from typing import Any

import bpy

from ..jobs import run
from ..jobs.folder import Job
from ..recipes import MaquetteError, Recipe, recipe_of
from ..scene import properties, results
from . import environment, reconstruct, submit, watch
from .texts import rpt_

CAPTURE = recipe_of("capture")
METHODS = next(p for p in CAPTURE.parameters() if p.name == "method").choices


class MAQUETTE_OT_compare_methods(bpy.types.Operator):
    """Capture by several methods, one after the other, and lay the results side by side with a table of their figures"""

    bl_idname = "maquette.compare_methods"
    bl_label = "Compare Methods"

    methods: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Methods", description="Which methods are compared", options={"ENUM_FLAG"}, default=set(CAPTURE.compared),
        items=[(method, method.capitalize(), "") for method in METHODS])

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        why = reconstruct.unready(context, lambda: properties.recipe_in(context.scene, "capture"))
        if why:
            cls.poll_message_set(why)
        return not why

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        return context.window_manager.invoke_props_dialog(self)

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.column().prop(self, "methods")

    def execute(self, context: bpy.types.Context) -> Any:
        methods = [method for method in METHODS if method in self.methods]
        if len(methods) < 2:
            self.report({"ERROR"}, rpt_("Choose two methods or more"))
            return {"CANCELLED"}
        try:
            settings = properties.recipe_in(context.scene, "capture")
            recipes = [settings.from_json({**settings.to_json(), "method": method}) for method in methods]
            jobs = _jobs(context, recipes, {"compared": methods})
            done = [job for job in jobs if _run_here(self, context, job)] if bpy.app.background else jobs
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"} if done else {"CANCELLED"}


def _jobs(context: bpy.types.Context, recipes: list[Recipe], more: dict[str, Any]) -> list[Job]:
    """A job a recipe, all with the input that is gathered for the first."""
    if bpy.app.background:
        return submit.share(submit.gather_here(context, recipes[0], "", reconstruct.say, more), recipes[1:])
    jobs = submit.share(submit.submit(context, recipes[0], more=more), recipes[1:])
    for job in jobs:
        watch.add(context.scene, job)
    return jobs


def _run_here(operator: bpy.types.Operator, context: bpy.types.Context, job: Job) -> bool:
    """Wait for a job and insert its result; one that fails is said and stops no other."""
    try:
        run.run(job, environment.backend_python(context), reconstruct.say)
        results.insert(context.scene, job)
    except MaquetteError as problem:
        operator.report({"WARNING"}, str(problem))
        return False
    return True


CLASSES = [MAQUETTE_OT_compare_methods]
