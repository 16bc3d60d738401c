"""Cameras for a scene that has none, which a capture needs."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene import properties, rig, solids
from .texts import iface_, rpt_


class MAQUETTE_OT_add_cameras(bpy.types.Operator):
    """Add cameras all around the selected objects, for a capture of what they see"""

    bl_idname = "maquette.add_cameras"
    bl_label = "Add Cameras Around"
    bl_options = {"REGISTER", "UNDO"}

    count: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Cameras", description="How many cameras are added", default=36, min=4, max=500)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bounded(context):
            cls.poll_message_set(iface_("Select the objects that the cameras shall look at"))
            return False
        return True

    def execute(self: Any, context: bpy.types.Context) -> Any:
        collection = rig.add_cameras(context.scene, bounded(context), self.count)
        properties.of_scene(context.scene).capture.views = "rendered"
        self.report({"INFO"}, rpt_("{} cameras in collection {}").format(self.count, collection.name))
        return {"FINISHED"}


def bounded(context: bpy.types.Context) -> list[Any]:
    """The selected objects that have a surface."""
    return [thing for thing in context.selected_objects if thing.type in solids.SURFACES]


CLASSES = [MAQUETTE_OT_add_cameras]
