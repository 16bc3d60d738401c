"""Watching the jobs of the open file: a timer starts those that wait and inserts what is done.

The file keeps names of jobs alone (`scene.maquette.jobs`), so that it finds them when it is opened again.
"""

from __future__ import annotations

import time
from typing import Any

import bpy
from bpy.app.handlers import persistent

from ..jobs import process, queue, store
from ..jobs.folder import Job, Status
from ..recipes import MaquetteError
from ..scene import properties
from . import environment, setup

EVERY = 0.25  # s between looks while a job of this file is not over
IDLE = 1.0  # s otherwise
ADVANCE_EVERY = 1.0  # s between attempts to start the next job

# Of this session: what has been inserted or refused (an undone result must not come back by itself), what each job
# was last seen to be, and the links that an undo may have taken from the file.
_handled: set[str] = set()
_inserted: set[str] = set()
_seen: dict[str, tuple[Status, float]] = {}
_links: dict[str, tuple[str, str]] = {}
# The jobs that have been asked to stop, and when.
_stopping: dict[str, float] = {}
_advanced = 0.0


def add(scene: bpy.types.Scene, job: Job, replaces: str = "") -> None:
    """Link a job to the file: its result belongs into `scene`, in the place of the object `replaces` if any."""
    _links[job.name] = (scene.name, replaces)
    _handled.discard(job.name)
    _inserted.discard(job.name)
    link = properties.of_scene(scene).jobs.add()
    link.name, link.replaces = job.name, replaces


def forget(name: str) -> None:
    """Take a job's link from the file."""
    _handled.add(name)
    _inserted.add(name)
    _links.pop(name, None)
    for scene in bpy.data.scenes:
        index = properties.of_scene(scene).jobs.find(name)
        if index >= 0:
            properties.of_scene(scene).jobs.remove(index)


def cancel(job: Job) -> None:
    """Ask a job to stop; the looks that follow see to it, so that no window waits."""
    if process.ask_to_stop(job):
        _stopping[job.name] = time.monotonic()


def _press(now: float) -> None:
    for name, asked in list(_stopping.items()):
        try:
            gone = process.press_to_stop(Job(store.jobs_folder() / name), now - asked)
        except MaquetteError as problem:  # it runs on another machine
            print(f"maquette: {problem}")
            gone = True
        if gone:
            del _stopping[name]


def scene_of(job: Job) -> bpy.types.Scene | None:
    """The scene that a job's result belongs into, None where it is gone."""
    for scene in bpy.data.scenes:
        if job.name in properties.of_scene(scene).jobs:
            return scene
    return bpy.data.scenes.get(str(job.target.get("scene", "")))


def replaced_by(job: Job) -> str:
    """The name of the object whose mesh a job's result replaces, empty where it is a new object."""
    for scene in bpy.data.scenes:
        link = properties.of_scene(scene).jobs.get(job.name)
        if link is not None:
            return link.replaces
    return str(job.target.get("replaces", ""))


def linked() -> list[str]:
    """The names of the jobs of this file; links that an undo has taken come back."""
    scene: Any
    names = [link.name for scene in bpy.data.scenes for link in properties.of_scene(scene).jobs]
    for name, (scene_name, replaces) in _links.items():
        scene = bpy.data.scenes.get(scene_name)
        if name not in names and scene is not None:
            link = properties.of_scene(scene).jobs.add()
            link.name, link.replaces = name, replaces
            names.append(name)
    return names


def look() -> float:
    """One look at the jobs; returns the seconds until the next. Never raises: that would end the timer."""
    try:
        return _look(bpy.context)
    except MaquetteError as problem:  # a full disk, a folder that cannot be read: the next look may do better
        print(f"maquette: {problem}")
        return IDLE


def _look(context: bpy.types.Context) -> float:
    process.reap()
    if setup.look():
        redraw(context)
    _press(time.monotonic())
    names = [name for name in linked() if name not in _handled]
    states = {name: Job(store.jobs_folder() / name).status() for name in names}
    if any((status, mtime(name)) != _seen.get(name) for name, status in states.items()):
        _seen.update({name: (status, mtime(name)) for name, status in states.items()})
        redraw(context)
    if any(status.state == "queued" for status in states.values()):
        _advance(context)
    for name, status in states.items():
        if status.state == "done" and _can_insert(context):
            _insert(context, name)
    return EVERY if _stopping or any(not status.is_over or status.state == "done" for status in states.values()) else IDLE


def mtime(name: str) -> float:
    """When the job's preview was last written, 0 where there is none."""
    try:
        return Job(store.jobs_folder() / name).preview.stat().st_mtime
    except OSError:
        return 0.0


def _advance(context: bpy.types.Context) -> None:
    global _advanced
    if time.monotonic() - _advanced > ADVANCE_EVERY:
        _advanced = time.monotonic()
        queue.advance(environment.backend_python(context))


def _can_insert(context: bpy.types.Context) -> bool:
    """Not while the user edits, drags or renders: the result waits."""
    if bpy.app.is_job_running("RENDER"):
        return False
    for window in context.window_manager.windows:
        active = window.view_layer.objects.active
        # The doctor takes no events and may take a minute.
        modal = [one for one in getattr(window, "modal_operators", ()) if one.bl_idname != "MAQUETTE_OT_doctor"]
        if modal or active and active.mode != "OBJECT":
            return False
    return True


def _insert(context: bpy.types.Context, name: str) -> None:
    _handled.add(name)  # first: whatever goes wrong, it is not tried four times a second
    windows = context.window_manager.windows
    override: dict[str, Any] = {"window": windows[0]} if windows else {}
    try:
        with context.temp_override(**override):
            bpy.ops.maquette.insert_result("EXEC_DEFAULT", True, job=name)  # type: ignore[attr-defined]
    except RuntimeError as problem:  # the operator's own report, which Blender also shows
        print(f"maquette: {' '.join(str(problem).split())}")
    redraw(context)


def redraw(context: bpy.types.Context) -> None:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


@persistent
def on_load(*_: Any) -> None:
    """Another file is open: what it links to counts."""
    _handled.clear()
    _inserted.clear()
    _links.clear()
    _seen.clear()


@persistent
def on_save(*_: Any) -> None:
    """A link that an undo has brought back must not insert the result once more when the file is opened."""
    for name in tuple(_inserted):
        forget(name)


def start() -> None:
    bpy.app.handlers.load_post.append(on_load)
    bpy.app.handlers.save_pre.append(on_save)
    bpy.app.timers.register(look, first_interval=EVERY, persistent=True)


def stop() -> None:
    if on_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(on_load)
    if on_save in bpy.app.handlers.save_pre:
        bpy.app.handlers.save_pre.remove(on_save)
    if bpy.app.timers.is_registered(look):
        bpy.app.timers.unregister(look)
    on_load()
