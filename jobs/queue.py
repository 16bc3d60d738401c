"""One job runs at a time on a machine, in the order of their creation, whoever queued them."""

from __future__ import annotations

from pathlib import Path

from . import files, process, store
from .folder import Job, Status


def submit(job: Job) -> None:
    """Queue a new job; `advance` starts it when its turn has come."""
    job.write_status(Status("queued"))


def advance(python: Path, folder: Path | None = None) -> Job | None:
    """Start the job that waits longest unless one runs; return the one started.

    Called by a timer in Blender and by the command line while it waits. Safe against others doing
    the same: the lock is held while the states are looked at and the worker is started.
    """
    folder = folder or store.jobs_folder()
    if not folder.is_dir():
        return None
    with files.locked(folder / "queue.lock"):
        waiting = None
        for job in store.list_jobs(folder):
            state = job.status().state
            if state == "running":
                return None
            if state == "queued" and waiting is None and not job.lacks_input():
                waiting = job
        if waiting:
            process.start_worker(waiting, python)
        return waiting


def ahead_of(job: Job) -> list[Job]:
    """The jobs that `job`, which waits, waits for."""
    others = [(other, other.status().state) for other in store.list_jobs(job.path.parent) if other != job]
    return [other for other, state in others
            if state == "running" or state == "queued" and other.created < job.created]
