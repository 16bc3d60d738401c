"""What panels show of jobs, kept for a moment: a redraw must not read the disk each time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bpy.utils.previews
from bpy.app import translations

from ..jobs import machine, store
from ..jobs.folder import Job, Status
from ..recipes import PRESETS, Recipe

KEEP = 0.2  # s that one job's status is shown without another look
KEEP_LIST = 2.0  # s for the list of all jobs, what is free, and what a folder holds
REPLACE = 0.5  # s between two pictures of a job
SIZING = 0.01  # s of a redraw that may be spent on finding out how much room jobs take

# What is put together while it is drawn, which Blender cannot translate by itself.
iface_: Any = translations.pgettext_iface


@dataclass(frozen=True)
class Listing:
    """All jobs, the newest first, with their states, and those whose result is in the file."""

    jobs: tuple[Job, ...]
    states: dict[str, str]
    inserted: frozenset[str]


_statuses: dict[str, tuple[float, Status]] = {}
_kept: dict[Any, tuple[float, Any]] = {}
_sizes: dict[str, int] = {}
_previews: Any = None
_shown: dict[str, tuple[float, str]] = {}


def of_scene(scene: bpy.types.Scene) -> Any:
    """`scene.maquette`."""
    return scene.maquette  # type: ignore[attr-defined]


def status(name: str) -> Status:
    when, kept = _statuses.get(name, (-KEEP, None))
    if kept is None or time.monotonic() - when > KEEP:
        kept = Job(store.jobs_folder() / name).status()
        _statuses[name] = (time.monotonic(), kept)
    return kept


def kept(key: Any, find: Callable[[], Any]) -> Any:
    """What `find` says, asked again after a while alone."""
    when, value = _kept.get(key, (-KEEP_LIST, None))
    if time.monotonic() - when >= KEEP_LIST:
        value = find()
        _kept[key] = (time.monotonic(), value)
    return value


def listing() -> Listing:
    return kept("listing", _list)


def _list() -> Listing:
    found = tuple(reversed(store.list_jobs()))
    marks = [thing.get("maquette_job") for things in (bpy.data.objects, bpy.data.images) for thing in things]
    return Listing(found, {job.name: job.status().state for job in found},
                   frozenset(str(mark) for mark in marks if mark))


def megabytes() -> tuple[float, bool]:
    """The room that all jobs take, and whether all have been looked at: a few with each redraw.

    A job that is over changes no more, so it is looked at once.
    """
    until = time.monotonic() + SIZING
    for job in listing().jobs:
        if job.name not in _sizes and time.monotonic() < until:
            _sizes[job.name] = store.size(job.path)
    over = {job.name for job in listing().jobs if listing().states[job.name] not in ("running", "queued")}
    known = [_sizes[job.name] for job in listing().jobs if job.name in _sizes]
    complete = len(known) == len(listing().jobs)
    for name in [name for name in _sizes if name not in over] if complete else ():
        del _sizes[name]
    return sum(known) / 1e6, complete


def free_memory_mb() -> float:
    return kept("memory", machine.available_memory_mb)


def files_in(folder: str) -> int:
    """How many files a folder holds, 0 where it cannot be read."""
    return kept(("files", folder), lambda: _count(folder))


def _count(folder: str) -> int:
    try:
        return len(os.listdir(folder)) if folder else 0
    except OSError:
        return 0


def preset_of(settings: Any, recipe: type[Recipe]) -> str:
    """The preset that a task's settings are, empty where they are none."""
    named = {name for values in recipe.presets.values() for name in values}
    for preset in PRESETS:
        values = recipe.preset(preset).to_json()
        if all(_same(getattr(settings, name), values[name]) for name in named):
            return preset
    return ""


def _same(value: Any, other: Any) -> bool:
    """Blender keeps floats in single precision."""
    return abs(value - other) <= 1e-6 * abs(other) if isinstance(other, float) else value == other


def preview_icon(name: str) -> int:
    """The icon of a job's newest preview, 0 where there is none."""
    global _previews
    path = Job(store.jobs_folder() / name).preview
    try:
        written = path.stat().st_mtime
    except OSError:
        return 0
    if _previews is None:
        _previews = bpy.utils.previews.new()
    before, key = _shown.get(name, (0.0, ""))
    if written > before + REPLACE or not key:
        if key:
            del _previews[key]
        key = f"{name} {written}"  # a preview that is loaded anew under the same key shows the old picture
        _previews.load(key, str(path), "IMAGE").image_size[:]  # asked for its size it is read now, not some redraws later
        _shown[name] = (written, key)
    return _previews[key].icon_id


def forget() -> None:
    global _previews
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
    _previews = None
    for kept_so_far in (_statuses, _kept, _sizes):
        kept_so_far.clear()
    _shown.clear()
