"""What panels show of jobs, kept for a moment: a redraw must not read the disk each time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import bpy.utils.previews

from ..jobs import store
from ..jobs.folder import Job, Status

KEEP = 0.2  # s that one job's status is shown without another look
KEEP_LIST = 2.0  # s for the list of all jobs and its size on disk


@dataclass(frozen=True)
class Listing:
    jobs: tuple[Job, ...]
    states: dict[str, str]
    megabytes: float


_statuses: dict[str, tuple[float, Status]] = {}
_listing: tuple[float, Listing] | None = None
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


def listing() -> Listing:
    """All jobs, the newest first."""
    global _listing
    if _listing is None or time.monotonic() - _listing[0] > KEEP_LIST:
        found = tuple(reversed(store.list_jobs()))
        states = {job.name: job.status().state for job in found}
        _listing = (time.monotonic(), Listing(found, states, store.size(store.jobs_folder()) / 1e6))
    return _listing[1]


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
    if written != before:
        if key:
            del _previews[key]
        key = f"{name} {written}"  # a preview that is loaded anew under the same key shows the old picture
        _previews.load(key, str(path), "IMAGE")
        _shown[name] = (written, key)
    return _previews[key].icon_id


def forget() -> None:
    global _previews, _listing
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
    _previews = _listing = None
    _statuses.clear()
    _shown.clear()
