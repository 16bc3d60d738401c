"""Cancel, resume, dismiss, log, clean up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy

from ..jobs import process, queue, store
from ..jobs.folder import Job
from ..recipes import MaquetteError
from . import environment, submit, watch
from .texts import rpt_


def job_operator(word: str, label: str, description: str, act: Callable[[bpy.types.Context, Job], str]) -> type:
    """MAQUETTE_OT_WORD, which does something with the job that its property names; `act` returns what to report."""

    class JobOperator(bpy.types.Operator):
        bl_idname = f"maquette.{word}"
        bl_label = label
        bl_description = description
        __annotations__ = {"job": bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})}

        def execute(self: Any, context: bpy.types.Context) -> Any:
            try:
                said = act(context, store.find_job(self.job))
            except MaquetteError as problem:
                self.report({"ERROR"}, str(problem))
                return {"CANCELLED"}
            if said:
                self.report({"INFO"}, said)
            watch.redraw(context)
            return {"FINISHED"}

    JobOperator.__name__ = JobOperator.__qualname__ = f"MAQUETTE_OT_{word}"
    return JobOperator


def _cancel(context: bpy.types.Context, job: Job) -> str:
    watch.cancel(job)
    return ""


def _resume(context: bpy.types.Context, job: Job) -> str:
    python = environment.backend_python(context, tried=True)
    process.resume(job)
    if job.name not in watch.linked():
        watch.add(watch.scene_of(job) or context.scene, job, watch.replaced_by(job))
    if submit.copied_scene(job).exists():  # it ended while its views were rendered
        submit.start_rendering(job, python)
    else:
        queue.advance(python)
    return ""


def _dismiss(context: bpy.types.Context, job: Job) -> str:
    watch.forget(job.name)
    return ""


def _open_log(context: bpy.types.Context, job: Job) -> str:
    bpy.ops.wm.path_open(filepath=str(job.log))
    return ""


class MAQUETTE_OT_clean_up(bpy.types.Operator):
    """Delete the folders of jobs that are done, failed or cancelled; results in the scene stay"""

    bl_idname = "maquette.clean_up"
    bl_label = "Clean Up"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> Any:
        try:
            freed = store.clean()
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        self.report({"INFO"}, rpt_("{:.0f} MB freed").format(freed / 1e6))
        return {"FINISHED"}


class MAQUETTE_OT_release_memory(bpy.types.Operator):
    """End workers that still hold memory, the GPU's too, though their job is over; jobs that run are left alone"""

    bl_idname = "maquette.release_memory"
    bl_label = "Release Now"

    def execute(self, context: bpy.types.Context) -> Any:
        try:
            ended = process.release()
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        said = rpt_("{} workers ended").format(len(ended)) if ended else rpt_("No worker holds memory but those that run")
        self.report({"INFO"}, said)
        return {"FINISHED"}


CLASSES = [
    job_operator("cancel", "Cancel", "Stop the job; what it has computed stays for Resume", _cancel),
    job_operator("resume", "Resume", "Go on with the job where it ended", _resume),
    job_operator("dismiss", "Dismiss", "Take the job from this file's list; its folder stays", _dismiss),
    job_operator("open_log", "Open Log", "Show everything that the job's worker has said", _open_log),
    MAQUETTE_OT_clean_up,
    MAQUETTE_OT_release_memory,
]
