"""Doctor: what the installation has and whether it works, told by a process apart while Blender goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import bpy

from ..jobs import machine, planning, process, store
from ..recipes import MaquetteError
from . import environment
from .texts import iface_, rpt_

NAME = "Maquette Doctor"  # of the text
EVERY = 0.25  # s


class MAQUETTE_OT_doctor(bpy.types.Operator):
    """Try what this installation has; the report, to paste into an issue, names no folders and not you"""

    bl_idname = "maquette.doctor"
    bl_label = "Doctor"

    _running: subprocess.Popen | None = None  # of all calls: one at a time

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if MAQUETTE_OT_doctor._running is not None:
            cls.poll_message_set(iface_("The doctor is at work"))
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        if not self._begin(context):
            return {"CANCELLED"}
        self._timer = context.window_manager.event_timer_add(EVERY, window=context.window)
        context.window_manager.modal_handler_add(self)
        self.report({"INFO"}, rpt_("The doctor looks; its report comes in a moment"))
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        child = MAQUETTE_OT_doctor._running
        if event.type != "TIMER" or child is not None and child.poll() is None:
            return {"PASS_THROUGH"}
        context.window_manager.event_timer_remove(self._timer)
        return self._end(context)

    def execute(self, context: bpy.types.Context) -> Any:
        """Wait for it: without a window."""
        if not self._begin(context):
            return {"CANCELLED"}
        assert MAQUETTE_OT_doctor._running is not None
        MAQUETTE_OT_doctor._running.wait()
        return self._end(context)

    def cancel(self, context: bpy.types.Context) -> None:
        """Another file is opened, or Blender is closed."""
        child, MAQUETTE_OT_doctor._running = MAQUETTE_OT_doctor._running, None
        if child is not None:
            child.kill()
            process.adopt(child)

    def _begin(self, context: bpy.types.Context) -> bool:
        try:
            with open(_said(), "wb") as file:
                MAQUETTE_OT_doctor._running = _start(context, file)
        except (MaquetteError, OSError) as problem:
            self.report({"ERROR"}, str(problem))
            return False
        return True

    def _end(self, context: bpy.types.Context) -> Any:
        MAQUETTE_OT_doctor._running = None
        said = _said().read_text(encoding="utf-8", errors="replace").strip()
        text = bpy.data.texts.get(NAME) or bpy.data.texts.new(NAME)
        text.from_string(said + "\n")
        context.window_manager.clipboard = said
        troubles = sum(line.startswith("problem ") for line in said.splitlines())
        found = rpt_("{} problems").format(troubles) if troubles else rpt_("all is well")
        self.report({"WARNING"} if troubles else {"INFO"},
                    rpt_("Doctor: {}; the report is on the clipboard and in the text {}").format(found, text.name))
        return {"FINISHED"}


def _said() -> Path:
    return Path(bpy.app.tempdir) / "maquette-doctor.txt"


def _start(context: bpy.types.Context, file: IO[bytes]) -> subprocess.Popen:
    env = process.worker_environment() | {
        "MAQUETTE_JOBS": str(store.jobs_folder()), "MAQUETTE_BACKEND": str(planning.folder())}
    chosen = environment.chosen_python(context) or os.environ.get("MAQUETTE_PYTHON")
    env |= {"MAQUETTE_PYTHON": chosen} if chosen else {}
    env |= {"MAQUETTE_BLENDER": bpy.app.binary_path} if bpy.app.binary_path else {}
    return subprocess.Popen([sys.executable, process.ROOT, "doctor"], env=env, stdin=subprocess.DEVNULL, stdout=file,
                            stderr=file, creationflags=machine.NO_WINDOW)


CLASSES = [MAQUETTE_OT_doctor]
