"""The file's jobs with progress and picture, the active object's result, and all jobs on the disk."""

from __future__ import annotations

import json
from typing import Any

import bpy

from ..jobs.folder import Status
from ..recipes import tasks
from . import state
from .tasks import Sidebar, duration

ICONS: dict[str, Any] = {"queued": "TIME", "running": "PLAY", "done": "CHECKMARK", "failed": "ERROR", "cancelled": "X",
         "interrupted": "PAUSE"}
# What these states mean to a user; the message of the others says more.
SAID = {"queued": "waits for its turn", "cancelled": "cancelled",
        "done": "will be inserted in object mode, or by its button where it was undone"}
MOST = 12  # jobs of the list that are shown
PICTURE = 10.0  # size of the preview, in units of a button


class MAQUETTE_PT_progress(Sidebar, bpy.types.Panel):
    bl_label = "Progress"
    bl_order = 90

    # Without a poll: a panel that appears later is drawn below the others, whatever its order.
    def draw(self, context: bpy.types.Context) -> None:
        links = [link for scene in bpy.data.scenes for link in state.of_scene(scene).jobs]
        if not links:
            self.layout.label(text="No job in this file")
        for link in links:
            draw_job(self.layout.box(), link.name, state.status(link.name))


def draw_job(layout: bpy.types.UILayout, name: str, status: Status) -> None:
    """A job with its stage, fraction, time left, picture, and what can be done with it."""
    layout.label(text=title(name), icon=ICONS.get(status.state, "QUESTION"))
    if status.state == "running":
        layout.progress(factor=status.fraction, text=f"{status.stage or 'Starting'}  {status.fraction:.0%}")
        left = f"{duration(status.seconds_left)} left" if status.seconds_left is not None else ""
        said = "  ".join(text for text in (status.message, left) if text)
        if said:
            layout.label(text=said)
        if status.memory_mb:
            layout.label(text=held(status), icon="MEMORY")
    else:
        draw_wrapped(layout, SAID.get(status.state) or status.message or status.state)
    icon = state.preview_icon(name)
    if icon:
        layout.template_icon(icon_value=icon, scale=PICTURE)
    draw_buttons(layout.row(align=True), name, status)


def held(status: Status) -> str:
    """The memory that a job's worker holds."""
    gpu = f", GPU {status.gpu_mb:,} MB" if status.gpu_mb else ""
    return f"{status.memory_mb:,} MB of memory{gpu}"


def title(name: str) -> str:
    """A job's folder, task-date-time-number, as its task's label and the time of its start; any other as it is."""
    try:
        task, _, start, _ = name.split("-")
        return f"{tasks()[task].label}, {start[:2]}:{start[2:4]}:{start[4:]}"
    except (ValueError, KeyError):
        return name


def draw_buttons(row: bpy.types.UILayout, name: str, status: Status) -> None:
    if not status.is_over:
        button(row, "cancel", name, "CANCEL")
    elif status.state == "done":
        button(row, "insert_result", name, "IMPORT")
    else:
        button(row, "resume", name, "FILE_REFRESH")
    if status.is_over:
        button(row, "dismiss", name, "X", text="")
    button(row, "open_log", name, "TEXT", text="")


def button(row: bpy.types.UILayout, word: str, name: str, icon: Any, **more: Any) -> None:
    row.operator(f"maquette.{word}", icon=icon, **more).job = name


