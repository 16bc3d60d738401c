"""The blocking path: the command line, Python and Blender without a window wait for their job."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..recipes import BY_KIND, Cancelled, MachineError, MaquetteError
from . import process, queue
from .folder import Job, Status


def run(job: Job, python: Path, on_status: Callable[[Status], None] = lambda status: None) -> None:
    """Queue a new job, wait until it is done, or raise what it failed with. `on_status` hears every change."""
    queue.submit(job)
    wait(job, python, on_status)


def wait(job: Job, python: Path, on_status: Callable[[Status], None] = lambda status: None) -> None:
    """Wait for a queued or running job. KeyboardInterrupt cancels it and becomes Cancelled."""
    heard = None
    try:
        while True:
            status = job.status()
            if status.state == "queued" and queue.advance(python, job.path.parent) == job:
                continue
            if status != heard:
                on_status(status)
                heard = status
            if status.is_over:
                return raise_unless_done(job, status)
            time.sleep(0.1)
    except KeyboardInterrupt:
        process.cancel(job)
        raise_unless_done(job, job.status())


def raise_unless_done(job: Job, status: Status) -> None:
    """MaquetteError of the status's kind unless the job is done."""
    resumable = f"`maquette resume {job.name}` continues it"
    if status.state == "cancelled":
        raise Cancelled(f"cancelled: job {job.name}; {resumable}")
    if status.state == "failed":
        raise BY_KIND.get(status.kind, MaquetteError)(status.message)
    if status.state == "interrupted":
        raise MachineError(f"interrupted: the worker of job {job.name} was killed or crashed; {resumable}, "
                           f"its log is {job.log}")
