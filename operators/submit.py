"""From a recipe to a job: gathered here, or by a second Blender where that would block the window."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import bpy

from ..jobs import files, process, queue, run, store
from ..jobs.folder import Job, Status
from ..recipes import InputError, MaquetteError, Recipe
from ..scene import compat, inputs
from . import environment

SCRIPT = Path(__file__).with_name("headless.py")
RENDERING = "Rendering views"


def submit(context: bpy.types.Context, recipe: Recipe, replaces: str = "",
           more: dict[str, Any] | None = None, paths: Sequence[Path] = ()) -> Job:
    """Make a job of the open scene and start it as soon as no other runs; raises InputError and the like at once.

    Views are rendered by a second Blender on a copy of the file as it is now: this one stays responsive and may
    be closed. `more` is added to the job's target.
    """
    python = environment.backend_python(context, tried=True)
    with _new_job(context, recipe, replaces, more, paths) as job:
        if paths:
            queue.submit(job)
            queue.advance(python)
        elif inputs.source(recipe).is_slow(recipe):
            _refuse_unsaved_images()
            bpy.ops.wm.save_as_mainfile(filepath=str(copied_scene(job)), copy=True, relative_remap=True,
                                        compress=False)
            start_rendering(job, python)
        else:
            inputs.gather(context, recipe, job.input)
            queue.submit(job)
            queue.advance(python)
    return job


def share(first: Job, recipes: list[Recipe]) -> list[Job]:
    """`first` and more jobs, one a recipe, with the same input and target; they wait until it is gathered."""
    others = [store.new_sharing(first, recipe, first.target) for recipe in recipes]
    for job in others:
        queue.submit(job)
    if not copied_scene(first).exists():  # else the second Blender does this when all views are rendered
        store.share_input(first)
    return [first, *others]


def run_here(context: bpy.types.Context, recipe: Recipe, replaces: str,
             on_status: Callable[[Status], None], paths: Sequence[Path] = ()) -> Job:
    """Gather, run and wait: a Blender without a window has nobody to keep waiting."""
    job = gather_here(context, recipe, replaces, on_status, paths=paths)
    run.run(job, environment.backend_python(context), on_status)
    return job


def gather_here(context: bpy.types.Context, recipe: Recipe, replaces: str, on_status: Callable[[Status], None],
                more: dict[str, Any] | None = None, paths: Sequence[Path] = ()) -> Job:
    """A job that is ready to run."""
    environment.backend_python(context, tried=True)
    with _new_job(context, recipe, replaces, more, paths) as job:
        if not paths:
            inputs.gather(context, recipe, job.input,
                          lambda fraction, message: on_status(Status("running", RENDERING, fraction, message=message)))
    return job


@contextlib.contextmanager
def _new_job(context: bpy.types.Context, recipe: Recipe, replaces: str,
             more: dict[str, Any] | None, paths: Sequence[Path] = ()) -> Iterator[Job]:
    """A job whose folder is removed where its input cannot be gathered; what is of files is gathered already."""
    summary = {} if paths else inputs.source(recipe).summary(context, recipe)
    origin = inputs.nothing(context, recipe) if paths else inputs.source(recipe).origin(context, recipe)
    path = store.new_job_path(recipe.task())
    target: dict[str, Any] = {"scene": context.scene.name, "replaces": replaces, "blender": compat.program(),
                              **(more or {})}
    try:
        if paths:
            summary = inputs.gather_files(recipe, paths, path / "input")
        yield Job.create(path, recipe, device=environment.device(context), summary=summary, target=target | origin)
    except OSError as problem:
        shutil.rmtree(path, ignore_errors=True)
        raise files.explained(problem, path) from problem
    except (MaquetteError, RuntimeError) as problem:  # RuntimeError: an operator of Blender's
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(problem, MaquetteError):
            raise
        raise InputError(f"views: Blender refuses ({' '.join(str(problem).split())}); mend the scene") from None


# ---- views rendered by a second Blender --------------------------------------------------------------------------

def copied_scene(job: Job) -> Path:
    """The copy of the file that views are rendered from; gone when they all are."""
    return job.path / "scene.blend"


def start_rendering(job: Job, python: Path) -> None:
    """Start the second Blender, which queues the job when it is done; it outlives this one."""
    job.cancel_file.unlink(missing_ok=True)
    job.write_status(Status("running", RENDERING))
    apart: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}  # type: ignore[attr-defined]
    with open(job.log, "ab") as log:
        child = subprocess.Popen([*environment.blender_words(), SCRIPT, "--", job.path, python],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, **apart)
    job.write_worker(child.pid)
    process.adopt(child)


def _refuse_unsaved_images() -> None:
    unsaved = [i.name for i in bpy.data.images if i.is_dirty and i.users and i.type not in {"RENDER_RESULT", "COMPOSITING"}]
    if unsaved:
        raise InputError(f'images: "{unsaved[0]}" has changes that are not saved, which a render in the background '
                         "cannot see; save or pack it")
