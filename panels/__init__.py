"""What a user sees: the sidebar's tab Maquette and the extension's preferences. Changes nothing."""

from __future__ import annotations

import bpy


def register() -> None:
    """Register all panels; all or nothing."""
    from . import menus

    done = []
    try:
        for cls in _classes():
            bpy.utils.register_class(cls)
            done.append(cls)
        menus.register()
    except Exception:
        for cls in reversed(done):
            bpy.utils.unregister_class(cls)
        raise


def unregister() -> None:
    from . import menus, state

    menus.unregister()
    for cls in reversed(_classes()):
        bpy.utils.unregister_class(cls)
    state.forget()


def _classes() -> list[type]:
    from . import jobs, preferences, presets, results, setup, tasks

    return [*preferences.CLASSES, *presets.CLASSES, *setup.CLASSES, *tasks.CLASSES, *jobs.CLASSES, *results.CLASSES]
