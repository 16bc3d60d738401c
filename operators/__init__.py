"""What a user triggers. Operators gather through `scene`, hand to `jobs`, and insert through `scene`."""

from __future__ import annotations

import bpy


def register() -> None:
    """Register all operators, and the timer that watches the jobs; all or nothing."""
    from . import environment, watch

    environment.choose_folders()
    done = []
    try:
        for cls in classes():
            bpy.utils.register_class(cls)
            done.append(cls)
        watch.start()
    except Exception:
        watch.stop()
        for cls in reversed(done):
            bpy.utils.unregister_class(cls)
        raise


def unregister() -> None:
    from . import environment, watch

    watch.stop()
    for cls in reversed(classes()):
        bpy.utils.unregister_class(cls)
    environment.forget_folders()


def classes() -> list[type]:
    from . import (
        cameras, compare, doctor, dropping, fields, handlers, importing, jobs, photos, presets, reconstruct, rerun, results,
        setup)

    rooms = (reconstruct, fields, compare, results, jobs, rerun, importing, photos, dropping, handlers, cameras, presets,
             setup, doctor)
    return [cls for room in rooms for cls in room.CLASSES]
