"""A job once more: with its own recipe, or with less."""

from __future__ import annotations

import bpy

from ..jobs import queue, store
from ..jobs.folder import Job
from ..recipes import InputError, Recipe
from . import environment, watch
from .jobs import job_operator
from .texts import rpt_


def _run_again(context: bpy.types.Context, job: Job) -> str:
    _queue(context, job, job.recipe)
    return ""


def _run_smaller(context: bpy.types.Context, job: Job) -> str:
    found = job.recipe.smaller(job.description["summary"])
    if found is None:
        raise InputError(f"memory: {job.name} needs no less with any preset; close other programs, then resume it")
    preset, recipe = found
    _queue(context, job, recipe)
    return rpt_("Started again with the preset {}").format(preset.title())


def _queue(context: bpy.types.Context, job: Job, recipe: Recipe) -> None:
    """A new job with the input of an old one, in its place in the file."""
    python = environment.backend_python(context)
    again = store.new_like(job, recipe)
    queue.submit(again)
    scene, replaces = watch.scene_of(job) or context.scene, watch.replaced_by(job)
    watch.forget(job.name)
    watch.add(scene, again, replaces)
    queue.advance(python)


CLASSES = [
    job_operator("run_again", "Run Again", "Start a new job with this one's input and settings", _run_again),
    job_operator("run_smaller", "Run with Smaller Preset",
                 "Start a new job with this one's input and the next preset that needs less memory", _run_smaller),
]