def draw_wrapped(layout: bpy.types.UILayout, text: str, width: int = 44) -> None:
    """Errors say what, where and how to mend it: too long for one line of a sidebar."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    line = ""
    for word in [*text.split(), ""]:
        if line and (not word or len(line) + len(word) > width):
            column.label(text=line)
            line = ""
        line = f"{line} {word}".strip()


# The custom property that moves a morph from its first shape to its last.
SLIDER = "Morph"


class MAQUETTE_PT_result(Sidebar, bpy.types.Panel):
    bl_label = "Result"
    bl_order = 91

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.object is not None and context.object.get("maquette_job") is not None

    def draw(self, context: bpy.types.Context) -> None:
        thing: Any = context.object
        column = self.layout.column(align=True)
        column.label(text=thing.name, icon="MESH_DATA")
        if SLIDER in thing:
            column.prop(thing, f'["{SLIDER}"]', slider=True)
        rows = figure_rows(thing.get("maquette_figures", "")) + recipe_rows(thing.get("maquette_recipe", ""))
        for name, value in rows:
            row = column.split(factor=0.4)
            row.alignment = "RIGHT"
            row.label(text=name)
            row.label(text=value)
        if thing.get("maquette_task") == "image":
            self.layout.operator("maquette.view_photo", icon="CAMERA_DATA")
        if "maquette_comparison" in thing:
            draw_comparison(self.layout.box(), context.scene, thing["maquette_comparison"])
        if has_field(thing):
            column = self.layout.column(align=True)
            column.operator("maquette.turntable", icon="FILE_REFRESH")
            column.operator("maquette.render_field", icon="RENDER_STILL")
        self.layout.operator("maquette.reconstruct_again", icon="FILE_REFRESH")


def draw_comparison(layout: bpy.types.UILayout, scene: bpy.types.Scene, which: str) -> None:
    """The figures of all methods that were compared; the text of the collection's name has more."""
    layout.label(text="Compared", icon="SPREADSHEET")
    column = layout.column(align=True)
    for other in scene.objects:
        if other.get("maquette_comparison") == which:
            for name, value in comparison_rows(other.get("maquette_figures", "")):
                row = column.split(factor=0.3)
                row.label(text=name)
                row.label(text=value)


def comparison_rows(text: str) -> list[tuple[str, str]]:
    """A method and what its report says of it; none where that cannot be read."""
    try:
        figures = json.loads(text)
        known = [("{seconds:.0f} s", "seconds"), ("{psnr_db:.1f} dB", "psnr_db"), ("mesh {mesh_psnr_db:.1f} dB",
                 "mesh_psnr_db"), ("{faces:,} faces", "faces")]
        return [(figures["method"], ", ".join(shown.format(**figures) for shown, name in known if name in figures))]
    except (TypeError, ValueError, KeyError):
        return []


def figure_rows(text: str) -> list[tuple[str, str]]:
    """How near a result comes to the pictures that were held out; none where that cannot be read."""
    known = (("Field", "psnr_db"), ("Mesh", "mesh_psnr_db"), ("Mesh in Blender", "blender_psnr_db"))
    try:
        figures = json.loads(text)
        return [(name, f"{figures[key]:.1f} dB") for name, key in known if key in figures]
    except (TypeError, ValueError):
        return []


def has_field(thing: Any) -> bool:
    """Whether an object comes from a task that leaves a field."""
    recipe = tasks().get(thing.get("maquette_task", ""))
    return recipe is not None and recipe.output == "field"


def recipe_rows(text: str) -> list[tuple[str, str]]:
    """The stored recipe's parameters that are not empty; none where it cannot be read."""
    try:
        values = json.loads(text)
        return [(name.replace("_", " ").capitalize(), str(value)) for name, value in values.items() if value != ""]
    except (TypeError, ValueError, AttributeError):
        return []


class MAQUETTE_PT_jobs(Sidebar, bpy.types.Panel):
    bl_label = "All Jobs"
    bl_order = 92
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        found = state.listing()
        column = self.layout.column(align=True)
        for job in found.jobs[:MOST]:
            status = found.states[job.name]
            row = column.row(align=True)
            row.label(text=title(job.name), icon=ICONS.get(status, "QUESTION"))
            said = state.status(job.name)
            draw_buttons(row, job.name, said)
            if said.memory_mb:
                column.label(text=held(said), icon="MEMORY")
        if len(found.jobs) > MOST:
            column.label(text=f"and {len(found.jobs) - MOST} more")
        row = self.layout.row()
        row.label(text=f"{len(found.jobs)} jobs, {found.megabytes:.0f} MB")
        row.operator("maquette.clean_up", icon="TRASH")
        row = self.layout.row()
        row.operator("maquette.release_memory", icon="MEMORY")
        row.operator("maquette.doctor", icon="CHECKMARK")


CLASSES = [MAQUETTE_PT_progress, MAQUETTE_PT_result, MAQUETTE_PT_jobs]
