"""Maquette: neural reconstruction for Blender. The extension's entry and the Python package's."""

from __future__ import annotations

import importlib
from typing import Any


def register() -> None:
    """Called by Blender when the extension is enabled."""
    from . import operators, panels, scene
    from .operators import command

    done: list[Any] = []
    try:
        for room in (scene, operators, panels):
            room.register()
            done.append(room)
        command.register(_command_line)
    except Exception:
        for room in reversed(done):
            room.unregister()
        raise


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    from . import operators, panels, scene
    from .operators import command

    command.unregister()
    for room in (panels, operators, scene):
        room.unregister()


def _command_line(*arguments: Any, **options: Any) -> int:
    from . import cli

    return cli.main(*arguments, **options)


def __getattr__(name: str) -> Any:
    """The tasks as functions (`maquette.capture(…)`), loaded when first asked for; Blender asks for other names."""
    from .recipes import tasks

    if name not in tasks():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(".api", __name__), name)
