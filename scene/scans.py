"""Files of meshes and scans, read by Blender's own importers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..recipes import InputError

IMPORTERS = {".ply": "wm.ply_import", ".stl": "wm.stl_import", ".obj": "wm.obj_import", ".glb": "import_scene.gltf",
             ".gltf": "import_scene.gltf", ".vdb": "object.volume_import"}


def import_file(context: bpy.types.Context, path: Path) -> list[Any]:
    """The objects of a file, which alone are selected afterwards. Raises InputError where it cannot be read."""
    if path.suffix.lower() not in IMPORTERS:
        raise InputError(f"input: {path} has an ending that is not read; give one of {' '.join(IMPORTERS)}")
    module, name = IMPORTERS[path.suffix.lower()].split(".")
    before = set(context.scene.objects)
    try:
        getattr(getattr(bpy.ops, module), name)(filepath=str(path))
    except RuntimeError as problem:
        raise InputError(f"input: {path} cannot be read ({' '.join(str(problem).split())}); give another") from None
    made: list[Any] = [thing for thing in context.scene.objects if thing not in before]
    if not made:
        raise InputError(f"input: nothing was found in {path}; give another")
    for thing in context.scene.objects:
        thing.select_set(thing in made)
    context.view_layer.objects.active = made[0]
    return made
