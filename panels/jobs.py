"""The file's jobs with progress and picture, the active object's result, and all jobs on the disk."""

from __future__ import annotations

from typing import Any

import bpy

from ..jobs.folder import Status
from ..recipes import tasks
from . import fixes, state
from .tasks import Sidebar, duration
from .wrapped import draw_wrapped

ICONS: dict[str, Any] = {"queued": "TIME", "running": "PLAY", "done": "CHECKMARK", "failed": "ERROR", "cancelled": "X",
         "interrupted": "PAUSE"}
# What these states mean to a user; the message of the others says more.
SAID = {"queued": "It waits for its turn", "cancelled": "It was cancelled; Resume goes on where it was",
        "done": "It is inserted in Object Mode, or by its button where that was undone"}
MOST = 12  # jobs of the list that are shown
PICTURE = 8.0  # size of the preview, in units of a button


class MAQUETTE_PT_progress(Sidebar, bpy.types.Panel):
    bl_label = "Progress"
    bl_order = 1  # above the sections: it is what one waits for

    # Without a poll: a panel that appears later is drawn below the others, whatever its order.
    def draw(self, context: bpy.types.Context) -> None:
        links = [link for scene in bpy.data.scenes for link in state.of_scene(scene).jobs]
        if not links:
            self.layout.label(text="No Job in This File")
        for link in links:
            draw_job(self.layout.box(), link.name, state.status(link.name))


def draw_job(layout: bpy.types.UILayout, name: str, status: Status) -> None:
    """A job with its stage, fraction, time left, picture, and what can be done with it."""
    layout.label(text=title(name), icon=ICONS.get(status.state, "QUESTION"))
    if status.state == "running":
        draw_running(layout, status)
        if status.memory_mb:
            layout.label(text=held(status), icon="MEMORY")
    else:
        draw_wrapped(layout, state.iface_(SAID.get(status.state) or status.message or status.state))
    if status.state == "failed":
        fixes.draw(layout, status.message, name)
    icon = state.preview_icon(name)
    if icon:
        layout.template_icon(icon_value=icon, scale=PICTURE)
    draw_buttons(layout.row(align=True), name, status)


def held(status: Status) -> str:
    """The memory that a job's worker holds."""
    gpu = f", GPU {status.gpu_mb:,} MB" if status.gpu_mb else ""
    return f"{status.memory_mb:,} MB of memory{gpu}"


def draw_running(layout: bpy.types.UILayout, status: Status) -> None:
    stage = state.iface_(status.stage or "Starting")
    layout.progress(factor=status.fraction, text=f"{stage}  {status.fraction:.0%}")
    row = layout.row()
    if status.message:
        row.label(text=status.message)
    if status.seconds_left is not None:
        right = row.row()
        right.alignment = "RIGHT"
        right.label(text=state.iface_("{} left").format(duration(status.seconds_left)))


def title(name: str) -> str:
    """A job's folder, task-date-time-number, as its task's label and the time of its start; any other as it is."""
    try:
        task, _, start, _ = name.split("-")
        return f"{state.iface_(tasks()[task].label)}, {start[:2]}:{start[2:4]}:{start[4:]}"
    except (ValueError, KeyError):
        return name


def draw_buttons(row: bpy.types.UILayout, name: str, status: Status) -> None:
    if not status.is_over:
        button(row, "cancel", name, "CANCEL")
    elif status.state != "done":
        button(row, "resume", name, "PLAY")
    elif name in state.listing().inserted:
        button(row, "show_result", name, "ZOOM_SELECTED")
    else:
        button(row, "insert_result", name, "IMPORT")
    if status.is_over:
        button(row, "run_again", name, "FILE_REFRESH", text="")
    button(row, "open_log", name, "TEXT", text="")
    if status.is_over:
        button(row, "dismiss", name, "X", text="")


def button(row: bpy.types.UILayout, word: str, name: str, icon: Any, **more: Any) -> None:
    row.operator(f"maquette.{word}", icon=icon, **more).job = name


class MAQUETTE_PT_jobs(Sidebar, bpy.types.Panel):
    bl_label = "All Jobs"
    bl_order = 92
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        found = state.listing()
        column = self.layout.column(align=True)
        for job in found.jobs[:MOST]:
            row = column.row(align=True)
            row.label(text=title(job.name), icon=ICONS.get(found.states[job.name], "QUESTION"))
            said = state.status(job.name)
            draw_buttons(row, job.name, said)
            if said.memory_mb:
                column.label(text=held(said), icon="MEMORY")
        if len(found.jobs) > MOST:
            column.label(text=state.iface_("And {} more").format(len(found.jobs) - MOST))
        row = self.layout.row()
        megabytes, complete = state.megabytes()
        row.label(text=state.iface_("{} jobs, {:.0f} MB" if complete else "{} jobs, over {:.0f} MB").format(
            len(found.jobs), megabytes))
        row.operator("maquette.clean_up", icon="TRASH")
        row = self.layout.row()
        row.operator("maquette.release_memory", icon="MEMORY")
        row.operator("maquette.doctor", icon="CHECKMARK")


CLASSES = [MAQUETTE_PT_progress, MAQUETTE_PT_jobs]
