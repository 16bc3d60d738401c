"""The extension's preferences: the backend's Python and the device."""

from __future__ import annotations

import time
from typing import Any

import bpy

from ..jobs import backend, store
from ..recipes import InputError
from .wrapped import draw_wrapped

LOOK_AGAIN = 10.0  # s

_looked: dict[str, tuple[float, str]] = {}


class MAQUETTE_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = __package__.rpartition(".")[0]

    python: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Backend Python", subtype="FILE_PATH",
        description="The Python with torch that computes; empty is MAQUETTE_PYTHON, or the one that "
                    "Set Up Backend has made")
    device: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Device", description="What the backend computes on",
        items=[("auto", "Automatic", "The GPU where torch has CUDA, else the CPU"), ("cpu", "CPU", "The processor"),
               ("cuda", "CUDA", "An NVIDIA GPU"), ("mps", "Metal", "Apple's GPU")])

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.use_property_split = True
        self.layout.prop(self, "python")
        self.layout.prop(self, "device")
        row = self.layout.row()
        row.operator("maquette.set_up", icon="IMPORT")
        row.operator("maquette.remove_backend", icon="TRASH")
        row.operator("maquette.doctor", icon="CHECKMARK")
        why = missing(chosen(context))
        if why:
            draw_wrapped(self.layout.box(), why, width=90)
        self.layout.label(text=f"Jobs are kept in {store.jobs_folder()}", icon="FILE_FOLDER")


def chosen(context: bpy.types.Context) -> str:
    """The Python that the preferences name, empty where they name none."""
    addon: Any = context.preferences.addons.get(MAQUETTE_AP_preferences.bl_idname)
    return bpy.path.abspath(addon.preferences.python) if addon and addon.preferences.python else ""


def missing(python: str) -> str:
    """What the backend lacks, empty where it is there; looked up every ten seconds at most."""
    when, why = _looked.get(python, (-LOOK_AGAIN, ""))
    if time.monotonic() - when > LOOK_AGAIN:
        try:
            backend.find_backend_python(python or None, tried=False)
            why = ""
        except InputError as problem:
            why = str(problem)
        _looked[python] = (time.monotonic(), why)
    return why


def look_again() -> None:
    _looked.clear()


CLASSES = [MAQUETTE_AP_preferences]
