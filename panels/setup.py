"""What the tab begins with while there is no backend: why, one button, and how far the set-up is."""

from __future__ import annotations

import time

import bpy

from ..jobs import setup
from ..jobs.folder import Status
from . import preferences
from .tasks import Sidebar
from .wrapped import draw_wrapped

KEEP = 0.2  # s that what the disk says is shown
STAGES = {"python": "Copying Blender's Python", "environment": "Making an environment",
          "packages": "Downloading and installing", "check": "Trying it"}

_kept: tuple[float, Status, bool] | None = None


class MAQUETTE_PT_setup(Sidebar, bpy.types.Panel):
    bl_label = "Backend"
    bl_order = 0
    bl_options = {"HIDE_HEADER"}

    # Without a poll, and first of its order: a panel that appears later is drawn below the others.
    def draw(self, context: bpy.types.Context) -> None:
        status, outdated = state()
        why = preferences.missing(preferences.chosen(context))
        if status.state == "running":
            draw_progress(self.layout.box(), status)
        elif why or outdated:
            draw_button(self.layout.box(), status, why)


def draw_progress(layout: bpy.types.UILayout, status: Status) -> None:
    layout.progress(factor=status.fraction, text=STAGES.get(status.stage, "Starting"))
    if status.message:
        layout.label(text=status.message, translate=False)
    layout.operator("maquette.set_up_cancel", icon="CANCEL")


def draw_button(layout: bpy.types.UILayout, status: Status, why: str) -> None:
    """The button, named by what it will do now; what went wrong before; the other ways."""
    if not why:
        draw_wrapped(layout, "This version of Maquette is made for newer packages")
        text = "Update Backend"
    elif status.state in ("failed", "interrupted", "cancelled"):
        draw_wrapped(layout, status.message or f"The set-up was {status.state}; what was downloaded is kept")
        text = "Go On with Set-Up"
    else:
        draw_wrapped(layout, "Maquette computes in its own Python, which is not there yet")
        text = "Set Up Backend"
    row = layout.row()
    row.scale_y = 1.5
    row.operator("maquette.set_up", text=text, icon="IMPORT")
    row = layout.row(align=True)
    row.operator("preferences.addon_show", text="I Have a Python with torch").module = __package__.rpartition(".")[0]
    if status.state == "failed":
        row.operator("maquette.set_up_log", text="", icon="TEXT")


def state() -> tuple[Status, bool]:
    """How far the set-up is, and whether what it made is out of date."""
    global _kept
    if _kept is None or time.monotonic() - _kept[0] > KEEP:
        status = setup.status()
        if _kept is None or status.state != _kept[1].state:  # the backend may have come or gone
            preferences.look_again()
        _kept = time.monotonic(), status, setup.is_outdated()
    return _kept[1:]


CLASSES = [MAQUETTE_PT_setup]
