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
    from . import compare, doctor, fields, importing, jobs, photos, presets, reconstruct, results, setup

    return [*reconstruct.CLASSES, *fields.CLASSES, *compare.CLASSES, *results.CLASSES, *jobs.CLASSES, *importing.CLASSES,
            *photos.CLASSES, *presets.CLASSES, *setup.CLASSES, *doctor.CLASSES]
