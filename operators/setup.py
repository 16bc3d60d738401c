"""Set up the backend, cancel that, remove it. It is made by Blender's own Python in a process apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import bpy

from ..jobs import builds, planning, process, setup
from ..jobs.folder import Status
from ..recipes import MaquetteError
from . import environment
from .texts import rpt_

OFFLINE = "Blender may not go online; allow it below, or give a folder of wheels"
WIDTH = 640  # of the dialog, in pixels

_seen: Status | None = None


def _devices() -> list[tuple[str, str, str]]:
    """What this system can have, the one that fits it first."""
    try:
        best, others = builds.choose(), builds.builds().values()
    except MaquetteError:  # said when the button is pressed
        return [("auto", "Automatic", "What fits this machine")]
    return [(b.device, b.label, f"{b.download_mb} MB to download, {b.disk_mb} MB on the disk")
            for b in sorted(others, key=lambda b: b != best)]


class MAQUETTE_OT_set_up(bpy.types.Operator):
    """Make the Python with torch that computes, in a folder of its own; says first what will be done"""

    bl_idname = "maquette.set_up"
    bl_label = "Set Up Backend"

    device: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Computes on", items=_devices(), description="Which build of torch is installed", options={"SKIP_SAVE"})
    wheels: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Folder of Wheels", subtype="DIR_PATH", options={"SKIP_SAVE"},
        description="All packages as files, from a machine that is online; empty downloads them")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if setup.status().state == "running":
            cls.poll_message_set("The set-up is under way")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        return context.window_manager.invoke_props_dialog(self, width=WIDTH, confirm_text=self.bl_label)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "device")
        layout.prop(self, "wheels")
        box = layout.box()
        try:
            lines = self._plan().text().splitlines()
        except MaquetteError as problem:
            lines = [str(problem)]
        for line in lines:
            for part in _wrapped(line):
                box.label(text=part, translate=False)
        if not self.wheels and not bpy.app.online_access:
            layout.label(text=OFFLINE, icon="INTERNET_OFFLINE")
            layout.prop(context.preferences.system, "use_online_access")

    def execute(self, context: bpy.types.Context) -> Any:
        try:
            if not self.wheels and not bpy.app.online_access:
                raise MaquetteError(rpt_(OFFLINE))
            self._plan()
            _start(self.device, self.wheels)
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}

    def _plan(self) -> planning.Plan:
        return planning.plan(builds.choose(self.device), wheels=Path(bpy.path.abspath(self.wheels)) if self.wheels else None)


class MAQUETTE_OT_set_up_cancel(bpy.types.Operator):
    """End the set-up; what was downloaded is kept"""

    bl_idname = "maquette.set_up_cancel"
    bl_label = "Cancel Set-Up"

    def execute(self, context: bpy.types.Context) -> Any:
        setup.request_cancel()
        return {"FINISHED"}


class MAQUETTE_OT_set_up_log(bpy.types.Operator):
    """Show everything that the set-up has said"""

    bl_idname = "maquette.set_up_log"
    bl_label = "Open Log"

    def execute(self, context: bpy.types.Context) -> Any:
        bpy.ops.wm.path_open(filepath=str(planning.folder() / "log.txt"))
        return {"FINISHED"}


class MAQUETTE_OT_remove_backend(bpy.types.Operator):
    """Delete the Python with torch that Set Up Backend has made; jobs and results stay"""

    bl_idname = "maquette.remove_backend"
    bl_label = "Remove Backend"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if setup.status().state == "running":
            cls.poll_message_set("The set-up is under way; cancel it first")
            return False
        if not planning.folder().exists():
            cls.poll_message_set("There is none that Maquette has made")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> Any:
        try:
            freed = setup.remove()
        except MaquetteError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        environment.look_again()
        self.report({"INFO"}, rpt_("{:.0f} MB freed").format(freed / 1e6))
        return {"FINISHED"}


def look() -> bool:
    """Whether the set-up has come further since the last look, so that the panel is out of date."""
    global _seen
    status = setup.status()
    changed, _seen = _seen is not None and status != _seen, status
    if changed and status.state != "running":
        environment.look_again()
    return changed


def _start(device: str, wheels: str) -> None:
    words = [sys.executable, str(process.ROOT), "setup", "--device", device, "--json"]
    words += ["--wheels", bpy.path.abspath(wheels)] if wheels else []
    env = process.worker_environment() | {"MAQUETTE_BACKEND": str(planning.folder())}
    apart: dict = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    try:
        planning.folder().mkdir(parents=True, exist_ok=True)
        process.adopt(subprocess.Popen(words, env=env, cwd=planning.folder(), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **apart))
    except OSError as error:
        raise MaquetteError(f"python: {sys.executable} cannot be started ({error.strerror})") from error


def _wrapped(line: str, width: int = 92) -> list[str]:
    """Commands have long paths: cut anywhere where no space comes in time."""
    parts = []
    while len(line) > width:
        at = line.rfind(" ", width // 2, width)
        at = at if at > 0 else width
        parts.append(line[:at])
        line = "    " + line[at:].lstrip()
    return [*parts, line]


CLASSES = [MAQUETTE_OT_set_up, MAQUETTE_OT_set_up_cancel, MAQUETTE_OT_set_up_log, MAQUETTE_OT_remove_backend]
