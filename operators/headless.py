"""Run by a second Blender: render a job's views from the copy of the scene in its folder, then queue the job.

    [*blender, headless.py, --, JOB_FOLDER, BACKEND_PYTHON]
"""

from __future__ import annotations

import os
import runpy
import sys
import time
import traceback
from pathlib import Path


def render(folder: Path, python: Path) -> None:
    import bpy
    from maquette.jobs import queue, store
    from maquette.jobs.folder import Job, Status
    from maquette.operators import submit
    from maquette.recipes import Cancelled
    from maquette.scene import inputs

    job, began = Job(folder), time.monotonic()

    def on_progress(fraction: float, message: str) -> None:
        if job.cancel_file.exists():
            raise Cancelled(f"cancelled: job {job.name}")
        left = (time.monotonic() - began) * (1 - fraction) / fraction if fraction else None
        job.write_status(Status("running", submit.RENDERING, fraction, left, message))

    headless["open_blend"](str(submit.copied_scene(job)))
    inputs.gather(bpy.context, job.recipe, job.input, on_progress)
    submit.copied_scene(job).unlink()
    store.share_input(job)
    job.write_status(Status("queued"))
    job.worker_file.unlink()
    queue.advance(python, folder.parent)


def say_end(folder: Path, problem: Exception) -> int:
    from maquette.jobs import store
    from maquette.jobs.folder import Job, Status
    from maquette.recipes import Cancelled, MaquetteError

    if isinstance(problem, MaquetteError):
        said = problem
    else:
        traceback.print_exception(problem)
        said = MaquetteError(f"views: a defect of Maquette ({type(problem).__name__}); the log is {Job(folder).log}")
    state = "cancelled" if isinstance(said, Cancelled) else "failed"
    for job in (Job(folder), *store.sharing_with(Job(folder))):
        job.write_status(Status(state, message=str(said), kind=said.kind))
    return said.exit_code


if __name__ == "__main__":
    headless = runpy.run_path(str(Path(__file__).resolve().parent.parent / "scene" / "headless.py"))
    headless["load_package"]()
    if hasattr(os, "nice"):
        os.nice(10)
    job_folder, backend = map(Path, sys.argv[sys.argv.index("--") + 1:])
    code = 0
    try:
        render(job_folder, backend)
    except Exception as problem:  # the one place where every error of this process ends
        code = say_end(job_folder, problem)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # some builds crash while the interpreter ends
