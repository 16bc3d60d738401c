"""What this Blender knows of the rest: the backend's Python, the jobs' folder, the program itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import bpy

from ..jobs import backend, planning, store
from ..recipes import InputError

ROOT_PACKAGE = __package__.rpartition(".")[0]
LOOK_AGAIN = 10.0  # s after which a backend that was missing is looked for again

_found: dict[str, tuple[float, Path | None, str]] = {}


def preferences(context: bpy.types.Context) -> Any:
    """The extension's preferences; None where it was loaded without being enabled, as tests do."""
    addon: Any = context.preferences.addons.get(ROOT_PACKAGE)
    return addon.preferences if addon else None


def chosen_python(context: bpy.types.Context) -> str:
    settings = preferences(context)
    return bpy.path.abspath(settings.python) if settings and settings.python else ""


def device(context: bpy.types.Context) -> str:
    settings = preferences(context)
    return settings.device if settings else "auto"


def backend_python(context: bpy.types.Context, *, tried: bool = False) -> Path:
    """The Python with torch, or InputError. Its file is looked for once; again after a while where it was missing.

    `tried` starts it to see whether it has torch: when a job is made, never for a redraw.
    """
    chosen = chosen_python(context)
    if tried:
        return backend.find_backend_python(chosen or None)
    when, path, why = _found.get(chosen, (-LOOK_AGAIN, None, ""))
    if path is None and time.monotonic() - when > LOOK_AGAIN:
        try:
            path, why = backend.find_backend_python(chosen or None, tried=False), ""
        except InputError as problem:
            why = str(problem)
        _found[chosen] = (time.monotonic(), path, why)
    if path is None:
        raise InputError(why)
    return path


def blender_words() -> list[str]:
    """The words that run a script in another process of this same Blender."""
    if not bpy.app.binary_path:  # bpy as a module
        return backend.find_blender()
    trust = [] if bpy.app.autoexec_fail else ["--enable-autoexec"]
    return [bpy.app.binary_path, "--background", *trust, "--python-exit-code", "1", "--python"]


def choose_folders() -> None:
    """Keep jobs and the backend in the extension's user folder; in the user's own where this is no extension."""
    try:
        store.use_folder(Path(bpy.utils.extension_path_user(ROOT_PACKAGE, path="jobs", create=True)))
        planning.use_folder(Path(bpy.utils.extension_path_user(ROOT_PACKAGE, path="backend")))
    except ValueError:
        forget_folders()


def forget_folders() -> None:
    store.use_folder(None)
    planning.use_folder(None)
    look_again()


def look_again() -> None:
    """The backend may have come or gone."""
    _found.clear()
