"""An error's fix as a button, by what the error is about: the word before its colon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy

ROOT_PACKAGE = __package__.rpartition(".")[0]


@dataclass(frozen=True)
class Fix:
    """An operator of Blender's or ours with its properties; of a job where it takes the job's name."""

    operator: str
    icon: Any
    text: str = ""
    of_job: bool = False
    properties: tuple[tuple[str, Any], ...] = ()


PREFERENCES = Fix("preferences.addon_show", "PREFERENCES", "Choose Backend", properties=(("module", ROOT_PACKAGE),))
SET_UP = Fix("maquette.set_up", "IMPORT")
CLEAN_UP = Fix("maquette.clean_up", "TRASH")
FIXES: dict[str, tuple[Fix, ...]] = {
    "python": (SET_UP, PREFERENCES),
    "device": (PREFERENCES,),
    "memory": (Fix("maquette.run_smaller", "TRIA_DOWN", of_job=True),),
    "disk": (CLEAN_UP,),
    "views": (Fix("maquette.add_cameras", "OUTLINER_OB_CAMERA"),),
    "photos": (Fix("maquette.photos_to_mesh", "FILE_FOLDER", "Choose Folder"),),
    "images": (Fix("image.save_all_modified", "FILE_TICK"),),
}


def fixes_of(message: str, job: str = "") -> list[Fix]:
    """What mends an error, those that this Blender has; some are for jobs alone."""
    subject, colon, _ = message.partition(":")
    return [fix for fix in FIXES.get(subject, ()) if colon and (job or not fix.of_job) and exists(fix.operator)]


def exists(operator: str) -> bool:
    module, _, name = operator.partition(".")
    return module != "maquette" or hasattr(bpy.types, f"MAQUETTE_OT_{name}")


def draw(layout: bpy.types.UILayout, message: str, job: str = "", there: tuple[str, ...] = ()) -> None:
    """The buttons that mend an error, but for those of operators that are `there` already."""
    for fix in fixes_of(message, job):
        if fix.operator in there:
            continue
        more: dict[str, Any] = {"text": fix.text} if fix.text else {}
        button: Any = layout.operator(fix.operator, icon=fix.icon, **more)
        for name, value in fix.properties:
            setattr(button, name, value)
        if fix.of_job:
            button.job = job
