"""Where jobs live, which there are, how much room they take, and their removal."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from ..recipes import InputError, MaquetteError, Recipe
from . import files
from .folder import FINISHED, INPUT_OF, OF_INPUT, Job, Status

# A folder without job.json is a job in the making, or was left by a process that died while making it; that is so
# when nothing in it has changed for this long (a view may take a while to render).
_MAKING = 3600.0  # s
_TRASH = ".trash-"

_chosen: Path | None = None


def use_folder(path: Path | None) -> None:
    """Keep this process's jobs in `path` (Blender's folder for the extension), None for the user's cache."""
    global _chosen
    _chosen = path


def cache_folder() -> Path:
    """The user's cache folder for Maquette."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "Maquette"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/maquette"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maquette"


def jobs_folder() -> Path:
    """MAQUETTE_JOBS, else what `use_folder` chose, else the user's cache."""
    named = os.environ.get("MAQUETTE_JOBS")
    return Path(named).absolute() if named else _chosen or cache_folder() / "jobs"


def new_job_path(task: str) -> Path:
    """Make a new, empty folder whose name begins with the task and the time."""
    path = jobs_folder() / f"{task}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise files.explained(error, path) from error
    return path


def find_job(name: str) -> Job:
    """The job of this name in the jobs' folder, or in the folder of this path."""
    path = Path(name)
    job = Job(path.absolute() if len(path.parts) > 1 or path.is_absolute() else jobs_folder() / name)
    if not (job.path / "job.json").exists():
        raise InputError(f"job: there is none at {job.path}; `maquette jobs` lists those there are")
    return job


def list_jobs(folder: Path | None = None) -> list[Job]:
    """All jobs in the order of their creation, those that cannot be read first."""
    folder = folder or jobs_folder()
    try:
        found = [Job(entry) for entry in folder.iterdir() if (entry / "job.json").exists() and entry.name[0] != "."]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise files.explained(error, folder) from error
    return sorted(found, key=_age)


def _age(job: Job) -> tuple[str, str]:
    try:
        return job.created, job.name
    except MaquetteError:
        return "", job.name


def new_sharing(first: Job, recipe: Recipe, target: dict[str, Any]) -> Job:
    """Another job of the task with the input that is gathered for `first`, for which it waits (see `share_input`)."""
    about = first.description
    return Job.create(new_job_path(first.task), recipe, seed=about["seed"], device=about["device"],
                      summary=about["summary"], target={**target, INPUT_OF: first.name})


def new_like(job: Job, recipe: Recipe) -> Job:
    """A new job with the input, linked where the file system can, and the target of one that has all of its input."""
    about = job.description
    if not job.input.is_dir() or not any(job.input.iterdir()) and about["summary"]:
        raise InputError(f"job: {job.name} has no input; it ended before that was gathered, resume it instead")
    again = Job(new_job_path(job.task))
    link_tree(job.input, again.input)
    return Job.create(again.path, recipe, seed=about["seed"], device=about["device"], summary=about["summary"],
                      target=about["target"])


def sharing_with(job: Job) -> list[Job]:
    """The jobs that take the input which is gathered for `job`, in the order of their creation."""
    return [other for other in list_jobs(job.path.parent) if _target(other).get(INPUT_OF) == job.name]


def share_input(job: Job) -> None:
    """Give those jobs the input, linked where the file system can, now that it is complete; and queue them.

    One that the user has cancelled stays so, and has the input when it is resumed.
    """
    for other in sharing_with(job):
        state = other.status().state
        if state not in ("running", "done"):
            shutil.rmtree(other.input, ignore_errors=True)
            link_tree(job.input, other.input)
            if state != "cancelled":
                other.write_status(Status("queued"))


def _target(job: Job) -> dict[str, Any]:
    try:
        return job.target
    except MaquetteError:
        return {}


def take_found(job: Job) -> None:
    """Give a job what the one whose input it takes has found out of that already."""
    found = job.path.parent / Path(job.target.get(INPUT_OF, "")).name / job.checkpoint.name / OF_INPUT
    if INPUT_OF in job.target and found.is_dir() and not (job.checkpoint / OF_INPUT).exists():
        link_tree(found, job.checkpoint / OF_INPUT)


def link_tree(source: Path, target: Path) -> None:
    """A folder's files under another path, linked where the file system can."""
    try:
        shutil.copytree(source, target, copy_function=_link_or_copy)
    except OSError as error:
        raise files.explained(error, target) from error


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def size(path: Path) -> int:
    """Bytes in all files below `path`; what is deleted meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def remove(job: Job) -> int:
    """Delete a job that neither runs nor waits; return the bytes that this freed."""
    with files.locked(job.path.parent / "queue.lock"):
        state = job.status().state
        if state in ("running", "queued"):
            raise InputError(f"job: {job.name} is {state}; cancel it before it is removed")
        return _remove_folder(job.path)


def _remove_folder(path: Path) -> int:
    freed = size(path)
    # Renamed first, so that nobody ever meets half a job.
    trash = path.with_name(_TRASH + path.name)
    try:
        os.replace(path, trash)
    except OSError as error:
        raise files.explained(error, path) from error
    shutil.rmtree(trash, ignore_errors=True)
    return freed - size(trash)


def _changed(folder: Path) -> float:
    """When something in a folder was last written; now where something goes while we look."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return datetime.now().timestamp()


def clean() -> int:
    """Delete the jobs that are done, failed or cancelled and what dead processes left; return the bytes freed.

    Interrupted jobs stay: they can be resumed, and `remove` deletes them by name.
    """
    freed = sum(remove(job) for job in list_jobs() if job.status().state in FINISHED)
    for entry in jobs_folder().glob("*/") if jobs_folder().is_dir() else ():
        if entry.name.startswith(_TRASH):
            freed += size(entry)
            shutil.rmtree(entry, ignore_errors=True)
        elif not (entry / "job.json").exists() and datetime.now().timestamp() - _changed(entry) > _MAKING:
            freed += _remove_folder(entry)
    return freed
